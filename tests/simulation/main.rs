//! The real state machine over ports in memory, in simulated time, against a reference of what must be
//! in the archive.
//!
//! Each run is decided by its seed alone. `SIMULATION_SEED=n cargo test --test simulation seeds` replays
//! one and prints what happened; `SIMULATION_RUNS=n` sets how many are run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test"
)]

mod archive;
mod check;
mod driver;
mod hours;
mod keeper;
mod notices;
mod plan;
mod proof;
mod reader;
mod records;
mod rules;
mod script;
mod seeds;
mod supervise;
mod traces;
