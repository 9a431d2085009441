//! The port through which records are put: asynchronous, because several requests are under way at once.
//!
//! Owns what a record to be put is, what becomes of each entry of a request, and what a failed request
//! may have done. Does not try again: the producer does.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::model::sequence::SequenceNumber;
use crate::model::shard::{Shard, ShardId};

/// How long an answer to a PutRecords is waited for: 10 MiB over a slow line; three times that is a hung connection, or
/// a line on which less must be sent at once.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A call under way.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, PutError>> + Send + 'a>>;

/// A record to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The payload.
    pub data: Bytes,
    /// Its key, which decides its shard unless there is an explicit hash key.
    pub partition_key: String,
    /// The hash key that decides its shard in the partition key's place.
    pub explicit_hash_key: Option<u128>,
    /// The caller's own mark; it comes back with what became of the record and is sent nowhere.
    pub tag: u64,
}

impl Record {
    /// The bytes that the service counts: payload and key.
    pub const fn size(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

/// What became of one entry of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The stream has it.
    Stored {
        /// In this shard.
        shard: ShardId,
        /// At this place.
        sequence_number: SequenceNumber,
    },
    /// The stream does not have it.
    Refused {
        /// The service's error code.
        code: String,
        /// What the service said.
        message: String,
    },
}

/// Who decides which shard a record comes to: the stream's RecordDistributionStrategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// The producer, by the record's key.
    ByKey,
    /// The service. It ignores all keys, and readers get none; it can be switched on at any time.
    Auto,
}

/// What the stream's description says that matters to whoever puts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// The largest record that it takes, payload and key, in bytes.
    pub max_record_bytes: usize,
    /// Who decides which shard a record comes to.
    pub distribution: Distribution,
}

/// A stream that takes records.
pub trait RecordSink: Send + Sync {
    /// DescribeStreamSummary.
    fn facts(&self) -> Answering<'_, StreamFacts>;

    /// ListShards, all pages.
    fn shards(&self) -> Answering<'_, Vec<Shard>>;

    /// PutRecords, tried once, within the [`DEADLINE`]: an outcome for each record, in their order.
    fn put<'a>(&'a self, records: &'a [&'a Record]) -> Answering<'a, Vec<PutOutcome>>;
}

/// What a failed request may have done, and whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutFault {
    /// Nothing was stored; try again later.
    Later,
    /// Some of it, or all, may have been stored: trying again may double it.
    Unknown,
    /// Nothing was stored, because something in the request is not right.
    Invalid,
    /// Nothing was stored, and nothing will be until the operator mends something.
    Fatal,
}

/// A call to the stream failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed: {message}")]
pub struct PutError {
    /// Which call.
    pub call: &'static str,
    /// What it may have done.
    pub fault: PutFault,
    /// What the service said, and the IAM action if access was denied.
    pub message: String,
}
