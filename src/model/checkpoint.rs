//! The checkpoint: a copy of the ledger's position on this disk, a hint where to look.

use serde::{Deserialize, Serialize};

use super::sealed::KnownPosition;
use super::shard::ShardId;
use super::timestamp::Timestamp;

/// What is saved of a shard once an entry's object was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The version of this file's format.
    pub version: u32,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The stream's creation time.
    pub stream_created: Timestamp,
    /// The shard.
    pub shard: ShardId,
    /// The newest ledger entry whose object was seen.
    pub serial: u64,
    /// Hex SHA-256 of that entry as stored: a ledger that disagrees is another ledger.
    pub entry_sha256: String,
    /// The position that it leaves.
    #[serde(flatten)]
    pub known: KnownPosition,
    /// Where reading stood when this was saved, if that was a sealed position beyond `known`
    /// whose `complete_to` empty replies have moved.
    pub sealed: Option<KnownPosition>,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// How long the stream kept its records then, in milliseconds: once it keeps them for longer, what was gone stays gone. Absent in
    /// files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
    /// What arrived earlier was perhaps trimmed under a shorter retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trimmed_to: Option<Timestamp>,
}
