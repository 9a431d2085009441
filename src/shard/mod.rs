//! The state machine of one shard: position, reading, sealing, delivery, announcing.

pub mod budget;
pub mod setup;
