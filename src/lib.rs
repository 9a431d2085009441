//! Keeps one Amazon Kinesis stream in S3: exactly once, provably, and readable by any tool.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod archive;
pub mod aws;
pub mod codec;
pub mod commands;
pub mod config;
pub mod error;
pub mod ledger;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod ports;
pub mod producer;
pub mod retry;
pub mod shard;
pub mod spool;
pub mod stop;
pub mod supervisor;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
