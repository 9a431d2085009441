//! User records into one KPL aggregate.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use md5::{Digest, Md5};
use prost::Message;

use super::{MAGIC, MD5_LEN};

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

/// One user record. Proto2 requires the first and the third field.
#[derive(Clone, PartialEq, Message)]
struct UserRecord {
    #[prost(uint64, optional, tag = "1")]
    partition_key_index: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}

/// The most that protobuf's own bytes around a key take: tag and length.
const AROUND_KEY: usize = 6;
/// … and around a user record: its tag and length, two indices, the tag and length of its payload.
const AROUND_RECORD: usize = 24;

/// The partition key that an aggregate itself bears, as the KPL has it; its shard is decided by an explicit
/// hash key.
pub const OUTER_KEY: &str = "a";

/// An aggregate that is being made.
#[derive(Debug)]
pub struct Aggregate {
    message: AggregatedRecord,
    keys: HashMap<String, u64>,
    hash_keys: HashMap<String, u64>,
    /// No more than this many bytes come out.
    size: usize,
}

impl Default for Aggregate {
    fn default() -> Self {
        Self {
            message: AggregatedRecord::default(),
            keys: HashMap::new(),
            hash_keys: HashMap::new(),
            size: MAGIC.len() + MD5_LEN + OUTER_KEY.len(),
        }
    }
}

impl Aggregate {
    /// An upper bound of its size, its own key included, with one more record.
    pub fn size_with(&self, partition_key: &str, explicit_hash_key: Option<&str>, data: usize) -> usize {
        let key = |known: &HashMap<String, u64>, key: &str| {
            if known.contains_key(key) { 0 } else { key.len() + AROUND_KEY }
        };
        let hash_key = explicit_hash_key.map_or(0, |text| key(&self.hash_keys, text));
        self.size + key(&self.keys, partition_key) + hash_key + data + AROUND_RECORD
    }

    /// One more record.
    pub fn push(&mut self, partition_key: &str, explicit_hash_key: Option<&str>, data: Bytes) {
        self.size = self.size_with(partition_key, explicit_hash_key, data.len());
        let index = |table: &mut Vec<String>, known: &mut HashMap<String, u64>, key: &str| {
            if let Some(index) = known.get(key) {
                return *index;
            }
            let index = table.len() as u64;
            table.push(key.to_owned());
            known.insert(key.to_owned(), index);
            index
        };
        let key = index(&mut self.message.partition_key_table, &mut self.keys, partition_key);
        let hash_key = explicit_hash_key
            .map(|text| index(&mut self.message.explicit_hash_key_table, &mut self.hash_keys, text));
        self.message.records.push(UserRecord {
            partition_key_index: Some(key),
            explicit_hash_key_index: hash_key,
            data: Some(data),
        });
    }

    /// Magic, protobuf, MD5.
    pub fn finish(self) -> Bytes {
        let len = self.message.encoded_len();
        let mut out = BytesMut::with_capacity(MAGIC.len() + len + MD5_LEN);
        out.put_slice(&MAGIC);
        out.put(self.message.encode_to_vec().as_slice());
        let sum = Md5::digest(&out[MAGIC.len()..]);
        out.put_slice(&sum);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Aggregate as Decoded;
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_with_its_keys() {
        let records = [
            ("user-1", None, b"one".as_slice()),
            ("user-2", Some("340282366920938463463374607431768211455"), b""),
            ("user-1", None, b"\xff\x00"),
            ("user-3", Some("0"), b"four"),
        ];
        let mut aggregate = Aggregate::default();
        let mut bound = 0;
        for (key, hash_key, data) in records {
            bound = aggregate.size_with(key, hash_key, data.len());
            aggregate.push(key, hash_key, Bytes::from_static(data));
        }
        let bytes = aggregate.finish();
        assert!(bytes.len() + OUTER_KEY.len() <= bound, "{} of {bound}", bytes.len());
        let decoded = Decoded::of(&bytes).unwrap();
        assert_eq!(decoded.partition_keys.len(), 3, "each key lies there once");
        let out: Vec<_> =
            decoded.users().map(|user| (user.partition_key, user.explicit_hash_key, user.data)).collect();
        assert_eq!(out, records);
    }
}
