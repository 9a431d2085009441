//! Pure values and rules.
//!
//! Owns what a sequence number, a shard, a batch, a ledger entry and a key *are*, and which of
//! them may follow which. Imports nothing of ours, does no I/O and knows no clock.

pub mod batch;
pub mod checkpoint;
pub mod expiry;
pub mod hour;
pub mod key;
pub mod ledger;
pub mod manifest;
pub mod metadata;
pub mod metric;
pub mod record;
pub mod rules;
pub mod sealed;
pub mod sequence;
pub mod shard;
pub mod text;
pub mod timestamp;
