//! A batch: how large it may grow, why it was sealed, and what is known of its content.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sequence::SequenceNumber;
use super::timestamp::Timestamp;

/// The limits of an open batch; whichever is reached first seals it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Age since the batch's first record was added, on the monotonic clock.
    pub max_age: Duration,
    /// User records.
    pub max_records: u64,
    /// Uncompressed bytes of lines.
    pub max_bytes: u64,
}

/// Why a batch was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealReason {
    /// `batch.max_age`.
    Age,
    /// `batch.max_records`.
    Records,
    /// `batch.max_bytes`.
    Bytes,
    /// `batch.memory`: it was the largest of all.
    Memory,
    /// A record of a later UTC hour came.
    Hour,
    /// The shard was read to its end.
    ShardEnd,
    /// SIGTERM, SIGINT or SIGHUP.
    Shutdown,
    /// SIGUSR1, or a gap or already sealed records follow.
    Request,
}

impl SealReason {
    /// Every reason, in the order in which metrics list them.
    pub const ALL: [Self; 8] = [
        Self::Age,
        Self::Records,
        Self::Bytes,
        Self::Memory,
        Self::Hour,
        Self::ShardEnd,
        Self::Shutdown,
        Self::Request,
    ];

    /// As the archive and the metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Records => "records",
            Self::Bytes => "bytes",
            Self::Memory => "memory",
            Self::Hour => "hour",
            Self::ShardEnd => "shard_end",
            Self::Shutdown => "shutdown",
            Self::Request => "request",
        }
    }
}

/// How an object's records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Lossless NDJSON, a line a record.
    Envelope,
    /// The records' data alone.
    Payload,
}

/// How an object is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// RFC 1952, a row of members.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// The form of an object: what stands in its settings, and in its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// How its records are written.
    pub format: Format,
    /// How it is compressed.
    pub compression: Compression,
}

impl Form {
    /// What lies in the spool, and is put as it lies there if it is asked for.
    pub const SPOOLED: Self = Self { format: Format::Envelope, compression: Compression::Gzip };
}

impl Compression {
    /// The media type of what is compressed so.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/gzip",
            Self::Zstd => "application/zstd",
        }
    }

    /// The levels of its compressor, libdeflate's or libzstd's.
    pub const fn levels(self) -> RangeInclusive<u32> {
        match self {
            Self::Gzip => 1..=12,
            Self::Zstd => 1..=22,
        }
    }

    /// The level that is used where this one is asked for: others are brought into the range.
    pub fn nearest_level(self, level: u32) -> u32 {
        level.clamp(*self.levels().start(), *self.levels().end())
    }
}

/// How hard the compressor tries: what the settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Always so hard: one of [`Compression::levels`].
    Fixed(u32),
    /// [`Level::USUAL`] while the shard is caught up, [`Level::FAST`] while it is behind and the machine's
    /// cores are busy.
    Auto,
}

impl Level {
    /// What is taken where nothing speaks against it.
    pub const USUAL: u32 = 6;
    /// What costs the least time.
    pub const FAST: u32 = 1;

    /// The level of what is compressed now, where [`Level::Auto`] chose so for it, if it did.
    pub fn with(self, chosen: Option<u32>) -> u32 {
        match self {
            Self::Fixed(level) => level,
            Self::Auto => chosen.unwrap_or(Self::USUAL),
        }
    }
}

/// Everything about a row of records that does not depend on where it will lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// First Kinesis sequence number.
    pub first_sequence_number: SequenceNumber,
    /// Last Kinesis sequence number.
    pub last_sequence_number: SequenceNumber,
    /// Lines, that is, user records.
    pub records: u64,
    /// Arrival of the first record. (Arrivals can go backwards: it need not be the earliest.)
    pub first_arrival: Timestamp,
    /// Arrival of the last record.
    pub last_arrival: Timestamp,
    /// Uncompressed bytes.
    pub content_size: u64,
    /// Lower-case hex SHA-256 of the uncompressed bytes.
    pub content_sha256: String,
    /// Compressed bytes.
    pub size: u64,
    /// Lower-case hex SHA-256 of the compressed bytes.
    pub sha256: String,
}
