//! The ports: everything that a shard touches comes in through one of these traits.
//!
//! Calls block the calling thread with a deadline of the adapter's own and are interrupted by the
//! [`Stop`](crate::stop::Stop) they are given. Adapters (`aws/`, `spool::LocalDisk`) and fakes (`testing/`) implement them.

mod cores;
mod disk;
mod meter;
pub mod news;
mod notifier;
mod probe;
pub mod put;
mod store;
mod stream;

use std::time::Duration;

pub use cores::Cores;
pub use disk::{CheckpointStore, Disk, FileInfo};
pub use meter::{Meter, MetricSink, PushError, ShardState, Standing};
pub use notifier::{Notifier, NotifyError};
pub use probe::{CrashPoint, NoProbe, Probe};
pub use store::{
    Attributes, Body, Head, MendableStore, ObjectStore, Put, StoreError, StoreErrorKind, Stored, Version,
    longest_put,
};
pub use stream::{IteratorStart, KmsTrouble, Received, Reply, Served, Stream, StreamError, StreamErrorKind};

use crate::model::timestamp::Timestamp;

/// Tells the time; never waits.
pub trait Clock: Send + Sync {
    /// The wall clock, UTC.
    fn now(&self) -> Timestamp;

    /// Time since some fixed instant; never goes back.
    fn monotonic(&self) -> Duration;
}
