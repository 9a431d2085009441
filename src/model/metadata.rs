//! The user metadata of a data object: its names, and what stands under them.
//!
//! Owns the names `keeper-…`; what is stored and what is found are held against each other by these alone.

use super::batch::Content;
use super::ledger::FORMAT_VERSION;
use super::shard::ShardId;
use super::timestamp::Timestamp;

/// On a void only.
pub const VOID: &str = "keeper-void";
/// Hash of the uncompressed lines.
pub const CONTENT_SHA256: &str = "keeper-content-sha256";
/// Hash of the object.
pub const SHA256: &str = "keeper-sha256";
/// Lines.
pub const RECORDS: &str = "keeper-records";
/// Its end.
pub const LAST_SEQUENCE_NUMBER: &str = "keeper-last-sequence-number";

/// The level at which the object was compressed, where that is known.
pub const LEVEL: &str = "keeper-level";

/// Where the records of an object come from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// The stream's creation time.
    pub created: Timestamp,
    /// The shard.
    pub shard: &'a ShardId,
    /// The entry that claims the object; none does what lies under `_repaired/`.
    pub serial: Option<u64>,
}

/// The metadata of an object with this content, compressed at this level; `None`: not known, or no matter.
pub fn of(source: &Source<'_>, content: &Content, level: Option<u32>) -> Vec<(&'static str, String)> {
    let mut metadata = vec![
        ("keeper-version", FORMAT_VERSION.to_string()),
        ("keeper-stream", source.stream.to_owned()),
        ("keeper-stream-created", source.created.to_string()),
        ("keeper-shard", source.shard.to_string()),
    ];
    metadata.extend(source.serial.map(|serial| ("keeper-serial", serial.to_string())));
    metadata.extend([
        ("keeper-first-sequence-number", content.first_sequence_number.to_string()),
        (LAST_SEQUENCE_NUMBER, content.last_sequence_number.to_string()),
        (RECORDS, content.records.to_string()),
        ("keeper-content-size", content.content_size.to_string()),
        (CONTENT_SHA256, content.content_sha256.clone()),
        (SHA256, content.sha256.clone()),
        ("keeper-first-arrival", content.first_arrival.to_string()),
        ("keeper-last-arrival", content.last_arrival.to_string()),
    ]);
    metadata.extend(level.map(|level| (LEVEL, level.to_string())));
    metadata
}
