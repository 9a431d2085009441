//! Reshards, and what becomes of KPL aggregates: packed by shard, taken apart when they fail, sent again when
//! they went astray.

use super::super::super::request::Flight;
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

#[test]
fn in_a_stream_that_distributes_by_itself_each_record_goes_astray_once_and_then_bare() {
    let mut core = core(aggregating(false), 2);
    core.begin_flush();
    for tag in 0..20 {
        admit(&mut core, record(tag, &format!("key-{tag}"), 50), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    let other = |flight: &Flight| core.map.open().nth(1 - core.map.place(flight.hash_key())).unwrap().clone();
    let outcomes = first.flights.iter().map(|flight| stored(other(flight).as_str(), 1)).collect();
    let answered = core.answered(first, Ok(outcomes), MILLI);
    assert_eq!((answered.sent.delivered, answered.sent.retried, core.held()), (0, 0, 20));
    assert!(matches!(core.next(SECOND), Step::Refresh), "the shards may be others by now");
    let answered = core.refreshed(ShardMap::new(shards(2, 0)), SECOND);
    assert_eq!((answered.sent.delivered, answered.sent.retried), (0, 20));
    assert_eq!(core.distribution, Distribution::Auto);
    // What comes from now on is not packed at all.
    for tag in 20..30 {
        admit(&mut core, record(tag, &format!("key-{tag}"), 50), SECOND);
    }
    let bare = request(&mut core, 2 * SECOND);
    assert!(bare.flights.iter().all(|flight| matches!(flight, Flight::One(_))));
    assert_eq!(bare.flights.len(), 30, "in one request");
    let outcomes = (0..30).map(|n| stored("shardId-000000000000", n)).collect();
    let answered = core.answered(bare, Ok(outcomes), 2 * SECOND);
    assert_eq!((answered.sent.delivered, core.held()), (30, 0));
}

#[test]
fn what_went_astray_and_is_given_up_may_be_stored() {
    let mut core = core(aggregating(false), 2);
    core.begin_flush();
    let to = |tag, hash_key| Record { explicit_hash_key: Some(hash_key), ..record(tag, "k", 100) };
    admit(&mut core, to(0, 0), Duration::ZERO);
    admit(&mut core, to(1, 1), Duration::ZERO);
    let first = request(&mut core, Duration::ZERO);
    core.answered(first, Ok(vec![stored("shardId-000000000001", 1)]), MILLI);
    core.refreshed(ShardMap::new(shards(2, 0)), SECOND);
    let bare = request(&mut core, 2 * SECOND);
    assert_eq!(tags(&bare), [0, 1]);
    answer(&mut core, bare, 2 * SECOND, |_| Some("AccessDeniedException"));
    let said = core.undelivered[0].why.to_string();
    assert!(
        said.contains("it may be stored, for a try of it had no answer, or came to a wrong shard"),
        "{said}"
    );
}

#[test]
fn an_aggregate_that_two_reshards_sent_astray_goes_bare_the_next_time() {
    let mut core = core(aggregating(false), 1);
    core.begin_flush();
    for tag in 0..40 {
        admit(&mut core, record(tag, &format!("key-{tag}"), 50), Duration::ZERO);
    }
    // Each comes to the shard of the new ones that has its hash key.
    let mut now = Duration::ZERO;
    for (open, closed) in [(2, 1), (8, 3)] {
        let map = ShardMap::new(shards(open, closed)).unwrap();
        let request = request(&mut core, now);
        assert!(request.flights.iter().all(|flight| matches!(flight, Flight::Many { .. })));
        let there = |flight: &Flight| map.open().nth(map.place(flight.hash_key())).unwrap().clone();
        let outcomes = request.flights.iter().map(|flight| stored(there(flight).as_str(), 1)).collect();
        core.answered(request, Ok(outcomes), now);
        let answered = core.refreshed(Some(map), now + SECOND);
        assert_eq!(answered.sent.retried, 40);
        now += 2 * SECOND;
    }
    assert_eq!(core.distribution, Distribution::ByKey, "they were where their hash keys belong");
    let bare = request(&mut core, now);
    assert!(bare.flights.len() == 40 && bare.records().iter().all(|record| record.partition_key != "a"));
    answer(&mut core, bare, now, |_| None);
    assert_eq!((core.held(), core.totals.delivered), (0, 40));
    // Records that come later go in aggregates as ever.
    admit(&mut core, record(40, "key-0", 50), now);
    admit(&mut core, record(41, "key-0", 50), now);
    assert!(matches!(request(&mut core, now).flights[0], Flight::Many { .. }));
}

#[test]
fn only_a_listing_made_since_tells_that_an_aggregate_is_astray() {
    let mut core = core(aggregating(true), 2);
    core.begin_flush();
    let to = |tag, hash_key| Record { explicit_hash_key: Some(hash_key), ..record(tag, "k", 100) };
    for tag in 0..3 {
        admit(&mut core, to(tag, tag.into()), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    admit(&mut core, to(3, 3), MILLI);
    // The stream was deleted and made again: its second shard has other keys now.
    core.answered(first, Ok(vec![stored("shardId-000000000001", 1)]), MILLI);
    assert!(matches!(core.next(MILLI), Step::Wait(_)), "what is behind it waits until that is known");
    let mut anew = shards(2, 0);
    (anew[0].range, anew[1].range) = (anew[1].range, anew[0].range);
    let answered = core.refreshed(ShardMap::new(anew), SECOND);
    assert_eq!(delivered(&answered), [0, 1, 2]);
    assert_eq!(tags(&request(&mut core, SECOND)), [3]);
    assert_eq!(core.distribution, Distribution::ByKey);
}
