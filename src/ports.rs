//! The ports: everything that a shard touches comes in through one of these traits.
//!
//! Calls block the calling thread with a deadline of the adapter's own and are interrupted by the
//! [`Stop`] they are given. Adapters (`aws/`, `spool::LocalDisk`) and fakes (`testing/`) implement them.

pub mod put;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::batch::SealReason;
use crate::model::checkpoint::Checkpoint;
use crate::model::manifest::{BatchNotice, Notice};
use crate::model::metadata::VOID;
use crate::model::metric::{Counter, Gauge, Number, Service, Shape};
use crate::model::record::RawRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::{Shard, ShardId, StreamDescription};
use crate::model::timestamp::Timestamp;
use crate::stop::Stop;

/// Tells the time; never waits.
pub trait Clock: Send + Sync {
    /// The wall clock, UTC.
    fn now(&self) -> Timestamp;

    /// Time since some fixed instant; never goes back.
    fn monotonic(&self) -> Duration;
}

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

/// The body of an object to be put.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// In memory: ledger entries, voids.
    Bytes(&'a [u8]),
    /// A file of the [`Disk`], streamed.
    File {
        /// Its place under the state directory.
        path: &'a Path,
        /// Its length in bytes.
        len: u64,
    },
}

/// What is stored beside a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The media type.
    pub content_type: &'static str,
    /// Hex SHA-256 of the body; sent as S3's own checksum, and so verified by S3.
    pub sha256: String,
    /// User metadata without the `x-amz-meta-` prefix; ASCII.
    pub metadata: Vec<(&'static str, String)>,
    /// Whether it is a data object, to which storage class and object lock apply.
    pub data: bool,
}

/// The outcome of a put that must not overwrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was stored.
    Stored(Stored),
    /// Something is there already (412): perhaps our own earlier try.
    Taken,
}

/// Where an object was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// ETag without quotes; never a hash.
    pub etag: String,
    /// The version, where the bucket keeps versions.
    pub version_id: Option<String>,
}

/// What HEAD tells of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Where it lies.
    pub stored: Stored,
    /// Its length in bytes.
    pub size: u64,
    /// When it came to lie there, by the store's clock; `None` if the store does not say.
    pub modified: Option<Timestamp>,
    /// Its user metadata, lower-case keys without prefix.
    pub metadata: Vec<(String, String)>,
}

impl Head {
    /// One value of the user metadata.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether its metadata say that it is a void.
    pub fn is_void(&self) -> bool {
        self.meta(VOID).is_some()
    }
}

/// The bucket of the archive. Nothing in it can be overwritten or deleted through this port.
pub trait ObjectStore: Send + Sync {
    /// Puts an object where none is, with `If-None-Match: *`.
    fn put_if_absent(
        &self,
        key: &str,
        body: Body<'_>,
        attributes: &Attributes,
        stop: &Stop,
    ) -> Result<Put, StoreError>;

    /// HEAD; `None` where nothing is.
    fn head(&self, key: &str, stop: &Stop) -> Result<Option<Head>, StoreError>;

    /// A small object (an entry, a manifest) whole; `None` where nothing is.
    fn get(&self, key: &str, stop: &Stop) -> Result<Option<Vec<u8>>, StoreError>;

