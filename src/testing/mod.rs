//! Fakes of every port, with faults on demand; only for tests.
//!
//! All of them live in simulated time and draw from handed-in randomness, so that a run is decided by its
//! seed. They keep everything that ever happened, for whoever checks the run afterwards.

mod bucket;
mod crash;
mod disk;
pub mod fuzz;
mod hours;
mod kill;
mod notice;
mod shelf;
mod store;
mod stream;
mod stream_port;
mod trouble;
mod world;

pub use bucket::{Change, MemoryBucket, StoredObject, What};
pub use crash::{CrashPlan, Crashed, When};
pub use disk::{MemoryDisk, SealedRange, Snapshot};
pub use hours::tell_hours;
pub use kill::KillAt;
pub use notice::{Recorded, Recorder, SilentMeter};
pub use shelf::{Shelf, Shelved};
pub use store::MemoryStore;
pub use stream::{Logged, MemoryStream, ShardHistory, StreamSetup};
pub use stream_port::StreamOf;
pub use trouble::{Faults, Trouble};
pub use world::{ManualClock, ManualCores, World};
