//! What can be chosen about a producer.

use std::time::Duration;

use crate::retry::Pace;

/// PutRecords takes no more records.
pub const MOST_RECORDS: usize = 500;
/// PutRecords takes no more bytes, keys included.
pub const MOST_BYTES: usize = 10 << 20;

/// What a shard takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShardLimits {
    /// Records a second.
    pub records: f64,
    /// Bytes a second, keys included.
    pub bytes: f64,
}

impl ShardLimits {
    /// 1,000 records and 1 MB a second, as Kinesis has it for every shard.
    pub const KINESIS: Self = Self { records: 1_000.0, bytes: 1_048_576.0 };
}

/// How a producer works. The default is right for Kinesis.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a record may wait for others to share its request.
    pub buffer_time: Duration,
    /// The most requests under way at once.
    pub in_flight: usize,
    /// The most records that wait or are under way; [`Producer::put`](super::Producer::put) waits for room.
    pub queue_records: usize,
    /// The most bytes of them; a larger record is taken when the queue is empty.
    pub queue_bytes: usize,
    /// Whether records of one partition key are stored in the order in which they were put. At most one
    /// of a key is then under way, and a record that failed keeps later ones of its key back.
    pub ordered: bool,
    /// Whether records are packed into KPL aggregates; they are not while the stream distributes records by
    /// itself ([`Distribution::Auto`](super::Distribution::Auto)), for readers pass over aggregates there.
    pub aggregate: bool,
    /// What each shard takes; `None`: as much as comes (a test server).
    pub shard_limits: Option<ShardLimits>,
    /// How long a record is tried, from its first try on, before it counts as undeliverable.
    pub patience: Duration,
    /// The waits between the tries of a record.
    pub pace: Pace,
    /// How often the shards are listed anew.
    pub refresh: Duration,
    /// Decides all that is random.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            buffer_time: Duration::from_millis(500),
            in_flight: 8,
            queue_records: 20_000,
            queue_bytes: 64 << 20,
            ordered: false,
            aggregate: false,
            shard_limits: Some(ShardLimits::KINESIS),
            patience: Duration::from_secs(300),
            pace: Pace { first: Duration::from_millis(100), longest: Duration::from_secs(5) },
            refresh: Duration::from_secs(60),
            seed: 0,
        }
    }
}
