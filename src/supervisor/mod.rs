//! The supervisor: keeps a thread for every shard of the stream, through reshards, deaths and stops.
//!
//! Owns which threads run ([`plan`], pure) and the loop that carries it out, the state directory's
//! lock and identity, and the stream's start. What a shard's thread does is the shard's business;
//! signals are only translated here, and handed in as a [`Control`].

mod background;
mod control;
mod generation;
pub mod hours;
mod machine;
mod meters;
pub mod plan;
mod reminder;
mod run_loop;
pub mod signals;
mod system_clock;
mod threads;
mod watchdog;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use control::{Control, End};
pub use machine::Machine;
pub use meters::MeterSource;
pub use run_loop::Supervisor;
pub use system_clock::SystemClock;
pub use watchdog::Overdue;
pub use worker::{ShardWorkers, Worker, Workers};

use crate::ledger::start::ConfiguredStart;
use crate::model::batch::{Form, Level, Limits};
use crate::model::key::{Layout, Prefix};
use crate::model::rules::Rules;
use crate::ports::{CheckpointStore, Clock, Cores, Notifier, ObjectStore, Probe, Stream};
use crate::shard::setup::Pacing;
use crate::spool::LocalDisk;
use crate::spool::copies::Keep;

/// What the supervisor and its shards touch.
#[derive(Clone)]
pub struct Services {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How busy the machine is.
    pub cores: Arc<dyn Cores>,
    /// The state directory.
    pub disk: Arc<LocalDisk>,
    /// The checkpoints.
    pub checkpoints: Arc<dyn CheckpointStore>,
    /// The stream.
    pub stream: Arc<dyn Stream>,
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Who tells subscribers; `None`: no notices.
    pub notifier: Option<Arc<dyn Notifier>>,
    /// The numbers.
    pub meters: Arc<dyn MeterSource>,
    /// Where a crash test kills the process.
    pub probe: Arc<dyn Probe>,
    /// Who makes the shards' state machines.
    pub workers: Arc<dyn Workers>,
}

/// How a stream is kept: what the configuration file says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The stream's name.
    pub stream: String,
    /// Where it begins if it was never archived.
    pub start: ConfiguredStart,
    /// How often it is looked at again.
    pub refresh: Duration,
    /// Whether KPL aggregates are split.
    pub deaggregate: bool,
    /// When a batch is sealed.
    pub limits: Limits,
    /// `batch.memory`.
    pub memory: u64,
    /// The bucket.
    pub bucket: String,
    /// The prefix of all keys.
    pub prefix: Prefix,
    /// How keys are written.
    pub layout: Layout,
    /// The form of objects.
    pub form: Form,
    /// The level of its compressor.
    pub level: Level,
    /// How long copies of archived batches stay on this disk.
    pub keep: Keep,
    /// `disk.spool_bytes`.
    pub spool_bytes: u64,
    /// The name of this host.
    pub host: String,
    /// How often a shard is asked.
    pub pacing: Pacing,
    /// The protocol's rules: all, outside of tests.
    pub rules: Rules,
    /// How long a graceful stop may take before what hangs is abandoned.
    pub drain: Duration,
    /// Seeds all randomness: jitter and the keeper's identifier.
    pub seed: u64,
}

/// The usual time for a graceful stop; the unit file allows more.
pub const DRAIN: Duration = Duration::from_secs(30);
