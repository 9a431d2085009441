//! The state directory: sealed batches, outbox, checkpoints, local copies, identity and lock.
//!
//! Owns every byte on this machine's disk and the one function that writes a file durably. Does not
//! decide when anything is written: a shard and the supervisor do.

pub mod checkpoints;
pub mod copies;
pub mod disk;
pub mod holder;
pub mod identity;
pub mod items;
pub mod lock;
pub mod look;
pub mod outbox;
pub mod refusal;
mod set_aside;

pub use checkpoints::{DiskCheckpoints, MemoryCheckpoints};
pub use disk::LocalDisk;
pub use holder::{Holder, holder};
pub use identity::{Identity, OldFolder, Settled};
pub use lock::{StateLock, Unlocked};
pub use look::Look;
pub use outbox::Outbox;
pub use refusal::STATE_VERSION;
pub use set_aside::set_aside;
