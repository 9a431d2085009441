//! The shard's log in S3.

pub mod start;
