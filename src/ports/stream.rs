//! The stream: its description, its shards, their records.

use std::time::Duration;

use crate::model::record::RawRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::{Shard, ShardId, StreamDescription};
use crate::model::timestamp::Timestamp;
use crate::stop::Stop;

/// Where an iterator begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IteratorStart {
    /// The oldest record held.
    TrimHorizon,
    /// The first record that arrived then or later.
    AtTime(Timestamp),
    /// This record.
    At(SequenceNumber),
    /// The record after this one.
    After(SequenceNumber),
}

/// An answer with the service's own time (its `Date` header).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served<T> {
    /// The service's clock when it answered, in whole seconds.
    pub at: Timestamp,
    /// The answer.
    pub value: T,
}

/// One reply of GetRecords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// In sequence order; empty replies are normal, also while behind.
    pub records: Vec<RawRecord>,
    /// `None`: the shard is closed and was read to its end, if it also has children.
    pub next_iterator: Option<String>,
    /// How far the reply lies behind the tip, in milliseconds.
    pub millis_behind_latest: u64,
    /// The shards that took over; only with the last reply of a closed shard.
    pub children: Vec<ShardId>,
    /// Bytes of payload and keys, which the shard's 2 MB/s count.
    pub bytes: u64,
    /// By the service's clock: all that arrived before lies in this reply or before it.
    pub complete_to: Timestamp,
    /// It came by a subscription, and so cost neither a call nor the shard's read capacity.
    pub pushed: bool,
}

impl Reply {
    /// Bytes of memory that the records take.
    pub fn memory(&self) -> u64 {
        self.bytes + (self.records.len() * size_of::<RawRecord>()) as u64
    }
}

/// What reading on brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The next records, if any.
    Reply(Served<Reply>),
    /// Nothing to take now: ask again after this time, or when the stop token was nudged.
    NothingYet(Duration),
}

/// The stream.
pub trait Stream: Send + Sync {
    /// DescribeStreamSummary.
    fn describe(&self, stop: &Stop) -> Result<Served<StreamDescription>, StreamError>;

    /// ListShards, all pages.
    fn list_shards(&self, stop: &Stop) -> Result<Vec<Shard>, StreamError>;

    /// GetShardIterator. The iterator expires after five minutes.
    fn iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
        stop: &Stop,
    ) -> Result<Served<String>, StreamError>;

    /// GetRecords, tried once: the caller paces itself and tries again.
    fn records(&self, shard: &ShardId, iterator: &str, stop: &Stop) -> Result<Served<Reply>, StreamError>;

    /// An iterator for [`Self::receive`], to read on from here for good: by a subscription where
    /// there is one. The shard's earlier one is worth nothing any more.
    fn follow(&self, shard: &ShardId, start: &IteratorStart, stop: &Stop) -> Result<String, StreamError> {
        self.iterator(shard, start, stop).map(|served| served.value)
    }

    /// What there is to take from an iterator of [`Self::follow`]; does not wait for records.
    fn receive(&self, shard: &ShardId, iterator: &str, stop: &Stop) -> Result<Received, StreamError> {
        self.records(shard, iterator, stop).map(Received::Reply)
    }

    /// What is wrong with the way in which the shard is followed although its records come.
    fn trouble(&self, _shard: &ShardId) -> Option<String> {
        None
    }
}

/// Why a call to the stream failed, as far as the caller acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamErrorKind {
    /// Too many calls or bytes; try again later.
    Throttled,
    /// The iterator is older than five minutes.
    ExpiredIterator,
    /// The position, or something else in the request, does not exist (any more).
    InvalidArgument,
    /// The position of [`Stream::follow`] does not exist (any more).
    PositionRefused,
    /// No such stream or shard.
    NotFound,
    /// The stream's encryption key is throttled; try again later.
    KmsThrottled,
    /// The stream's encryption key cannot be used: for the operator to mend.
    Kms(KmsTrouble),
    /// Credentials missing, expired or not allowed: for the operator to mend.
    AccessDenied,
    /// No answer within the deadline, or none at all.
    NoAnswer,
    /// A stop interrupted the call.
    Stopped,
    /// Anything else.
    Other,
}

/// Why the stream's encryption key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KmsTrouble {
    /// The keeper may not use it.
    AccessDenied,
    /// Somebody disabled it.
    Disabled,
    /// Its state forbids its use: about to be deleted, or without its material.
    InvalidState,
    /// No such key (any more).
    NotFound,
    /// The account has no KMS.
    OptInRequired,
}

impl KmsTrouble {
    /// As the label `kind` of `errors_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "kms_access_denied",
            Self::Disabled => "kms_disabled",
            Self::InvalidState => "kms_invalid_state",
            Self::NotFound => "kms_not_found",
            Self::OptInRequired => "kms_opt_in_required",
        }
    }

    /// What the operator can do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::AccessDenied => {
                "IAM and the policy of the stream's KMS key must allow kms:Decrypt; nothing of this shard is read until then"
            }
            Self::Disabled => {
                "enable the stream's KMS key (aws kms enable-key); nothing of this shard is read until then"
            }
            Self::InvalidState => {
                "the stream's KMS key is about to be deleted or lacks its material: aws kms cancel-key-deletion, or \
                 import the material again; once the key is gone its records are lost for good"
            }
            Self::NotFound => {
                "the stream's KMS key or alias does not exist in this account and region: see which key the stream \
                 names (aws kinesis describe-stream-summary)"
            }
            Self::OptInRequired => "subscribe this AWS account to AWS KMS",
        }
    }
}

impl StreamErrorKind {
    /// As the label `kind` of `errors_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::ExpiredIterator => "expired_iterator",
            Self::InvalidArgument => "invalid_argument",
            Self::PositionRefused => "position_refused",
            Self::NotFound => "not_found",
            Self::KmsThrottled => "kms_throttled",
            Self::Kms(trouble) => trouble.as_str(),
            Self::AccessDenied => "access_denied",
            Self::NoAnswer => "no_answer",
            Self::Stopped => "stopped",
            Self::Other => "other",
        }
    }
}

/// A call to the stream failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call} failed: {message}")]
pub struct StreamError {
    /// Which call.
    pub call: &'static str,
    /// What to do about it.
    pub kind: StreamErrorKind,
    /// What the service said, and the IAM action if access was denied.
    pub message: String,
}
