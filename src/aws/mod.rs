//! Adapters to AWS, and nothing else: each implements a port.
//!
//! Owns the SDK's clients, what a call may take, and what its failures mean to the callers. Decides
//! nothing about records, batches or the ledger.

mod answer;
pub mod blocking;
pub mod check;
pub mod clients;
pub mod cloudwatch;
mod connections;
pub mod errors;
pub mod fan_out;
pub mod kinesis;
mod lifecycle;
pub mod proxies;
pub mod put_records;
pub mod s3;
pub mod sns;

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
