use super::*;
use crate::metrics::meter::START_GRACE;
use crate::metrics::test_clock::TestClock;
use crate::model::metric::Gauge;

fn registry() -> (Registry, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    (Registry::new("clickstream".into(), true, Arc::clone(&clock) as Arc<dyn Clock>), clock)
}

fn read(registry: &Registry) -> u64 {
    registry.snapshot().counter(Counter::RecordsRead)
}

#[test]
fn counters_go_on_after_a_restart() {
    let (registry, _) = registry();
    let shard = ShardId::new("shardId-0");
    registry.shard(&shard).count(Counter::RecordsRead, 3);
    registry.shard_restarted(&shard);
    registry.shard(&shard).count(Counter::RecordsRead, 4);
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.shards.len(), 1);
    assert_eq!(snapshot.counter(Counter::RecordsRead), 7);
    assert_eq!(snapshot.counter(Counter::ShardRestarts), 1);
}

#[test]
fn a_retired_shard_has_no_gauges_and_its_counts_stay_in_the_totals() {
    let (registry, clock) = registry();
    let shard = ShardId::new("shardId-0");
    let meter = registry.shard(&shard);
    meter.count(Counter::RecordsRead, 3);
    meter.set(Gauge::SpoolBytes, 5.0);
    assert_eq!(registry.snapshot().gauge(Gauge::SpoolBytes), Some(5.0));
    registry.retire(&shard);
    assert_eq!(registry.snapshot().gauge(Gauge::SpoolBytes), None);
    assert_eq!(registry.snapshot().shards.len(), 1, "its counters are still its own");
    clock.pass(SHOWN_AFTER_END);
    meter.count(Counter::RecordsRead, 1);
    assert_eq!(registry.snapshot().shards.len(), 1, "somebody may still count");
    drop(meter);
    assert_eq!(registry.snapshot().shards.len(), 0);
    assert_eq!(read(&registry), 4);
    registry.shard(&shard).count(Counter::RecordsRead, 1);
    assert_eq!(read(&registry), 5);
}

#[test]
fn a_gauge_that_is_no_number_is_absent() {
    let (registry, _) = registry();
    let meter = registry.shard(&ShardId::new("shardId-0"));
    assert_eq!(registry.snapshot().shards[0].tally.gauges, [None; 5]);
    meter.set(Gauge::RetentionUsed, f64::INFINITY);
    assert_eq!(registry.snapshot().shards[0].tally.gauges, [None; 5]);
}

#[test]
fn errors_of_the_stream_and_of_shards_add_up() {
    let (registry, _) = registry();
    registry.error(Service::Kinesis, "not_found");
    registry.shard(&ShardId::new("shardId-0")).error(Service::Kinesis, "not_found");
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.total.errors.get(&("kinesis", "not_found")), Some(&2));
    assert_eq!(snapshot.of_no_shard.errors.get(&("kinesis", "not_found")), Some(&1));
}

#[test]
fn a_thread_that_never_says_what_it_does_is_unhealthy_after_its_grace() {
    let (registry, clock) = registry();
    assert_eq!(registry.health().to_string(), "waiting for stream\n");
    registry.stream_state(None);
    let _meter = registry.shard(&ShardId::new("shardId-0"));
    assert!(registry.health().is_good());
    clock.pass(START_GRACE + Duration::from_secs(1));
    assert!(!registry.health().is_good());
    registry.retire(&ShardId::new("shardId-0"));
    assert!(registry.health().is_good());
}

#[test]
fn notices_of_hours_count_for_the_stream_and_not_for_a_shard() {
    let (registry, _) = registry();
    registry.stream_state(None);
    let shard = registry.shard(&ShardId::new("shardId-0"));
    shard.state(ShardState { activity: "reading", ..ShardState::default() });
    shard.set(Gauge::OutboxNotices, 2.0);
    assert_eq!(registry.snapshot().of_no_shard.gauges, [None; 5], "nobody has looked yet");
    registry.hour_notices(3, Some("publishing the notice failed: no such topic"));
    assert_eq!(registry.snapshot().gauge(Gauge::OutboxNotices), Some(5.0));
    let status = registry.status();
    assert_eq!((status.totals.outbox_notices, status.shards[0].outbox_notices), (5, 2));
    assert_eq!(status.troubles, ["notices of hours wait: publishing the notice failed: no such topic"]);
    assert!(status.healthy, "archiving goes on");
    registry.hour_notices(0, None);
    assert_eq!(registry.snapshot().gauge(Gauge::OutboxNotices), Some(2.0));
    assert!(registry.status().troubles.is_empty());
}
