//! The promises of docs/SEMANTICS.md, each held by the real binary against independent servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "this is all test code: it fails by panicking and waits on the real clock, with deadlines"
)]

#[path = "../support/mod.rs"]
mod support;

mod aggregates;
mod checker;
mod checks;
mod exactly_once;
mod fan_out;
mod faults;
mod forms;
mod gaps;
mod harness;
mod hours;
mod levels;
mod limits;
mod lineage;
mod many;
mod memory;
mod mend;
mod notices;
mod notify;
mod numbers;
mod outages;
mod page;
mod payloads;
mod prove;
mod put;
mod put_edges;
mod put_stops;
mod replay;
mod replay_edges;
mod reshard;
mod shapes;
mod signals;
mod staged;
mod standing;
mod state;
mod supervised;
mod tools;
mod two_keepers;
