//! Reshards, and what becomes of KPL aggregates: packed by shard, taken apart when they fail, sent again when
//! they went astray.

use super::*;

#[test]
fn after_a_reshard_what_waits_goes_by_the_new_shards() {
    let mut core = core(Options { shard_limits: Some(ShardLimits::KINESIS), ..Options::default() }, 1);
    for tag in 0..50 {
        admit(&mut core, record(tag, &format!("key-{tag}"), 20), Duration::ZERO);
    }
    let map = ShardMap::new(shards(2, 1)).unwrap();
    core.refreshed(Some(map), MILLI);
    assert_eq!(
        core.lanes.iter().map(|lane| lane.shard.as_str()).collect::<Vec<_>>(),
        ["shardId-000000000001", "shardId-000000000002"]
    );
    assert!(core.lanes.iter().all(|lane| lane.front().is_some()));
    core.begin_flush();
    let request = request(&mut core, 2 * MILLI);
    assert_eq!(request.flights.len(), 50);
    // An answer that names a shard nobody listed asks for a listing.
    let outcomes = request.flights.iter().map(|_| stored("shardId-000000000009", 1)).collect();
    core.answered(request, Ok(outcomes), 3 * MILLI);
    assert!(core.refresh.is_due(MILLI + SECOND));
    assert!(matches!(core.next(MILLI + SECOND), Step::Refresh));
}

fn aggregating(ordered: bool) -> Options {
    Options { aggregate: true, ordered, ..unlimited() }
}

#[test]
fn aggregates_hold_the_records_of_one_shard_and_a_single_record_stays_bare() {
    let mut core = core(aggregating(false), 2);
    core.begin_flush();
    for tag in 0..100 {
        admit(&mut core, record(tag, &format!("key-{}", tag % 10), 50), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    assert_eq!(first.flights.len(), 2);
    for flight in &first.flights {
        let range = core.map.range(core.map.place(flight.hash_key()));
        assert!(flight.entries().iter().all(|entry| range.contains(entry.hash_key)));
        assert_eq!(flight.outer().explicit_hash_key, Some(flight.hash_key()));
        assert!(flight.outer().size() <= 1 << 20);
    }
    assert_eq!(tags(&first).len(), 100);
    answer(&mut core, first, Duration::ZERO, |_| None);
    assert_eq!((core.totals.delivered, core.totals.aggregates), (100, 2));
    admit(&mut core, record(100, "k", 50), Duration::ZERO);
    let single = request(&mut core, Duration::ZERO);
    assert_eq!(single.flights[0].outer().partition_key, "k");
}

#[test]
fn an_aggregate_is_never_larger_than_a_record_may_be() {
    let mut core = core(aggregating(false), 1);
    core.begin_flush();
    for tag in 0..30 {
        admit(&mut core, record(tag, "k", 100_000), Duration::ZERO);
    }
    admit(&mut core, record(30, "k", 1 << 20), Duration::ZERO);
    let mut tags_seen = Vec::new();
    while core.held() > 0 {
        let request = request(&mut core, Duration::ZERO);
        assert!(request.flights.iter().all(|flight| flight.outer().size() <= 1 << 20));
        tags_seen.extend(tags(&request));
        answer(&mut core, request, Duration::ZERO, |_| None);
    }
    assert_eq!(tags_seen, (0..=30).collect::<Vec<_>>());
}

#[test]
fn an_aggregate_that_a_reshard_sent_astray_is_sent_again_and_one_that_fits_is_not() {
    let mut core = core(aggregating(false), 1);
    core.begin_flush();
    for tag in 0..20 {
        admit(&mut core, record(tag, &format!("key-{tag}"), 50), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    let answered = core.answered(first, Ok(vec![stored("shardId-000000000002", 1)]), MILLI);
    assert_eq!((answered.sent.delivered, core.held()), (0, 20), "whether it belongs there is not known yet");
    let answered = core.refreshed(Some(ShardMap::new(shards(2, 1)).unwrap()), 2 * MILLI);
    assert_eq!((answered.sent.delivered, answered.sent.retried), (0, 20));
    let again = request(&mut core, SECOND);
    assert_eq!(again.flights.len(), 2, "now an aggregate for each shard");
    answer(&mut core, again, SECOND, |_| None);
    assert_eq!(core.held(), 0);
    // A shard that holds all of its records is as good as the one expected.
    admit(&mut core, record(20, "key-0", 50), SECOND);
    admit(&mut core, record(21, "key-0", 50), SECOND);
    let both = request(&mut core, SECOND);
    let whole = Shard {
        id: ShardId::new("shardId-000000000007"),
        parents: Vec::new(),
        range: HashKeyRange::WHOLE,
        closed: false,
    };
    core.answered(both, Ok(vec![stored("shardId-000000000007", 1)]), SECOND);
    let answered = core.refreshed(ShardMap::new(vec![whole]), SECOND);
    assert_eq!(delivered(&answered), [20, 21]);
}

#[test]
fn aggregates_keep_the_order_of_a_shard_over_failures_and_reshards() {
    let mut core = core(aggregating(true), 1);
    core.begin_flush();
    for tag in 0..4 {
        admit(&mut core, record(tag, "k", 50), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    for tag in 4..8 {
        admit(&mut core, record(tag, "k", 50), Duration::ZERO);
    }
    assert!(matches!(core.next(Duration::ZERO), Step::Wait(_)), "one at a time");
    core.refreshed(Some(ShardMap::new(shards(2, 1)).unwrap()), MILLI);
    assert!(matches!(core.next(MILLI), Step::Wait(_)), "also over a reshard");
    answer(&mut core, first, 2 * MILLI, |_| Some("InternalFailure"));
    let Step::Wait(Some(until)) = core.next(2 * MILLI) else { panic!("the failed one comes first") };
    let second = request(&mut core, until);
    assert_eq!(tags(&second), [0, 1, 2, 3, 4, 5, 6, 7]);
    answer(&mut core, second, until, |_| None);
    assert_eq!(core.held(), 0);
}

#[test]
fn an_aggregate_that_is_refused_is_taken_apart() {
    let mut core = core(aggregating(false), 1);
    core.begin_flush();
    for tag in 0..3 {
        admit(&mut core, record(tag, "k", 50), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    assert_eq!(first.flights.len(), 1);
    core.answered(first, Err(fault(PutFault::Invalid)), Duration::ZERO);
    let mut through = Vec::new();
    while core.held() > 0 {
        let request = request(&mut core, Duration::ZERO);
        assert_eq!(request.flights.len(), 1);
        let answered = match tags(&request)[..] {
            [1] => core.answered(request, Err(fault(PutFault::Invalid)), Duration::ZERO),
            _ => answer(&mut core, request, Duration::ZERO, |_| None),
        };
        through.extend(delivered(&answered));
    }
    assert_eq!((through, core.undelivered[0].record.tag), (vec![0, 2], 1));
}
