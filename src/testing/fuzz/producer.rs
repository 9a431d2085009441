//! KPL aggregates as their producer sees them: an encoding's other side, written without the product's decoder.
//!
//! Passes over fields that it does not know, and understands no record with two payloads.

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

/// The user records of a message.
pub(super) fn users(mut message: &[u8]) -> Option<Vec<User<'_>>> {
    let (mut keys, mut hash_keys, mut records) = (Vec::new(), Vec::new(), Vec::new());
    while !message.is_empty() {
        match field(&mut message)? {
            (1, Value::Bytes(key)) => keys.push(std::str::from_utf8(key).ok()?),
            (2, Value::Bytes(key)) => hash_keys.push(std::str::from_utf8(key).ok()?),
            (3, Value::Bytes(record)) => records.push(indexed(record)?),
            (1..=3, Value::Number(_) | Value::Other) => return None,
            (_, Value::Bytes(_) | Value::Number(_) | Value::Other) => {}
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
        match field(&mut record)? {
            (1, Value::Number(index)) => key = Some(index),
            (2, Value::Number(index)) => hash_key = Some(index),
            (3, Value::Bytes(bytes)) if data.is_none() => data = Some(bytes),
            (1..=3, Value::Bytes(_) | Value::Number(_) | Value::Other) => return None,
            (_, Value::Bytes(_) | Value::Number(_) | Value::Other) => {}
        }
    }
    Some((key?, hash_key, data?))
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a fixed length, or a group: nothing that an aggregate knows.
    Other,
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
        1 => skip(message, 8)?,
        5 => skip(message, 4)?,
        3 => group(message, tag >> 3)?,
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn skip<'a>(message: &mut &'a [u8], len: usize) -> Option<Value<'a>> {
    *message = message.split_at_checked(len)?.1;
    Some(Value::Other)
}

/// A group ends with a tag of its own number; groups may lie within groups.
fn group<'a>(message: &mut &'a [u8], number: u64) -> Option<Value<'a>> {
    loop {
        let mut ahead = *message;
        let tag = varint(&mut ahead)?;
        if tag & 7 == 4 {
            *message = ahead;
            return (tag >> 3 == number).then_some(Value::Other);
        }
        field(message)?;
    }
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
