//! The names of the numbers that a shard reports, and the form in which they leave the process.
//!
//! Who publishes them, and how, is not decided here.

use super::shard::ShardId;

/// What only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// User records read.
    RecordsRead,
    /// Payload bytes read.
    BytesRead,
    /// Objects committed in S3.
    ObjectsArchived,
    /// Compressed bytes committed in S3.
    BytesArchived,
    /// Replies refused for want of throughput.
    Throttled,
    /// Iterators that had expired.
    ExpiredIterators,
    /// Another writer's entry adopted.
    Conflicts,
    /// Gaps recorded.
    Gaps,
    /// Times a shard's thread was started again.
    ShardRestarts,
}

impl Counter {
    /// Every counter, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::RecordsRead,
        Self::BytesRead,
        Self::ObjectsArchived,
        Self::BytesArchived,
        Self::Throttled,
        Self::ExpiredIterators,
        Self::Conflicts,
        Self::Gaps,
        Self::ShardRestarts,
    ];
}

/// What goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gauge {
    /// What the last reply said, in milliseconds.
    MillisBehindLatest,
    /// Lag divided by the stream's retention; data is lost at 1.
    RetentionUsed,
    /// Age in seconds of the oldest record read and not yet in S3; 0 when all is.
    DataFreshness,
    /// Bytes sealed and not yet in S3.
    SpoolBytes,
    /// Notices waiting to be sent.
    OutboxNotices,
}

impl Gauge {
    /// Every gauge, in the order of the enum.
    pub const ALL: [Self; 5] = [
        Self::MillisBehindLatest,
        Self::RetentionUsed,
        Self::DataFreshness,
        Self::SpoolBytes,
        Self::OutboxNotices,
    ];
}

/// The service an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Amazon Kinesis Data Streams.
    Kinesis,
    /// Amazon S3.
    S3,
    /// Amazon SNS.
    Sns,
    /// Amazon CloudWatch.
    CloudWatch,
    /// This machine's disk.
    Disk,
}

impl Service {
    /// As the label `service` of `errors_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::S3 => "s3",
            Self::Sns => "sns",
            Self::CloudWatch => "cloudwatch",
            Self::Disk => "disk",
        }
    }
}

/// One number on its way to a sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// Its name in CloudWatch.
    pub cloudwatch: &'static str,
    /// Its name in OpenMetrics and statsd.
    pub open_metrics: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// The shard it is about; `None`: the stream, or all its shards together.
    pub shard: Option<ShardId>,
    /// What else tells it from others of its name, such as `reason`.
    pub labels: Labels,
    /// How much.
    pub value: Value,
}

/// Names and values of labels besides `stream` and `shard`.
pub type Labels = Vec<(&'static str, &'static str)>;

/// How much.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A counter grew by so much since the sink took it last; 0 is a value too.
    Delta(u64),
    /// A gauge stands there; always finite.
    Gauge(f64),
    /// These values were seen so many times since the sink took them last; at most 150 of them.
    Distribution(Vec<(f64, u64)>),
}

/// What a number is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// A share, usually between 0 and 1.
    Ratio,
}

/// The form in which a sink wants its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// One number for each value of a label (`reason`, `service`, `kind`), or their sum without labels.
    pub labels: bool,
    /// Where numbers are published shard by shard: also those of all shards together.
    pub totals: bool,
}

impl Shape {
    /// For sinks that sum over tags by themselves: statsd, OpenMetrics.
    pub const TAGGED: Self = Self { labels: true, totals: false };

    /// For CloudWatch, where dimensions are fixed and each combination is a metric of its own.
    pub const DIMENSIONS: Self = Self { labels: false, totals: true };
}
