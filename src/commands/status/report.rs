//! How a keeper stands, as one value: what `--json` prints and the table shows.
//!
//! Owns the shape, which grows by fields and keeps their meaning within a version. An absent value is
//! `null`: nobody who was asked knows it.

use std::path::PathBuf;

use serde::Serialize;

use crate::metrics::status::OpenBatchStatus;
use crate::model::sequence::{Position, SequenceNumber};
use crate::model::timestamp::Timestamp;

/// The version of the shape.
pub const VERSION: u32 = 1;

/// How a keeper stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// The stream's name.
    pub stream: String,
    /// `s3://bucket/prefix` of the archive.
    pub archive: String,
    /// The state directory.
    pub state_dir: PathBuf,
    /// When this was put together.
    pub now: Timestamp,
    /// Whether a keeper runs.
    pub keeper: Keeper,
    /// All shards together.
    pub totals: Totals,
    /// What needs somebody's attention, the worst first.
    pub warnings: Vec<String>,
    /// Each shard that this disk or the keeper knows, in order.
    pub shards: Vec<ShardReport>,
    /// Files that were set aside on this disk.
    pub damaged: DamagedReport,
}

/// Whether a keeper runs, and who says so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Keeper {
    /// Whether it runs; `null` where this machine cannot tell.
    pub running: Option<bool>,
    /// Who holds the state directory.
    pub holder: Option<String>,
    /// `metrics.http`, where it is set.
    pub http: Option<String>,
    /// Whether it answered.
    pub answered: bool,
    /// Where: the socket in the state directory, else the address of `metrics.http`.
    pub answered_at: Option<String>,
    /// Why it did not.
    pub no_answer: Option<String>,
    /// The version of the program that runs.
    pub program: Option<String>,
    /// Since when it counts.
    pub since: Option<Timestamp>,
    /// Whether every shard makes progress.
    pub healthy: Option<bool>,
}

/// All shards together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Shards listed here.
    pub shards: u64,
    /// Shards whose thread runs.
    pub running: Option<u64>,
    /// The largest lag.
    pub lag_seconds: Option<f64>,
    /// The largest share of retention that is used up.
    pub retention_used: Option<f64>,
    /// Records of all open batches.
    pub batch_records: Option<u64>,
    /// Their bytes before compression.
    pub batch_bytes: Option<u64>,
    /// Sealed items that wait for the bucket.
    pub spool_items: u64,
    /// Their bytes.
    pub spool_bytes: u64,
    /// `disk.spool_bytes`.
    pub spool_limit: u64,
    /// Notices that wait, those of hours among them.
    pub outbox_notices: u64,
    /// Notices of hours that wait; they are of no shard.
    pub hour_notices: u64,
    /// Threads that died and were started again.
    pub restarts: Option<u64>,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardReport {
    /// Its id; of an earlier creation of the stream `{shard}@{creation}`.
    pub shard: String,
    /// As the keeper says (`starting`, `reading`, `waiting`, `paused`, `stopped`, `draining`, `ended`), else
    /// `ended`, `not running`, or `not known`.
    pub state: String,
    /// What is wrong, in plain words.
    pub troubles: Vec<String>,
    /// How far behind the tip it is; where the keeper does not say, how long ago what is sealed was known to
    /// be complete.
    pub lag_seconds: Option<f64>,
    /// Share of the stream's retention that is used up; records are lost at 1.
    pub retention_used: Option<f64>,
    /// The open batch in memory; `null` while it is empty, and where the keeper was not asked.
    pub batch: Option<OpenBatchStatus>,
    /// Sealed items that wait for the bucket.
    pub spool_items: u64,
    /// Their bytes.
    pub spool_bytes: u64,
    /// When the oldest of them was sealed.
    pub oldest_sealed_at: Option<Timestamp>,
    /// Notices that wait.
    pub outbox_notices: u64,
    /// How often its thread died and was started again.
    pub restarts: Option<u64>,
    /// The last record that is durable here or in the archive.
    pub read_to: Option<SequenceNumber>,
    /// Where the archive ends: `{"after": n}`, `{"before": n}`, `"start"` or `"end"`.
    pub archived: Option<Position>,
    /// The newest ledger entry whose object was seen.
    pub serial: Option<u64>,
    /// When the checkpoint was saved.
    pub saved_at: Option<Timestamp>,
    /// The last object that this keeper archived, as far as it or the local copies know.
    pub last_object: Option<LastObject>,
}

/// An object in the archive.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastObject {
    /// Its ledger entry.
    pub serial: u64,
    /// Its key.
    pub key: String,
    /// `s3://bucket/key`.
    pub url: String,
    /// Lines.
    pub records: u64,
    /// Bytes.
    pub size: u64,
    /// When it was seen in the bucket.
    pub archived_at: Timestamp,
}

/// Files that were set aside.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DamagedReport {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first ten of them, below the state directory.
    pub named: Vec<PathBuf>,
}
