//! Streams and shards: who they are, where a shard lies in the key space and in the lineage.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::timestamp::Timestamp;

/// A shard's identifier, such as `shardId-000000000000`.
///
/// A stream that is deleted and made again uses the same ones: an id means something only together
/// with the stream's creation time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(Box<str>);

impl ShardId {
    /// The id as Kinesis gave it.
    pub fn new(id: impl Into<Box<str>>) -> Self {
        Self(id.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which stream, and which of the streams that have borne its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamIdentity {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// When it was created; its seconds tell it from an earlier stream of the same name.
    pub created: Timestamp,
}

impl StreamIdentity {
    /// Whether both are the same stream: same ARN, created in the same second.
    pub fn is(&self, other: &Self) -> bool {
        self.arn == other.arn && self.created.as_seconds() == other.created.as_seconds()
    }
}

/// The part of the 128-bit hash key space that a shard takes, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashKeyRange {
    /// Lowest hash key.
    pub start: u128,
    /// Highest hash key.
    pub end: u128,
}

impl HashKeyRange {
    /// All of the key space.
    pub const WHOLE: Self = Self { start: 0, end: u128::MAX };

    /// Whether `key` belongs to the shard.
    pub const fn contains(self, key: u128) -> bool {
        self.start <= key && key <= self.end
    }
}

/// A shard as ListShards tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// Its parents: none, one (split) or two (merge). A parent may have expired from the listing.
    pub parents: Vec<ShardId>,
    /// Its share of the key space.
    pub range: HashKeyRange,
    /// Whether it takes no more records.
    pub closed: bool,
}

/// What the stream's description says of the stream as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    /// Which stream.
    pub identity: StreamIdentity,
    /// Its state.
    pub status: StreamStatus,
    /// How long it keeps records.
    pub retention: std::time::Duration,
}

/// The state of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// Not yet readable.
    Creating,
    /// Readable.
    Active,
    /// Readable; shards or settings are being changed.
    Updating,
    /// About to be gone.
    Deleting,
}
