//! The table of all numbers: their names for each sink, their units and what they mean.

use crate::model::metric::{Counter, Gauge, Unit};

/// One number, or one histogram, as it is known to sinks.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Where it is read from.
    pub source: Source,
    /// Its name in CloudWatch.
    pub cloudwatch: &'static str,
    /// Its name in OpenMetrics and statsd; a counter's ends in `_total`.
    pub open_metrics: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// What it means.
    pub help: &'static str,
}

/// Where a number is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A counter of the shards.
    Counter(Counter),
    /// Batches sealed, by reason.
    Sealed,
    /// Failed calls, by service and kind.
    Errors,
    /// A gauge of the shards.
    Gauge(Gauge),
    /// How long puts took.
    Uploads,
    /// A gauge of the stream as a whole.
    Stream(StreamGauge),
}

/// A gauge of the stream as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamGauge {
    /// Bytes of open batches and replies in flight.
    BatchMemory,
    /// Shards with a running thread.
    ShardsRunning,
    /// Share of the hash key space that running shards cover.
    KeySpaceCovered,
}

const fn family(
    source: Source,
    cloudwatch: &'static str,
    open_metrics: &'static str,
    unit: Unit,
    help: &'static str,
) -> Family {
    Family { source, cloudwatch, open_metrics, unit, help }
}

/// All of them, in the order in which they are shown.
#[rustfmt::skip]
pub static FAMILIES: [Family; 20] = [
    family(Source::Gauge(Gauge::MillisBehindLatest), "MillisBehindLatest", "kinesis_keeper_millis_behind_latest", Unit::Milliseconds,
        "How far the last reply lay behind the tip of the shard, in milliseconds."),
    family(Source::Gauge(Gauge::RetentionUsed), "RetentionUsed", "kinesis_keeper_retention_used_ratio", Unit::Ratio,
        "Lag divided by the stream's retention; records are lost at 1."),
    family(Source::Gauge(Gauge::DataFreshness), "DataFreshness", "kinesis_keeper_data_freshness_seconds", Unit::Seconds,
        "Age of the oldest record read and not yet in S3."),
    family(Source::Counter(Counter::RecordsRead), "RecordsRead", "kinesis_keeper_records_read_total", Unit::Count,
        "User records read."),
    family(Source::Counter(Counter::BytesRead), "BytesRead", "kinesis_keeper_bytes_read_total", Unit::Bytes,
        "Payload bytes read."),
    family(Source::Sealed, "BatchesSealed", "kinesis_keeper_batches_sealed_total", Unit::Count,
        "Batches sealed, by the reason for which they ended."),
    family(Source::Counter(Counter::ObjectsArchived), "ObjectsArchived", "kinesis_keeper_objects_archived_total", Unit::Count,
        "Objects committed in S3."),
    family(Source::Counter(Counter::BytesArchived), "BytesArchived", "kinesis_keeper_bytes_archived_total", Unit::Bytes,
        "Compressed bytes committed in S3."),
    family(Source::Uploads, "UploadTime", "kinesis_keeper_upload_seconds", Unit::Seconds,
        "How long one put of an object took."),
    family(Source::Gauge(Gauge::SpoolBytes), "SpoolBytes", "kinesis_keeper_spool_bytes", Unit::Bytes,
        "Bytes sealed on this disk and not yet in S3."),
    family(Source::Gauge(Gauge::OutboxNotices), "OutboxNotices", "kinesis_keeper_outbox_notices", Unit::Count,
        "Notices waiting on this disk to be sent."),
    family(Source::Stream(StreamGauge::BatchMemory), "BatchMemory", "kinesis_keeper_batch_memory_bytes", Unit::Bytes,
        "Memory of open batches and replies in flight, all shards."),
    family(Source::Counter(Counter::Throttled), "Throttled", "kinesis_keeper_throttled_total", Unit::Count,
        "Reads refused for want of throughput."),
    family(Source::Counter(Counter::ExpiredIterators), "ExpiredIterators", "kinesis_keeper_expired_iterators_total", Unit::Count,
        "Shard iterators that had expired."),
    family(Source::Counter(Counter::Conflicts), "Conflicts", "kinesis_keeper_conflicts_total", Unit::Count,
        "Ledger entries of another writer adopted."),
    family(Source::Counter(Counter::Gaps), "Gaps", "kinesis_keeper_gaps_total", Unit::Count,
        "Gaps recorded: records that could not be read any more."),
    family(Source::Errors, "Errors", "kinesis_keeper_errors_total", Unit::Count,
        "Failed calls, by service and kind."),
    family(Source::Stream(StreamGauge::ShardsRunning), "ShardsRunning", "kinesis_keeper_shards_running", Unit::Count,
        "Shards whose thread is running."),
    family(Source::Counter(Counter::ShardRestarts), "ShardRestarts", "kinesis_keeper_shard_restarts_total", Unit::Count,
        "Times that a shard's thread was started again."),
    family(Source::Stream(StreamGauge::KeySpaceCovered), "KeySpaceCovered", "kinesis_keeper_key_space_covered_ratio", Unit::Ratio,
        "Share of the hash key space that running shards cover; 1 is healthy."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_row() {
        let has = |source| FAMILIES.iter().filter(|family| family.source == source).count() == 1;
        assert!(Counter::ALL.into_iter().all(|counter| has(Source::Counter(counter))));
        assert!(Gauge::ALL.into_iter().all(|gauge| has(Source::Gauge(gauge))));
    }

    #[test]
    fn only_counters_end_in_total() {
        for family in &FAMILIES {
            let counts = matches!(family.source, Source::Counter(_) | Source::Sealed | Source::Errors);
            assert_eq!(family.open_metrics.ends_with("_total"), counts, "{}", family.open_metrics);
        }
    }
}
