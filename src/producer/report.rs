//! What a producer tells of its work, and whom.

use std::time::Duration;

use super::entry::{Stored, Undelivered};
use crate::ports::put::Record;

/// One request and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Records that the stream has now.
    pub delivered: u64,
    /// Their bytes, keys included.
    pub bytes: u64,
    /// Records that will be sent again.
    pub retried: u64,
    /// Of these: because the shard takes no more at present.
    pub throttled: u64,
    /// Of these: because there was no answer; the stream may have them.
    pub ambiguous: u64,
    /// Records given up.
    pub undelivered: u64,
    /// From the request to its answer.
    pub took: Duration,
}

/// Everything since the producer started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests answered.
    pub requests: u64,
    /// Records that the stream has.
    pub delivered: u64,
    /// Their bytes, keys included.
    pub bytes: u64,
    /// Times that a record was sent again.
    pub retried: u64,
    /// Of these: because a shard took no more.
    pub throttled: u64,
    /// Of these: because there was no answer. Each may have doubled a record.
    pub ambiguous: u64,
    /// KPL aggregates sent.
    pub aggregates: u64,
    /// Records given up.
    pub undelivered: u64,
}

impl Totals {
    pub(super) const fn add(&mut self, sent: &Sent) {
        self.requests += 1;
        self.delivered += sent.delivered;
        self.bytes += sent.bytes;
        self.retried += sent.retried;
        self.throttled += sent.throttled;
        self.ambiguous += sent.ambiguous;
    }
}

/// Who is told. All are called on the runtime's threads and must not block.
pub trait Watch: Send + Sync {
    /// The stream has these records, by an answer from which nothing has followed yet: its request still
    /// counts as under way, and the next records of these keys are still held back. Whoever must remember what
    /// is stored does it here. Records in aggregates are not told of: their place may prove wrong.
    fn stored(&self, _records: &[&Record]) {}

    /// The stream acknowledged a record.
    fn delivered(&self, _record: &Record, _stored: &Stored<'_>) {}

    /// A record was given up; it is also handed to the next flush.
    fn undelivered(&self, _undelivered: &Undelivered) {}

    /// A request was answered, or given up; after the calls for its records.
    fn sent(&self, _sent: &Sent) {}
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Watch for Nobody {}
