//! How the archiver stands, as one value: what `/status.json` answers and the page shows.
//!
//! Owns the shape of the answer and how it is put together. What is in it was reported by the shards.

use serde::{Deserialize, Serialize};

use super::health::Health;
use super::history::Totals;
use super::tally::Tally;
use crate::model::batch::SealReason;
use crate::model::manifest::BatchNotice;
use crate::model::metric::{Counter, Gauge};
use crate::model::sequence::SequenceNumber;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::ShardState;

/// The version of the shape: it grows when a field changes its meaning, not when one is added.
pub const VERSION: u32 = 1;

/// How the archiver stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// The program's version.
    pub program: String,
    /// The stream's name.
    pub stream: String,
    /// `s3://bucket/prefix` of the archive.
    pub archive: String,
    /// When this was put together.
    pub now: Timestamp,
    /// Since when these numbers are counted: the start, or the last reload.
    pub since: Timestamp,
    /// Whether every shard makes progress, as `/healthz` says.
    pub healthy: bool,
    /// What is wrong now, in plain words, the worst first; empty when all is well.
    pub troubles: Vec<String>,
    /// All shards together.
    pub totals: Sums,
    /// Every shard that runs or has ended within the last hour, in order.
    pub shards: Vec<ShardStatus>,
    /// The batches that were archived last, newest first.
    pub last_batches: Vec<BatchStatus>,
    /// The last hour, oldest minute first; the last one still runs.
    pub last_hour: Vec<MinuteStatus>,
}

/// All shards together, counted since [`Status::since`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Shards whose thread runs.
    pub shards_running: u64,
    /// Share of the hash key space that running shards cover.
    pub key_space_covered: f64,
    /// User records read.
    pub records_read: u64,
    /// Payload bytes read.
    pub bytes_read: u64,
    /// Objects committed.
    pub objects_archived: u64,
    /// Compressed bytes committed.
    pub bytes_archived: u64,
    /// Gaps recorded.
    pub gaps: u64,
    /// Entries of another keeper adopted.
    pub conflicts: u64,
    /// Reads refused for want of throughput.
    pub throttled: u64,
    /// Threads started again.
    pub shard_restarts: u64,
    /// Failed calls.
    pub errors: u64,
    /// How far behind the tip the slowest shard is.
    pub millis_behind_latest: Option<f64>,
    /// The largest share of retention that is used up.
    pub retention_used: Option<f64>,
    /// Age of the oldest record that is read and not in S3.
    pub data_freshness_seconds: Option<f64>,
    /// Bytes sealed and not yet in S3.
    pub spool_bytes: u64,
    /// Notices waiting.
    pub outbox_notices: u64,
    /// Memory of open batches and replies in flight.
    pub batch_memory_bytes: u64,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// Its id.
    pub shard: ShardId,
    /// `starting`, `reading`, `waiting`, `paused`, `stopped`, `draining`, or `ended`.
    pub activity: String,
    /// What is wrong, in plain words.
    pub troubles: Vec<String>,
    /// The last record read.
    pub read_to: Option<SequenceNumber>,
    /// The last record in the archive.
    pub archived_to: Option<SequenceNumber>,
    /// How far behind the tip.
    pub millis_behind_latest: Option<f64>,
    /// The share of retention that is used up; records are lost at 1.
    pub retention_used: Option<f64>,
    /// Age of the oldest record that is read and not in S3.
    pub data_freshness_seconds: Option<f64>,
    /// The open batch; absent while it is empty.
    pub batch: Option<OpenBatchStatus>,
    /// Bytes sealed and not yet in S3.
    pub spool_bytes: u64,
    /// Notices waiting.
    pub outbox_notices: u64,
    /// User records read.
    pub records_read: u64,
    /// Objects committed.
    pub objects_archived: u64,
    /// Gaps recorded.
    pub gaps: u64,
    /// How often its thread died and was started again.
    pub restarts: u64,
    /// The last batch that was archived.
    pub last_batch: Option<BatchStatus>,
}

/// A batch that is still open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenBatchStatus {
    /// Lines.
    pub records: u64,
    /// Bytes before compression.
    pub bytes: u64,
    /// Since its first record.
    pub age_seconds: f64,
}

/// A batch in the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchStatus {
    /// The shard.
    pub shard: ShardId,
    /// Its ledger entry.
    pub serial: u64,
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// `s3://bucket/key`.
    pub url: String,
    /// Lines.
    pub records: u64,
    /// Bytes of the object.
    pub size: u64,
    /// Bytes before compression.
    pub content_size: u64,
    /// Why it was sealed.
    pub sealed_by: SealReason,
    /// Arrival of its last record.
    pub last_arrival: Timestamp,
    /// When it was seen in S3.
    pub archived_at: Timestamp,
}

