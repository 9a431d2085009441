//! KPL aggregates as their producer sees them: an encoding's other side, written without the product's decoder.
//!
//! Strict: what it does not expect it does not understand. So what it understands is all that there is.

use md5::{Digest, Md5};

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// A user record.
pub(super) struct User<'a> {
    pub(super) partition_key: &'a str,
    pub(super) explicit_hash_key: Option<&'a str>,
    pub(super) data: &'a [u8],
}

/// An aggregate of this message.
pub(super) fn seal(message: &[u8]) -> Vec<u8> {
    [&MAGIC, message, &Md5::digest(message)].concat()
}

/// The message of what has the form of an aggregate; its sum may be wrong.
pub(super) fn message(data: &[u8]) -> Option<&[u8]> {
    let (message, _sum) = data.strip_prefix(&MAGIC)?.split_last_chunk::<16>()?;
    Some(message)
}

/// The user records of a message in which there is nothing else.
pub(super) fn users(mut message: &[u8]) -> Option<Vec<User<'_>>> {
    let (mut keys, mut hash_keys, mut records) = (Vec::new(), Vec::new(), Vec::new());
    while !message.is_empty() {
        match field(&mut message)? {
            (1, Value::Bytes(key)) => keys.push(std::str::from_utf8(key).ok()?),
            (2, Value::Bytes(key)) => hash_keys.push(std::str::from_utf8(key).ok()?),
            (3, Value::Bytes(record)) => records.push(indexed(record)?),
            (_, Value::Bytes(_) | Value::Number(_)) => return None,
        }
    }
    let index = |index: u64| usize::try_from(index).ok();
    let user = |(key, hash_key, data): (u64, Option<u64>, _)| {
        let explicit_hash_key = match hash_key {
            Some(hash_key) => Some(*hash_keys.get(index(hash_key)?)?),
            None => None,
        };
        Some(User { partition_key: keys.get(index(key)?)?, explicit_hash_key, data })
    };
    records.into_iter().map(user).collect()
}

/// The index of a user record's key, that of its hash key, and its payload.
fn indexed(mut record: &[u8]) -> Option<(u64, Option<u64>, &[u8])> {
    let (mut key, mut hash_key, mut data) = (None, None, None);
    while !record.is_empty() {
        let twice = match field(&mut record)? {
            (1, Value::Number(index)) => key.replace(index).is_some(),
            (2, Value::Number(index)) => hash_key.replace(index).is_some(),
            (3, Value::Bytes(bytes)) => data.replace(bytes).is_some(),
            (_, Value::Bytes(_) | Value::Number(_)) => return None,
        };
        if twice {
            return None;
        }
    }
    Some((key?, hash_key, data?))
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes a field with its number off the front.
fn field<'a>(message: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(message)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(message)?),
        2 => {
            let len = usize::try_from(varint(message)?).ok()?;
            let (bytes, rest) = message.split_at_checked(len)?;
            *message = rest;
            Value::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
