//! KPL aggregates: one Kinesis record that holds many user records.
//!
//! Owns their wire form (magic, protobuf, MD5) and which user records lie outside the shard. A record that
//! is not a sound aggregate in every part is an ordinary record: it is never an error, and no byte is lost. A user record
//! may take six bytes of ten mebibytes, so none is held: a first walk proves the whole, a second hands it out.

pub mod encode;
mod wire;

use std::str;

use md5::{Digest, Md5};

use self::wire::{DEPTH, Fields, Malformed, Value};
use crate::model::record::{ArchivedRecord, RawRecord};
use crate::model::shard::HashKeyRange;

/// What an aggregate begins with.
const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
/// The length of the MD5 that it ends with.
const MD5_LEN: usize = 16;

/// The numbers of its fields: the partition keys, the explicit hash keys, the user records.
const PARTITION_KEY: u32 = 1;
const EXPLICIT_HASH_KEY: u32 = 2;
const RECORD: u32 = 3;

/// The most characters of a partition key that Kinesis takes. User records are lines with their keys in the archive: of a
/// mebibyte with one long key and ninety thousand records, that would be gigabytes. Who names such keys is no KPL.
const LONGEST_KEY: usize = 256;

/// The largest hash key; none is longer.
const LARGEST: &str = "340282366920938463463374607431768211455";

/// An aggregate that was found sound in every part. The keys lie anywhere in it; where each does takes four bytes, of
/// the two or more that it has.
struct Aggregate<'a> {
    message: &'a [u8],
    partition_keys: Vec<u32>,
    explicit_hash_keys: Vec<u32>,
}

/// A user record with its keys looked up.
struct User<'a> {
    partition_key: &'a str,
    explicit_hash_key: Option<&'a str>,
    data: &'a [u8],
}

/// Hands the user records of `record` to `each`, in order: those of the aggregate that it is, or the record
/// itself if it is none or `deaggregate` is off.
///
/// `range` is the shard's. A user record whose hash key lies outside of it is marked so, and kept.
pub fn for_each_user_record(
    record: &RawRecord,
    range: HashKeyRange,
    deaggregate: bool,
    each: &mut dyn FnMut(&ArchivedRecord<'_>),
) {
    let Some(aggregate) = deaggregate.then(|| Aggregate::of(&record.data)).flatten() else {
        return each(&record.as_archived());
    };
    // Where the stream distributes records by itself, hash keys do not tell the shard.
    let range = if record.partition_key.is_some() { range } else { HashKeyRange::WHOLE };
    for (index, user) in (0..).zip(aggregate.users()) {
        each(&ArchivedRecord {
            sequence_number: &record.sequence_number,
            sub_sequence_number: Some(index),
            arrival: record.arrival,
            partition_key: Some(user.partition_key),
            explicit_hash_key: user.explicit_hash_key,
            outside_hash_range: range != HashKeyRange::WHOLE
                && !user.hash_key().is_some_and(|key| range.contains(key)),
            data: user.data,
        });
    }
}

impl<'a> Aggregate<'a> {
    /// The aggregate in a payload, if it is one: magic, checksum, protobuf and every user record are right, and
    /// there is one at least. Fields that are not known are passed over, as protobuf demands: no user record
    /// lies in them.
    fn of(data: &'a [u8]) -> Option<Self> {
        let body = data.strip_prefix(&MAGIC)?;
        let (message, sum) = body.split_last_chunk::<MD5_LEN>()?;
        if message.is_empty() || Md5::digest(message)[..] != sum[..] {
            return None;
        }
        Self::proven(message).ok()
    }

    fn proven(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut tables = Self { message, partition_keys: Vec::new(), explicit_hash_keys: Vec::new() };
        let mut fields = Fields::new(message, DEPTH);
        let (mut empty, mut all_numbers) = (true, true);
        loop {
            let at = u32::try_from(message.len() - fields.rest.len()).map_err(|_| Malformed)?;
            match fields.field()? {
                Some((PARTITION_KEY, value)) => {
                    let key = text(value)?;
                    if key.len() > LONGEST_KEY && key.chars().count() > LONGEST_KEY {
                        return Err(Malformed);
                    }
                    tables.partition_keys.push(at);
                }
                Some((EXPLICIT_HASH_KEY, value)) => {
                    let decimal = text(value)?;
                    if decimal.len() > LARGEST.len() {
                        return Err(Malformed);
                    }
                    all_numbers &= is_number(decimal);
                    tables.explicit_hash_keys.push(at);
                }
                Some((RECORD, value)) => {
                    bytes(value)?;
                    empty = false;
                }
                Some(_) => {}
                None => break,
            }
        }
        // A key may follow the records that name it.
        for indexed in tables.indexed() {
            let indexed = indexed?;
            within(&tables.partition_keys, indexed.partition_key)?;
            if let Some(index) = indexed.explicit_hash_key {
                within(&tables.explicit_hash_keys, index)?;
                // One that is no number does no harm as long as no record names it.
                if !all_numbers {
                    number(tables.entry(&tables.explicit_hash_keys, index)?)?;
                }
            }
        }
        if empty { Err(Malformed) } else { Ok(tables) }
    }

    /// The user records, in order: all of them, as each was looked up before.
    fn users(&self) -> impl Iterator<Item = User<'a>> {
        self.indexed().map_while(|indexed| {
            let Indexed { partition_key, explicit_hash_key, data } = indexed.ok()?;
            let partition_key = self.entry(&self.partition_keys, partition_key).ok()?;
            let explicit_hash_key = match explicit_hash_key {
                Some(index) => Some(self.entry(&self.explicit_hash_keys, index).ok()?),
                None => None,
            };
            Some(User { partition_key, explicit_hash_key, data })
        })
    }

    fn indexed(&self) -> impl Iterator<Item = Result<Indexed<'a>, Malformed>> {
        let mut fields = Fields::new(self.message, DEPTH);
        std::iter::from_fn(move || {
            loop {
                match fields.field() {
                    Ok(Some((RECORD, value))) => return Some(bytes(value).and_then(Indexed::of)),
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(malformed) => return Some(Err(malformed)),
                }
            }
        })
    }

    fn entry(&self, table: &[u32], index: u64) -> Result<&'a str, Malformed> {
        let at = within(table, index)? as usize;
        let field = Fields::new(self.message.get(at..).ok_or(Malformed)?, DEPTH).field()?;
        text(field.ok_or(Malformed)?.1)
    }
}