    /// An object as a stream of bytes; `None` where nothing is.
    fn open(&self, key: &str, stop: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError>;

    /// Keys under `prefix` in order, those after `start_after` only; all pages.
    fn list(&self, prefix: &str, start_after: Option<&str>, stop: &Stop) -> Result<Vec<String>, StoreError>;

    /// The folders directly under `prefix`, each with its closing `/`; all pages.
    fn folders(&self, prefix: &str, stop: &Stop) -> Result<Vec<String>, StoreError>;

    /// The shortest time after which the bucket's lifecycle deletes objects that may lie under
    /// `prefix`; `None` where it deletes none.
    fn shortest_expiry(&self, prefix: &str, stop: &Stop) -> Result<Option<Duration>, StoreError>;

    /// The service's own time, from any answer.
    fn service_time(&self, stop: &Stop) -> Result<Timestamp, StoreError>;
}

/// Why a call to the object store failed, as far as the caller acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreErrorKind {
    /// 409 or SlowDown: try again.
    Busy,
    /// The body did not match its checksum.
    BadDigest,
    /// Credentials missing, expired or not allowed: for the operator to mend.
    AccessDenied,
    /// The bucket is missing or elsewhere: for the operator to mend.
    NoBucket,
    /// No answer within the deadline, or none at all.
    NoAnswer,
    /// The file to be put could not be read.
    LocalFile,
    /// A stop interrupted the call.
    Stopped,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// As the label `kind` of `errors_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::BadDigest => "bad_digest",
            Self::AccessDenied => "access_denied",
            Self::NoBucket => "no_bucket",
            Self::NoAnswer => "no_answer",
            Self::LocalFile => "local_file",
            Self::Stopped => "stopped",
            Self::Other => "other",
        }
    }
}

/// A call to the object store failed. A failed put may have been applied: it is repeated with
/// identical bytes until it is stored or taken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call} of s3 key {key} failed: {message}")]
pub struct StoreError {
    /// Which call.
    pub call: &'static str,
    /// The key or prefix it was about.
    pub key: String,
    /// What to do about it.
    pub kind: StoreErrorKind,
    /// What the service said, and the IAM action if access was denied.
    pub message: String,
}

/// A file of the [`Disk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name within the folder.
    pub name: String,
    /// Its length in bytes; 0 for a folder.
    pub len: u64,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// When it was last written.
    pub modified: Timestamp,
}

/// The state directory. Paths are relative to it; folders come into being as needed.
pub trait Disk: Send + Sync {
    /// A whole file; `None` where nothing is.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// A file as a stream; `None` where nothing is.
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Read + Send>>>;

    /// Writes a file whole and durably: temporary name, fsync, rename, fsync of the folder. On an
    /// error nothing, or the whole file, is there.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()>;

    /// Moves a file durably, over whatever is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes `to` a second name of `from` (or a copy where the disk has no links), over whatever is there.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; fine if nothing is there.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder that is empty; fine if it is not, or not there. (A disk that knows folders
    /// only as parts of names has nothing to do.)
    fn remove_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    /// What lies in a folder, by name; nothing where there is none. Temporary files are not shown.
    fn list(&self, folder: &Path) -> io::Result<Vec<FileInfo>>;

    /// The path of a file for adapters that stream it.
    fn full_path(&self, path: &Path) -> PathBuf;
}

/// Keeps the last archived position of each shard as a hint where to look.
pub trait CheckpointStore: Send + Sync {
    /// The checkpoint of a shard's folder name; `None` if there is none, or it was damaged and set aside.
    fn load(&self, name: &str) -> io::Result<Option<Checkpoint>>;

    /// Saves it durably.
    fn save(&self, name: &str, checkpoint: &Checkpoint) -> io::Result<()>;
}

/// Tells subscribers.
pub trait Notifier: Send + Sync {
    /// Sends one notice; it may arrive more than once.
    fn publish(&self, notice: &Notice, stop: &Stop) -> Result<(), NotifyError>;
}

/// A notice could not be sent; it stays in the outbox.
#[derive(Clone, Debug, thiserror::Error)]
#[error("publishing the notice failed: {message}")]
pub struct NotifyError {
    /// What to do about it, as the label `kind` of `errors_total`.
    pub kind: &'static str,
    /// What the service said.
    pub message: String,
}

/// Takes one shard's numbers; never blocks, never fails.
pub trait Meter: Send + Sync {
    /// Adds to a counter.
    fn count(&self, counter: Counter, more: u64);

    /// Sets a gauge.
    fn set(&self, gauge: Gauge, value: f64);

    /// A batch was sealed.
    fn sealed(&self, reason: SealReason);

    /// A put took this long.
    fn upload(&self, took: Duration);

