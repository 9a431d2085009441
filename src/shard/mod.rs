//! The state machine of one shard: position, reading, sealing, delivery, announcing.
//!
//! One thread turns one [`ShardWorker`], `step` by `step`. All that it decides is pure; all that it
//! touches comes in through [`setup::Ports`]. Owns what is done when; the shapes are `model`'s.

mod announcing;
pub mod board;
pub mod budget;
mod checkpointing;
pub mod closing;
mod delivery;
mod ending;
mod level;
mod locating;
mod lost;
mod open_batch;
mod pacing;
mod placing;
mod position;
pub mod put_room;
mod reading;
mod recording;
mod rendering;
mod reporting;
mod rereading;
mod retention;
mod sealing;
pub mod setup;
mod trimmed;
mod trouble;
pub mod turns;
mod worker;

pub use worker::ShardWorker;
