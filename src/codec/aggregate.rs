//! KPL aggregates: one Kinesis record that holds many user records.
//!
//! Owns their wire form (magic, protobuf, MD5) and which user records lie outside the shard. A record that
//! is not a sound aggregate in every part is an ordinary record: it is never an error, and no byte is lost.

pub mod encode;

use bytes::Bytes;
use md5::{Digest, Md5};
use prost::Message;

use crate::model::record::{ArchivedRecord, RawRecord};
use crate::model::shard::HashKeyRange;

/// What an aggregate begins with.
const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
/// The length of the MD5 that it ends with.
const MD5_LEN: usize = 16;

/// The protobuf message within an aggregate (proto2), without what no producer writes.
#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<UserRecord>,
}

/// One user record. Proto2 requires the first and the third field; optional here, to see when they are missing.
#[derive(Clone, PartialEq, Message)]
struct UserRecord {
    #[prost(uint64, optional, tag = "1")]
    partition_key_index: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    /// One. Repeated here, to see when there are more: the first ones would be lost.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    data: Vec<Bytes>,
}

/// A user record with its keys looked up and its hash key known.
struct Expanded<'a> {
    partition_key: &'a str,
    explicit_hash_key: Option<&'a str>,
    outside: bool,
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
    let aggregate = if deaggregate { decode(&record.data) } else { None };
    // Where the stream distributes records by itself, hash keys do not tell the shard.
    let range = if record.partition_key.is_some() { range } else { HashKeyRange::WHOLE };
    let Some(users) = aggregate.as_ref().and_then(|aggregate| expand(aggregate, range)) else {
        return each(&record.as_archived());
    };
    for (index, user) in (0..).zip(&users) {
        each(&ArchivedRecord {
            sequence_number: &record.sequence_number,
            sub_sequence_number: Some(index),
            arrival: record.arrival,
            partition_key: Some(user.partition_key),
            explicit_hash_key: user.explicit_hash_key,
            outside_hash_range: user.outside,
            data: user.data,
        });
    }
}

/// The aggregate in a payload, if it is one: magic, checksum and protobuf are right. Fields that are not
/// known are passed over, as protobuf demands: no user record lies in them.
fn decode(data: &Bytes) -> Option<AggregatedRecord> {
    let body = data.strip_prefix(&MAGIC)?;
    let (message, sum) = body.split_last_chunk::<MD5_LEN>()?;
    if message.is_empty() || Md5::digest(message)[..] != sum[..] {
        return None;
    }
    // As `Bytes`, so that the user records' payloads are borrowed and not copied.
    AggregatedRecord::decode(data.slice_ref(message)).ok()
}

/// All user records of an aggregate; `None` if it has none, or any of them is not sound.
fn expand(aggregate: &AggregatedRecord, range: HashKeyRange) -> Option<Vec<Expanded<'_>>> {
    if aggregate.records.is_empty() {
        return None;
    }
    aggregate.records.iter().map(|user| expand_one(aggregate, user, range)).collect()
}

fn expand_one<'a>(
    aggregate: &'a AggregatedRecord,
    user: &'a UserRecord,
    range: HashKeyRange,
) -> Option<Expanded<'a>> {
    let partition_key = entry(&aggregate.partition_key_table, user.partition_key_index?)?;
    let explicit_hash_key = match user.explicit_hash_key_index {
        Some(index) => Some(entry(&aggregate.explicit_hash_key_table, index)?),
        None => None,
    };
    let hash_key = match explicit_hash_key {
        Some(decimal) => decimal.parse().ok()?,
        None => hash_key_of(partition_key),
    };
    let [data] = user.data.as_slice() else { return None };
    Some(Expanded { partition_key, explicit_hash_key, outside: !range.contains(hash_key), data })
}

fn entry(table: &[String], index: u64) -> Option<&str> {
    table.get(usize::try_from(index).ok()?).map(String::as_str)
}

/// The hash key of the first user record, if the payload is an aggregate: where an aggregate that is kept
/// whole belongs.
pub fn hash_key_within(data: &Bytes) -> Option<u128> {
    let aggregate = decode(data)?;
    let users = expand(&aggregate, HashKeyRange::WHOLE)?;
    let first = users.first()?;
    first.explicit_hash_key.map_or_else(|| Some(hash_key_of(first.partition_key)), |key| key.parse().ok())
}

/// The hash key that Kinesis derives from a partition key.
pub fn hash_key_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

#[cfg(test)]
mod tests;