/// A user record as it lies in the message. Proto2 requires the partition key and the payload; of two payloads the
/// first would be lost.
struct Indexed<'a> {
    partition_key: u64,
    explicit_hash_key: Option<u64>,
    data: &'a [u8],
}

impl<'a> Indexed<'a> {
    #[inline]
    fn of(record: &'a [u8]) -> Result<Self, Malformed> {
        let (mut partition_key, mut explicit_hash_key, mut data) = (None, None, None);
        let mut fields = Fields::new(record, DEPTH - 1);
        while let Some((number, value)) = fields.field()? {
            match (number, value) {
                (1, Value::Number(index)) => partition_key = Some(index),
                (2, Value::Number(index)) => explicit_hash_key = Some(index),
                (3, Value::Bytes(payload)) if data.is_none() => data = Some(payload),
                (1..=3, Value::Number(_) | Value::Bytes(_) | Value::Other) => return Err(Malformed),
                (_, Value::Number(_) | Value::Bytes(_) | Value::Other) => {}
            }
        }
        let (Some(partition_key), Some(data)) = (partition_key, data) else { return Err(Malformed) };
        Ok(Self { partition_key, explicit_hash_key, data })
    }
}

impl User<'_> {
    fn hash_key(&self) -> Option<u128> {
        match self.explicit_hash_key {
            Some(decimal) => number(decimal).ok(),
            None => Some(hash_key_of(self.partition_key)),
        }
    }
}

fn bytes(value: Value<'_>) -> Result<&[u8], Malformed> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Number(_) | Value::Other => Err(Malformed),
    }
}

fn text(value: Value<'_>) -> Result<&str, Malformed> {
    str::from_utf8(bytes(value)?).map_err(|_| Malformed)
}

/// Whether `number` takes it, most often without reading it as one.
fn is_number(decimal: &str) -> bool {
    let digits = !decimal.is_empty() && decimal.bytes().all(|byte| byte.is_ascii_digit());
    let fits = decimal.len() < LARGEST.len() || decimal.len() == LARGEST.len() && decimal <= LARGEST;
    digits && fits || number(decimal).is_ok()
}

fn number(decimal: &str) -> Result<u128, Malformed> {
    decimal.parse().map_err(|_| Malformed)
}

/// Where the key of this index lies.
fn within(table: &[u32], index: u64) -> Result<u32, Malformed> {
    let index = usize::try_from(index).map_err(|_| Malformed)?;
    table.get(index).copied().ok_or(Malformed)
}

/// The hash key of the first user record, if the payload is an aggregate: where an aggregate that is kept
/// whole belongs.
pub fn hash_key_within(data: &[u8]) -> Option<u128> {
    Aggregate::of(data)?.users().next()?.hash_key()
}

/// The hash key that Kinesis derives from a partition key.
pub fn hash_key_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

#[cfg(test)]
mod tests;
