//! The names of the numbers that a shard reports; who publishes them is not its business.

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
