use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::metrics::Registry;
use crate::metrics::test_clock::TestClock;
use crate::model::batch::SealReason;
use crate::model::metric::{Counter, Gauge, Service};
use crate::model::shard::ShardId;

fn busy(per_shard: bool) -> Registry {
    let registry = Registry::new("click\"stream".into(), per_shard, Arc::new(TestClock::default()));
    for (shard, records) in [("shardId-0", 3), ("shardId-1", 4)] {
        let meter = registry.shard(&ShardId::new(shard));
        meter.count(Counter::RecordsRead, records);
        meter.set(Gauge::DataFreshness, records as f64 + 0.5);
        meter.sealed(SealReason::Age);
        meter.upload(Duration::from_millis(40));
        meter.error(Service::S3, "busy");
    }
    registry.error(Service::Kinesis, "not_found");
    registry.shards_running(2);
    registry
}

#[test]
fn each_shard_has_its_labels() {
    let text = render(&busy(true).snapshot());
    for line in [
        "# TYPE kinesis_keeper_records_read counter",
        "# HELP kinesis_keeper_records_read User records read.",
        r#"kinesis_keeper_records_read_total{stream="click\"stream",shard="shardId-0"} 3"#,
        r#"kinesis_keeper_records_read_total{stream="click\"stream",shard="shardId-1"} 4"#,
        "# TYPE kinesis_keeper_data_freshness_seconds gauge",
        "# UNIT kinesis_keeper_data_freshness_seconds seconds",
        r#"kinesis_keeper_data_freshness_seconds{stream="click\"stream",shard="shardId-1"} 4.5"#,
        r#"kinesis_keeper_batches_sealed_total{stream="click\"stream",shard="shardId-0",reason="age"} 1"#,
        r#"kinesis_keeper_batches_sealed_total{stream="click\"stream",shard="shardId-0",reason="hour"} 0"#,
        r#"kinesis_keeper_errors_total{stream="click\"stream",shard="shardId-0",service="s3",kind="busy"} 1"#,
        r#"kinesis_keeper_errors_total{stream="click\"stream",service="kinesis",kind="not_found"} 1"#,
        "# TYPE kinesis_keeper_upload_seconds histogram",
        r#"kinesis_keeper_upload_seconds_bucket{stream="click\"stream",shard="shardId-0",le="0.025"} 0"#,
        r#"kinesis_keeper_upload_seconds_bucket{stream="click\"stream",shard="shardId-0",le="0.05"} 1"#,
        r#"kinesis_keeper_upload_seconds_bucket{stream="click\"stream",shard="shardId-0",le="+Inf"} 1"#,
        r#"kinesis_keeper_upload_seconds_count{stream="click\"stream",shard="shardId-0"} 1"#,
        r#"kinesis_keeper_upload_seconds_sum{stream="click\"stream",shard="shardId-0"} 0.04"#,
        r#"kinesis_keeper_shards_running{stream="click\"stream"} 2"#,
        "# UNIT kinesis_keeper_spool_bytes bytes",
        "# UNIT kinesis_keeper_retention_used_ratio ratio",
    ] {
        assert!(text.lines().any(|has| has == line), "no {line} in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
    assert!(!text.contains("# UNIT kinesis_keeper_records_read"));
    assert!(!text.contains("spool_bytes{"), "a gauge that was never set is absent");
}

#[test]
fn the_sum_of_waiting_notices_is_the_streams() {
    let registry = busy(true);
    registry.shard(&ShardId::new("shardId-0")).set(Gauge::OutboxNotices, 2.0);
    registry.hour_notices(3, None);
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("kinesis_keeper_outbox_notices{"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        lines(&render(&registry.snapshot())),
        [
            r#"kinesis_keeper_outbox_notices{stream="click\"stream",shard="shardId-0"} 2"#,
            r#"kinesis_keeper_outbox_notices{stream="click\"stream"} 3"#,
        ]
    );
    let numbers = registry.snapshot();
    let sums = numbers.families(Shape::DIMENSIONS).find(|(family, _)| family.cloudwatch == "OutboxNotices");
    let sums: Vec<_> = sums.unwrap().1.into_iter().filter(|reading| reading.shard.is_none()).collect();
    assert_eq!(sums.len(), 1, "each combination of dimensions is one metric: {sums:?}");
    assert_eq!(sums[0].value, Standing::Gauge(5.0));
}

#[test]
fn without_shards_there_are_totals() {
    let text = render(&busy(false).snapshot());
    for line in [
        r#"kinesis_keeper_records_read_total{stream="click\"stream"} 7"#,
        r#"kinesis_keeper_data_freshness_seconds{stream="click\"stream"} 4.5"#,
        r#"kinesis_keeper_errors_total{stream="click\"stream",service="s3",kind="busy"} 2"#,
        r#"kinesis_keeper_upload_seconds_count{stream="click\"stream"} 2"#,
    ] {
        assert!(text.lines().any(|has| has == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("shard="));
}

/// Holds the whole text against the rules that a reader relies on.
#[test]
fn the_text_keeps_the_formats_rules() {
    for per_shard in [true, false] {
        let text = render(&busy(per_shard).snapshot());
        let mut families = BTreeSet::new();
        let mut samples = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                family = described.split(' ').next().unwrap().to_owned();
                assert!(families.insert(family.clone()), "{family} twice");
            } else if let Some(described) = line.strip_prefix("# UNIT ").or(line.strip_prefix("# HELP ")) {
                assert_eq!(described.split(' ').next().unwrap(), family, "{line}");
            } else if line != "# EOF" {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(samples.insert(series.to_owned()), "{series} twice");
                assert!(series.starts_with(&family), "{series} outside of its family");
                assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
            }
        }
        assert_eq!(families.len(), crate::metrics::families::FAMILIES.len());
    }
}

#[test]
fn labels_are_escaped() {
    let mut text = String::new();
    escape("a\\b\"c\nd", &mut text);
    assert_eq!(text, "a\\\\b\\\"c\\nd");
}