/// One minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinuteStatus {
    /// When it began.
    pub at: Timestamp,
    /// User records read.
    pub records: u64,
    /// Payload bytes read.
    pub bytes: u64,
    /// Compressed bytes archived.
    pub bytes_archived: u64,
}

impl BatchStatus {
    /// Of a batch that was seen in S3 at `now`.
    pub(super) fn new(batch: &BatchNotice, now: Timestamp) -> Self {
        Self {
            shard: batch.origin.shard.clone(),
            serial: batch.origin.serial,
            bucket: batch.origin.bucket.clone(),
            key: batch.key.clone(),
            url: batch.url.clone(),
            records: batch.records,
            size: batch.size,
            content_size: batch.content_size,
            sealed_by: batch.sealed_by,
            last_arrival: batch.last_arrival,
            archived_at: now,
        }
    }
}

impl MinuteStatus {
    pub(super) const fn new(at: Timestamp, more: Totals) -> Self {
        let Totals { records_read, bytes_read, bytes_archived } = more;
        Self { at, records: records_read, bytes: bytes_read, bytes_archived }
    }
}

impl ShardStatus {
    /// Of a shard with these numbers, at the monotonic instant `now`; `ended` when no thread runs for it.
    pub(super) fn new(
        shard: ShardId,
        tally: &Tally,
        state: ShardState,
        ended: bool,
        last_batch: Option<BatchStatus>,
        now: std::time::Duration,
    ) -> Self {
        let ShardState { activity, troubles, standing, .. } = state;
        let batch = standing.open_since.filter(|_| !ended).map(|since| OpenBatchStatus {
            records: standing.open_records,
            bytes: standing.open_bytes,
            age_seconds: now.saturating_sub(since).as_secs_f64(),
        });
        Self {
            shard,
            activity: if ended { "ended" } else { activity }.to_owned(),
            troubles: if ended { Vec::new() } else { troubles },
            read_to: standing.read_to,
            archived_to: standing.archived_to,
            millis_behind_latest: gauge(tally, Gauge::MillisBehindLatest),
            retention_used: gauge(tally, Gauge::RetentionUsed),
            data_freshness_seconds: gauge(tally, Gauge::DataFreshness),
            batch,
            spool_bytes: whole(tally, Gauge::SpoolBytes),
            outbox_notices: whole(tally, Gauge::OutboxNotices),
            records_read: count(tally, Counter::RecordsRead),
            objects_archived: count(tally, Counter::ObjectsArchived),
            gaps: count(tally, Counter::Gaps),
            restarts: count(tally, Counter::ShardRestarts),
            last_batch,
        }
    }
}

impl Sums {
    /// Of all shards; the stream's own gauges are filled in by whoever knows them.
    pub(super) fn new(tally: &Tally) -> Self {
        Self {
            records_read: count(tally, Counter::RecordsRead),
            bytes_read: count(tally, Counter::BytesRead),
            objects_archived: count(tally, Counter::ObjectsArchived),
            bytes_archived: count(tally, Counter::BytesArchived),
            gaps: count(tally, Counter::Gaps),
            conflicts: count(tally, Counter::Conflicts),
            throttled: count(tally, Counter::Throttled),
            shard_restarts: count(tally, Counter::ShardRestarts),
            errors: tally.errors.values().sum(),
            millis_behind_latest: gauge(tally, Gauge::MillisBehindLatest),
            retention_used: gauge(tally, Gauge::RetentionUsed),
            data_freshness_seconds: gauge(tally, Gauge::DataFreshness),
            spool_bytes: whole(tally, Gauge::SpoolBytes),
            outbox_notices: whole(tally, Gauge::OutboxNotices),
            ..Self::default()
        }
    }
}

/// What is wrong now, the worst first: what stops progress, what will lose records, what was lost, the rest.
pub(super) fn troubles(health: &Health, sums: &Sums) -> Vec<String> {
    let mut told = health.reasons.clone();
    if let Some(used) = sums.retention_used.filter(|used| *used >= 0.5) {
        let percent = (used * 100.0).floor();
        told.push(format!(
            "{percent} % of the stream's retention is used up: records that are not read in time are lost at 100 %"
        ));
    }
    if sums.gaps > 0 {
        let (gaps, were) = (sums.gaps, if sums.gaps == 1 { "gap was" } else { "gaps were" });
        told.push(format!(
            "{gaps} {were} recorded since the start: records were gone before they could be read"
        ));
    }
    told.extend(health.troubles.iter().cloned());
    told
}

const fn count(tally: &Tally, counter: Counter) -> u64 {
    tally.counters[counter as usize]
}

const fn gauge(tally: &Tally, gauge: Gauge) -> Option<f64> {
    tally.gauges[gauge as usize]
}

fn whole(tally: &Tally, name: Gauge) -> u64 {
    gauge(tally, name).map_or(0, |value| value as u64)
}
