//! A record on its way: what is known of it, and what may become of it.

use std::time::Duration;

use crate::codec::aggregate::hash_key_of;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::ShardId;
use crate::ports::put::Record;

use super::options::MOST_RECORDS;

/// The longest partition key, in characters.
const LONGEST_KEY: usize = 256;

/// A record on its way.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    /// Which admission it was: who came first goes first, also after a failure.
    pub(super) serial: u64,
    /// Decides its shard.
    pub(super) hash_key: u128,
    /// When it was admitted.
    pub(super) admitted: Duration,
    /// When it was first sent.
    pub(super) first_try: Option<Duration>,
    /// How often it was sent and is not through.
    pub(super) failures: u32,
    /// The most records that a request with it may hold: after the service called a request invalid, the
    /// record that is to blame is found by halving.
    pub(super) company: usize,
    /// A try of it ended without an answer, or in an aggregate that came to a wrong shard.
    pub(super) unknown: bool,
    /// How often an aggregate with it came to a shard where not all of its records belong.
    pub(super) astray: u32,
    /// Which flush it belongs to.
    pub(super) epoch: u64,
}

impl Entry {
    pub(super) fn new(record: Record, serial: u64, epoch: u64, now: Duration) -> Self {
        let hash_key = record.explicit_hash_key.unwrap_or_else(|| hash_key_of(&record.partition_key));
        Self {
            record,
            serial,
            hash_key,
            admitted: now,
            first_try: None,
            failures: 0,
            company: MOST_RECORDS,
            unknown: false,
            astray: 0,
            epoch,
        }
    }

    /// Records of one such key keep their order where that is asked.
    pub(super) fn order_key(&self) -> u128 {
        match self.record.explicit_hash_key {
            Some(_) => hash_key_of(&self.record.partition_key),
            None => self.hash_key,
        }
    }
}

/// Where a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// In this shard.
    pub shard: &'a ShardId,
    /// At this place.
    pub sequence_number: &'a SequenceNumber,
    /// Its index in the aggregate that it was packed into, if it was.
    pub sub_sequence_number: Option<u64>,
}

/// A record that is not delivered, and will not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// The record.
    pub record: Record,
    /// Why.
    pub why: Why,
}

/// Why a record is not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is larger than the stream takes.
    #[error(
        "the record has {size} bytes with its key and the stream takes {most}: send less, or raise MaxRecordSizeInKiB"
    )]
    TooLarge {
        /// Payload and key.
        size: usize,
        /// The most that the stream takes.
        most: usize,
    },
    /// A partition key has 1 to 256 characters.
    #[error("the partition key has {0} characters, and must have 1 to 256")]
    BadKey(usize),
    /// The service refused it, for good or for too long.
    #[error("{code}: {message}{}", tried(*.tries, *.maybe_stored))]
    Refused {
        /// The service's error code, or what took its place.
        code: String,
        /// What it said.
        message: String,
        /// How often it was sent.
        tries: u32,
        /// A try ended without an answer, or in a wrong shard: the stream may have it all the same.
        maybe_stored: bool,
    },
    /// The producer was ended before the record was sent.
    #[error("not sent before the end{}", stored(*.maybe_stored))]
    Ended {
        /// A try ended without an answer, or in a wrong shard: the stream may have it all the same.
        maybe_stored: bool,
    },
}

impl Why {
    /// Why this record can't be put into a stream that takes records of `most` bytes; `None` if it can.
    pub fn against(record: &Record, most: usize) -> Option<Self> {
        check(record, most).err()
    }
}

fn tried(tries: u32, maybe_stored: bool) -> String {
    let stored = stored(maybe_stored);
    if tries > 1 { format!(" (sent {tries} times{stored})") } else { stored.to_owned() }
}

const fn stored(maybe_stored: bool) -> &'static str {
    if maybe_stored {
        "; it may be stored, for a try of it had no answer, or came to a wrong shard in an aggregate"
    } else {
        ""
    }
}

/// What is wrong with a record before it is sent.
pub(super) fn check(record: &Record, most: usize) -> Result<(), Why> {
    let key = &record.partition_key;
    // Most keys are short: bytes bound the characters.
    let characters = if key.len() <= LONGEST_KEY { key.len() } else { key.chars().count() };
    if characters == 0 || characters > LONGEST_KEY {
        return Err(Why::BadKey(characters));
    }
    if record.size() > most {
        return Err(Why::TooLarge { size: record.size(), most });
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record of `size` bytes, key included.
    pub(in crate::producer) fn record(tag: u64, key: &str, size: usize) -> Record {
        let data = vec![b'x'; size.saturating_sub(key.len())].into();
        Record { data, partition_key: key.to_owned(), explicit_hash_key: None, tag }
    }

    #[test]
    fn a_record_of_exactly_the_streams_most_is_taken_and_one_byte_more_is_not() {
        assert_eq!(check(&record(0, "key", 1 << 20), 1 << 20), Ok(()));
        let why = check(&record(0, "key", (1 << 20) + 1), 1 << 20).unwrap_err();
        assert_eq!(why, Why::TooLarge { size: 1_048_577, most: 1_048_576 });
        assert!(why.to_string().contains("MaxRecordSizeInKiB"), "{why}");
    }

    #[test]
    fn keys_are_counted_in_characters() {
        assert_eq!(check(&record(0, "", 1), 10), Err(Why::BadKey(0)));
        assert_eq!(check(&record(0, &"ü".repeat(256), 0), 1000), Ok(()));
        assert_eq!(check(&record(0, &"ü".repeat(257), 0), 1000), Err(Why::BadKey(257)));
    }

    #[test]
    fn an_explicit_hash_key_decides_the_shard_and_the_partition_key_the_order() {
        let plain = Entry::new(record(0, "a", 1), 0, 0, Duration::ZERO);
        let explicit = Record { explicit_hash_key: Some(7), ..record(0, "a", 1) };
        let explicit = Entry::new(explicit, 0, 0, Duration::ZERO);
        assert_eq!(explicit.hash_key, 7);
        assert_eq!(explicit.order_key(), plain.hash_key);
        assert_eq!(plain.hash_key, hash_key_of("a"));
    }
}
