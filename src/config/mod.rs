//! The configuration file: one TOML file, one stream; validated once.
//!
//! Owns every table and key, their types, defaults and limits. After [`Config::load`] a value's type is
//! the proof that it was checked. Does not start anything, and reads no environment variable; of the time it
//! knows only whether a start lies in the future.

mod error;
mod file;
mod sections;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use error::{ConfigError, Problem};

use crate::model::batch::{Form, Level, Limits};
use crate::model::key::{Layout, Prefix};
use crate::model::timestamp::Timestamp;

/// A whole configuration file, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is read.
    pub stream: Stream,
    /// When a batch is sealed.
    pub batch: Batch,
    /// Where it goes.
    pub archive: Archive,
    /// What stays on this disk.
    pub disk: Disk,
    /// Where the hint to the last archived position is kept.
    pub checkpoint: Checkpoint,
    /// Who is told.
    pub notice: Notices,
    /// Who gets the numbers.
    pub metrics: Metrics,
    /// Where the log goes.
    pub log: Log,
    /// What the AWS SDK would otherwise find out by itself.
    pub aws: Aws,
}

/// `[stream]`: what is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The stream's name; from the ARN where that was given.
    pub name: String,
    /// The stream's ARN, if the file gives it in place of the name.
    pub arn: Option<String>,
    /// The ARN's region: where the stream is, whatever region the archive is in.
    pub region: Option<String>,
    /// Where a shard with no checkpoint and no archive begins.
    pub start: Start,
    /// How often the stream is described and its shards are listed again.
    pub refresh: Duration,
    /// The longest pause between two looks at a shard that is caught up.
    pub poll: Duration,
    /// How shards are read.
    pub consumer: Consumer,
    /// Whether KPL aggregates are split into user records.
    pub deaggregate: bool,
}

/// How shards are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// By GetRecords, sharing each shard's 2 MB/s with other readers.
    Polling,
    /// By enhanced fan-out, as the consumer of this name.
    FanOut(String),
}

/// Where a stream that was never archived begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that the stream still holds.
    TrimHorizon,
    /// At what arrives from the first start on.
    Latest,
    /// At the first record that arrived then or later.
    At(Timestamp),
}

/// `[batch]`: when a batch is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The limits of one batch.
    pub limits: Limits,
    /// Bytes of memory for all open batches and replies in flight together.
    pub memory: u64,
}

/// `[archive]`: the objects in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The bucket.
    pub bucket: String,
    /// The account that must own the bucket, 12 digits.
    pub expected_bucket_owner: Option<String>,
    /// What every key begins with.
    pub prefix: Prefix,
    /// How an hour is written in a key.
    pub layout: Layout,
    /// How records are written, and objects are compressed.
    pub form: Form,
    /// How hard the compressor tries; a level is one of its own.
    pub level: Level,
    /// The storage class of data objects, as S3 writes it.
    pub storage_class: String,
    /// The KMS key of every object; `None`: the bucket's default.
    pub sse_kms_key_id: Option<String>,
    /// Days of compliance-mode retention of every object that is put; 0: none.
    pub object_lock_days: u32,
}

/// `[disk]`: what stays on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Spool, outbox, checkpoints, copies; absolute.
    pub state_dir: PathBuf,
    /// How long local copies of archived batches are kept; zero: no copies.
    pub keep: Duration,
    /// How much all local copies may take.
    pub keep_bytes: u64,
    /// How much sealed and not yet archived batches may take before reading pauses.
    pub spool_bytes: u64,
}

/// `[checkpoint]`: the hint to the last archived position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where it is kept.
    pub store: CheckpointStore,
}

/// Where checkpoints are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointStore {
    /// In the state directory.
    Disk,
    /// Nowhere: each start searches the ledger.
    Memory,
}

/// `[notice]`: who is told of each batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notices {
    /// The SNS topic; `None`: no notices.
    pub topic: Option<TopicArn>,
}

/// The ARN of an SNS topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicArn {
    text: String,
    region: String,
}

impl TopicArn {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its region, in which it must be published to.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether it is a FIFO topic.
    pub fn is_fifo(&self) -> bool {
        self.text.ends_with(".fifo")
    }
}

impl fmt::Display for TopicArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `[metrics]`: who gets the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The CloudWatch namespace; `None`: off.
    pub cloudwatch_namespace: Option<String>,
    /// The statsd server; `None`: off.
    pub statsd: Option<HostPort>,
    /// Where `/metrics`, `/healthz` and the status page are served; `None`: off.
    pub http: Option<HostPort>,
    /// Whether shards are told apart.
    pub per_shard: bool,
}

/// `host:port`; the host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `[log]`: where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Who takes it.
    pub target: LogTarget,
    /// How an entry is written.
    pub format: LogFormat,
    /// The least important entries that are still written.
    pub level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self { target: LogTarget::Stderr, format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// Who takes the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// The local syslog daemon.
    Syslog,
}

/// How a log entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How important a log entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Somebody must do something.
    Error,
    /// Something is wrong; the archiver carries on.
    Warn,
    /// What happens: starts, stops, one line a sealed batch.
    Info,
    /// Why it happens.
    Debug,
    /// Every step.
    Trace,
}

/// `[aws]`: what the AWS SDK's default chain would otherwise find; `None`: ask that chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// The region of everything that has none in an ARN.
    pub region: Option<String>,
    /// One address for all services: an emulator or a proxy.
    pub endpoint_url: Option<String>,
    /// The profile of the shared configuration files.
    pub profile: Option<String>,
    /// A role that is assumed with whatever credentials were found.
    pub role_arn: Option<String>,
}

impl Config {
    /// Reads and checks a file, also against the time it is now.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse_at(&text, path, this_machines_time())
    }

    /// Checks a file's text; `path` is what errors call it. All that is wrong is told at once, whatever
    /// time it is.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_at(text, path, Timestamp::LATEST)
    }

    fn parse_at(text: &str, path: &Path, now: Timestamp) -> Result<Self, ConfigError> {
        sections::parse(text, now)
            .map_err(|problems| ConfigError::Invalid { path: path.to_owned(), problems })
    }
}

#[allow(clippy::disallowed_methods, reason = "no clock has been made yet when the file is read")]
fn this_machines_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