    /// A call failed.
    fn error(&self, service: Service, kind: &'static str);

    /// What the shard is doing, and until when (monotonic) it must have made progress.
    fn state(&self, state: ShardState);

    /// A batch is in the archive: its object was seen. Who shows no batches need not care.
    fn archived(&self, _batch: &BatchNotice) {}
}

/// What `/healthz` and the log say of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ShardState {
    /// One of `reading`, `waiting`, `paused`, `stopped`, `ended`, `draining`.
    pub activity: &'static str,
    /// Monotonic instant by which the next progress is due; `None`: a known wait without end.
    pub due: Option<Duration>,
    /// Why it does not read, or cannot archive: each in plain words. Empty when all is well.
    pub troubles: Vec<String>,
    /// How far it is.
    pub standing: Standing,
}

/// How far a shard is, for whoever looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// The last record read, as far as is known.
    pub read_to: Option<SequenceNumber>,
    /// The last record in the archive, as far as is known.
    pub archived_to: Option<SequenceNumber>,
    /// Lines of the open batch.
    pub open_records: u64,
    /// Bytes of the open batch, before compression.
    pub open_bytes: u64,
    /// When its first record was added, monotonic; `None` while it is empty.
    pub open_since: Option<Duration>,
}

/// Publishes numbers once a minute, on a thread of its own.
pub trait MetricSink: Send + Sync {
    /// Its name in the log, and as the label `service` of `errors_total`.
    fn name(&self) -> &'static str;

    /// The form in which it wants its numbers.
    fn shape(&self) -> Shape;

    /// Publishes the numbers, in order. The deltas of those that it did not take come again in the
    /// next push, added to what happened since.
    fn push(&self, numbers: &[Number], stop: &Stop) -> Result<(), PushError>;
}

/// A sink did not take all numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PushError {
    /// What kind of failure, as the label `kind` of `errors_total`.
    pub kind: &'static str,
    /// How many numbers, from the first, were taken for certain.
    pub taken: usize,
    /// What the sink said.
    pub message: String,
}

/// A named point of the flow at which the crash test kills the process.
pub trait Probe: Send + Sync {
    /// The flow has come to `point`.
    fn reached(&self, point: CrashPoint);
}

/// The named points, in the order of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashPoint {
    /// Records are in memory; the batch is about to be sealed.
    BeforeSeal,
    /// The spool file is written, its manifest is not.
    DuringSeal,
    /// The batch is sealed on disk.
    AfterSeal,
    /// The ledger entry is about to be put.
    BeforeEntry,
    /// The ledger entry was put, the object was not.
    AfterEntry,
    /// The side object was put, the object was not.
    AfterSide,
    /// The object was put.
    AfterPut,
    /// The outbox file is written.
    AfterOutbox,
    /// The checkpoint is saved.
    AfterCheckpoint,
    /// The notice was sent and still lies in the outbox.
    AfterPublish,
    /// The local copy is there; the spool file too.
    AfterLocalCopy,
    /// The spool file is gone.
    AfterSpoolRemoved,
}

impl CrashPoint {
    /// Every point.
    pub const ALL: [Self; 12] = [
        Self::BeforeSeal,
        Self::DuringSeal,
        Self::AfterSeal,
        Self::BeforeEntry,
        Self::AfterEntry,
        Self::AfterSide,
        Self::AfterPut,
        Self::AfterOutbox,
        Self::AfterCheckpoint,
        Self::AfterPublish,
        Self::AfterLocalCopy,
        Self::AfterSpoolRemoved,
    ];

    /// Its name in tests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeSeal => "before-seal",
            Self::DuringSeal => "during-seal",
            Self::AfterSeal => "after-seal",
            Self::BeforeEntry => "before-entry",
            Self::AfterEntry => "after-entry",
            Self::AfterSide => "after-side",
            Self::AfterPut => "after-put",
            Self::AfterOutbox => "after-outbox",
            Self::AfterCheckpoint => "after-checkpoint",
            Self::AfterPublish => "after-publish",
            Self::AfterLocalCopy => "after-local-copy",
            Self::AfterSpoolRemoved => "after-spool-removed",
        }
    }
}

/// The probe of every real run: does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn reached(&self, _point: CrashPoint) {}
}
