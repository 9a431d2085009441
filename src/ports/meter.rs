//! Numbers: one shard's as they come, and who publishes them.

use std::time::Duration;

use crate::model::batch::SealReason;
use crate::model::manifest::BatchNotice;
use crate::model::metric::{Counter, Gauge, Number, Service, Shape};
use crate::model::sequence::SequenceNumber;
use crate::stop::Stop;

/// Takes one shard's numbers; never blocks, never fails.
pub trait Meter: Send + Sync {
    /// Adds to a counter.
    fn count(&self, counter: Counter, more: u64);

    /// Sets a gauge.
    fn set(&self, gauge: Gauge, value: f64);

    /// A batch was sealed.
    fn sealed(&self, reason: SealReason);

    /// A put took this long.
    fn upload(&self, took: Duration);

    /// A call failed.
    fn error(&self, service: Service, kind: &'static str);

    /// What the shard is doing, and until when (monotonic) it must have made progress.
    fn state(&self, state: ShardState);

    /// A batch is in the archive: its object was seen. Who shows no batches need not care.
    fn archived(&self, _batch: &BatchNotice) {}
}

/// What `/healthz` and the log say of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ShardState {
    /// One of `reading`, `waiting`, `paused`, `stopped`, `ended`, `draining`.
    pub activity: &'static str,
    /// Monotonic instant by which the next progress is due; `None`: a known wait without end.
    pub due: Option<Duration>,
    /// Monotonic instant by which its thread says something again, whatever it waits for; later, it hangs.
    /// `None`: no thread has said anything.
    pub reports_by: Option<Duration>,
    /// Why it does not read, or cannot archive: each in plain words. Empty when all is well.
    pub troubles: Vec<String>,
    /// How far it is.
    pub standing: Standing,
}

/// How far a shard is, for whoever looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// The last record read, as far as is known.
    pub read_to: Option<SequenceNumber>,
    /// The last record in the archive, as far as is known.
    pub archived_to: Option<SequenceNumber>,
    /// Lines of the open batch.
    pub open_records: u64,
    /// Bytes of the open batch, before compression.
    pub open_bytes: u64,
    /// When its first record was added, monotonic; `None` while it is empty.
    pub open_since: Option<Duration>,
}

/// Publishes numbers once a minute, on a thread of its own.
pub trait MetricSink: Send + Sync {
    /// Its name in the log, and as the label `service` of `errors_total`.
    fn name(&self) -> &'static str;

    /// The form in which it wants its numbers.
    fn shape(&self) -> Shape;

    /// Publishes the numbers, in order. The deltas of those that it did not take come again in the
    /// next push, added to what happened since.
    fn push(&self, numbers: &[Number], stop: &Stop) -> Result<(), PushError>;
}

/// A sink did not take all numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PushError {
    /// What kind of failure, as the label `kind` of `errors_total`.
    pub kind: &'static str,
    /// How many numbers, from the first, were taken for certain.
    pub taken: usize,
    /// What the sink said.
    pub message: String,
}
