//! The core on time that the tests make.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the step that it wants")]

use std::collections::HashSet;

use super::super::entry::tests::record;
use super::super::options::{MOST_BYTES, ShardLimits};
use super::super::reply::{Answered, Outcome};
use super::super::shard_map::tests::shards;
use super::*;
use crate::model::shard::{HashKeyRange, Shard, ShardId};
use crate::ports::put::{PutError, PutFault, PutOutcome};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn core(options: Options, open: u64) -> Core {
    let facts = StreamFacts { max_record_bytes: 1 << 20, distribution: Distribution::ByKey };
    Core::new(options, facts, ShardMap::new(shards(open, 0)).unwrap(), Duration::ZERO)
}

/// Whatever the shard is asked, it takes it.
fn unlimited() -> Options {
    Options { shard_limits: None, ..Options::default() }
}

fn admit(core: &mut Core, record: Record, now: Duration) {
    assert!(core.admit(record, now).is_ok());
}

fn request(core: &mut Core, now: Duration) -> Request {
    match core.next(now) {
        Step::Send(request) => request,
        other => panic!("no request but {other:?}"),
    }
}

fn tags(request: &Request) -> Vec<u64> {
    let entries = request.flights.iter().flat_map(|flight| flight.entries());
    entries.map(|entry| entry.record.tag).collect()
}

fn stored(shard: &str, number: u64) -> PutOutcome {
    PutOutcome::Stored { shard: ShardId::new(shard), sequence_number: number.to_string().parse().unwrap() }
}

fn refused(code: &str) -> PutOutcome {
    PutOutcome::Refused { code: code.into(), message: "scripted".into() }
}

/// Stores all but the entries of which the test says why not.
fn answer(
    core: &mut Core,
    request: Request,
    now: Duration,
    why: impl Fn(u64) -> Option<&'static str>,
) -> Answered {
    let outcomes = request.flights.iter().map(|flight| match why(flight.entries()[0].record.tag) {
        Some(code) => refused(code),
        None => {
            let lane = &core.lanes[core.map.place(flight.hash_key())];
            stored(lane.shard.as_str(), 1)
        }
    });
    let outcomes = outcomes.collect();
    core.answered(request, Ok(outcomes), now)
}

fn delivered(answered: &Answered) -> Vec<u64> {
    let flights = answered.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Delivered { flight, .. } => Some(flight),
        Outcome::Undelivered(_) => None,
    });
    flights.flat_map(|flight| flight.entries().iter().map(|entry| entry.record.tag)).collect()
}

fn given_up(answered: &Answered) -> Vec<u64> {
    let given_up = answered.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Undelivered(undelivered) => Some(undelivered.record.tag),
        Outcome::Delivered { .. } => None,
    });
    given_up.collect()
}

fn fault(fault: PutFault) -> PutError {
    PutError { call: "PutRecords", fault, message: "scripted".into() }
}

#[test]
fn five_hundred_records_are_one_request_at_once_and_the_next_waits_for_company() {
    let mut core = core(unlimited(), 4);
    for tag in 0..501 {
        admit(&mut core, record(tag, &format!("key-{tag}"), 20), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    assert_eq!(first.flights.len(), 500);
    let Step::Wait(Some(until)) = core.next(Duration::ZERO) else { panic!("it does not wait") };
    assert_eq!(until, core.options.buffer_time);
    let second = request(&mut core, until);
    assert_eq!(second.flights.len(), 1);
    let all: HashSet<_> = tags(&first).into_iter().chain(tags(&second)).collect();
    assert_eq!(all.len(), 501);
}

#[test]
fn exactly_ten_mebibytes_are_one_request_and_one_byte_more_are_two() {
    for more in [0, 1] {
        let mut core = core(unlimited(), 1);
        core.begin_flush();
        for tag in 0..10 {
            admit(&mut core, record(tag, "k", 1 << 20), Duration::ZERO);
        }
        if more == 1 {
            admit(&mut core, record(10, "k", 1), Duration::ZERO);
        }
        let first = request(&mut core, Duration::ZERO);
        assert_eq!((first.flights.len(), first.bytes), (10, MOST_BYTES));
        match core.next(Duration::ZERO) {
            Step::Send(request) => assert_eq!((more, request.bytes), (1, 1)),
            _ => assert_eq!(more, 0),
        }
    }
}

#[test]
fn only_what_failed_is_sent_again_and_by_its_identity() {
    let mut core = core(unlimited(), 2);
    core.begin_flush();
    for tag in 0..6 {
        admit(&mut core, record(tag, &format!("key-{tag}"), 20), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    let throttled = |tag: u64| (tag % 3 == 1).then_some("ProvisionedThroughputExceededException");
    let answered = answer(&mut core, first, MILLI, throttled);
    assert_eq!(delivered(&answered).into_iter().collect::<HashSet<_>>(), HashSet::from([0, 2, 3, 5]));
    assert_eq!((answered.sent.retried, answered.sent.throttled, answered.sent.delivered), (2, 2, 4));
    let Step::Wait(Some(until)) = core.next(MILLI) else { panic!("it does not wait") };
    assert!(until >= 50 * MILLI && until <= 102 * MILLI, "{until:?}");
    let second = request(&mut core, until);
    assert_eq!(tags(&second).into_iter().collect::<HashSet<_>>(), HashSet::from([1, 4]));
    let answered = answer(&mut core, second, until, |_| None);
    assert_eq!(answered.sent.delivered, 2);
    assert_eq!(core.held(), 0);
    assert!(core.is_flushed(0));
}

#[test]
fn what_the_service_refuses_for_good_is_given_up_at_once() {
    let mut core = core(unlimited(), 1);
    core.begin_flush();
    for tag in 0..3 {
        admit(&mut core, record(tag, "k", 20), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    let answered = answer(&mut core, first, MILLI, |tag| (tag == 1).then_some("AccessDeniedException"));
    assert_eq!((delivered(&answered), given_up(&answered)), (vec![0, 2], vec![1]));
    assert_eq!(core.undelivered[0].why.to_string(), "AccessDeniedException: scripted");
    assert_eq!(core.totals.undelivered, 1);
}

#[test]
fn a_retry_takes_its_turn_before_those_who_came_later() {
    let mut core = core(Options { in_flight: 1, ..unlimited() }, 1);
    core.begin_flush();
    for tag in 0..1200 {
        admit(&mut core, record(tag, "k", 20), Duration::ZERO);
    }
    let mut now = Duration::ZERO;
    let first = request(&mut core, now);
    assert_eq!(tags(&first), (0..500).collect::<Vec<_>>());
    answer(&mut core, first, now, |tag| (tag < 3).then_some("InternalFailure"));
    now += SECOND;
    let second = request(&mut core, now);
    assert_eq!(tags(&second)[..4], [0, 1, 2, 500], "by age");
}

#[test]
fn a_record_that_fails_for_too_long_is_given_up() {
    let mut core = core(Options { patience: 10 * SECOND, ..unlimited() }, 1);
    core.begin_flush();
    admit(&mut core, record(7, "k", 20), Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut tries = 0;
    while core.held() > 0 {
        match core.next(now) {
            Step::Send(request) => {
                tries += 1;
                answer(&mut core, request, now, |_| Some("InternalFailure"));
            }
            Step::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
        assert!(now < 20 * SECOND);
    }
    assert!(now >= 10 * SECOND && tries > 5, "{tries} tries in {now:?}");
    let why = core.undelivered[0].why.to_string();
    assert!(why.contains(&format!("InternalFailure: scripted (sent {tries} times)")), "{why}");
}

#[test]
fn in_order_one_of_a_key_is_under_way_and_a_failure_keeps_later_ones_back() {
    let mut core = core(Options { ordered: true, ..unlimited() }, 2);
    core.begin_flush();
    for (tag, key) in ["a", "a", "b", "a", "b"].into_iter().enumerate() {
        admit(&mut core, record(tag as u64, key, 20), Duration::ZERO);
    }
    let mut now = Duration::ZERO;
    let first = request(&mut core, now);
    assert_eq!(tags(&first).into_iter().collect::<HashSet<_>>(), HashSet::from([0, 2]));
    assert!(matches!(core.next(now), Step::Wait(_)), "nothing else may go");
    answer(&mut core, first, now, |tag| (tag == 0).then_some("InternalFailure"));
    let second = request(&mut core, now);
    assert_eq!(tags(&second), [4], "the other key goes on");
    answer(&mut core, second, now, |_| None);
    let mut order = Vec::new();
    while core.held() > 0 {
        match core.next(now) {
            Step::Send(request) => {
                order.extend(tags(&request));
                answer(&mut core, request, now, |_| None);
            }
            Step::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(order, [0, 1, 3]);
}

#[test]
fn a_request_that_is_called_invalid_is_halved_until_the_culprit_is_alone() {
    let mut core = core(unlimited(), 1);
    core.begin_flush();
    for tag in 0..100 {
        admit(&mut core, record(tag, "k", 20), Duration::ZERO);
    }
    let (mut through, mut requests) = (HashSet::new(), 0);
    while core.held() > 0 {
        let request = request(&mut core, Duration::ZERO);
        requests += 1;
        let answered = if tags(&request).contains(&37) {
            core.answered(request, Err(fault(PutFault::Invalid)), Duration::ZERO)
        } else {
            answer(&mut core, request, Duration::ZERO, |_| None)
        };
        through.extend(delivered(&answered));
    }
    assert_eq!((through.len(), core.undelivered.len()), (99, 1));
    assert_eq!(core.undelivered[0].record.tag, 37);
    assert!(requests < 40, "{requests} requests");
}

#[test]
fn an_outage_pauses_everything_and_what_had_no_answer_is_counted() {
    let mut core = core(unlimited(), 1);
    core.begin_flush();
    for tag in 0..3 {
        admit(&mut core, record(tag, "k", 20), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    let answered = core.answered(first, Err(fault(PutFault::Unknown)), Duration::ZERO);
    assert_eq!((answered.sent.ambiguous, answered.sent.retried), (3, 3));
    admit(&mut core, record(3, "k", 20), Duration::ZERO);
    let Step::Wait(Some(until)) = core.next(Duration::ZERO) else { panic!("it does not wait") };
    assert!(until >= 50 * MILLI, "{until:?}");
    let again = request(&mut core, 200 * MILLI);
    assert_eq!(tags(&again), [0, 1, 2, 3]);
    let left = core.end(Why::Ended { maybe_stored: false });
    assert!(left.is_empty(), "all is under way");
    let answered = core.answered(again, Err(fault(PutFault::Unknown)), 200 * MILLI);
    assert_eq!(given_up(&answered), [0, 1, 2, 3]);
    assert!(core.undelivered.iter().all(|one| one.why == Why::Ended { maybe_stored: true }));
    assert!(matches!(core.next(200 * MILLI), Step::Done));
}

#[test]
fn what_the_operator_must_mend_ends_it_with_the_reason() {
    let mut core = core(Options { in_flight: 1, ordered: true, ..unlimited() }, 1);
    core.begin_flush();
    for tag in 0..3 {
        admit(&mut core, record(tag, "k", 20), Duration::ZERO);
    }
    let first = request(&mut core, Duration::ZERO);
    let answered = core.answered(first, Err(fault(PutFault::Fatal)), Duration::ZERO);
    assert_eq!(given_up(&answered), [0, 1, 2]);
    assert!(matches!(core.next(Duration::ZERO), Step::Done));
    let NotTaken::Never(refused) = core.admit(record(3, "k", 20), Duration::ZERO).unwrap_err() else {
        panic!("the queue is not full")
    };
    assert_eq!(refused.why.to_string(), "PutRecords: scripted");
}

#[test]
fn the_queue_is_bounded_by_records_and_bytes_and_takes_one_record_of_any_size() {
    let options = Options { queue_records: 3, queue_bytes: 100, ..unlimited() };
    let mut core = core(options, 1);
    admit(&mut core, record(0, "k", 1000), Duration::ZERO);
    let full = core.admit(record(1, "k", 1), Duration::ZERO);
    assert!(matches!(full, Err(NotTaken::Full(Record { tag: 1, .. }))));
    let big = request(&mut core, Duration::ZERO);
    answer(&mut core, big, Duration::ZERO, |_| None);
    for tag in 1..4 {
        admit(&mut core, record(tag, "k", 1), Duration::ZERO);
    }
    assert!(matches!(core.admit(record(4, "k", 1), Duration::ZERO), Err(NotTaken::Full(_))));
    assert_eq!(tags(&request(&mut core, Duration::ZERO)), [1, 2, 3], "nobody waits for company then");
}

#[test]
fn with_all_requests_under_way_nobody_is_woken_for_nothing() {
    let mut core = core(Options { in_flight: 1, queue_records: 10_000, ..unlimited() }, 1);
    assert!(matches!(core.next(Duration::ZERO), Step::Wait(_)));
    assert!(core.admit(record(0, "k", 10), Duration::ZERO).unwrap(), "the first one sets the clock");
    assert!(matches!(core.next(Duration::ZERO), Step::Wait(_)));
    let woken: Vec<_> =
        (1..500).map(|tag| core.admit(record(tag, "k", 10), Duration::ZERO).unwrap()).collect();
    assert_eq!(woken.iter().position(|woken| *woken), Some(498), "a full request");
    let first = request(&mut core, Duration::ZERO);
    assert!(matches!(core.next(Duration::ZERO), Step::Wait(_)));
    for tag in 500..2_000 {
        assert!(!core.admit(record(tag, "k", 10), Duration::ZERO).unwrap());
    }
    // A pause is waited for even if nothing was there when it began.
    core.answered(first, Err(fault(PutFault::Later)), MILLI);
    let Step::Wait(Some(until)) = core.next(MILLI) else { panic!("it does not wait") };
    assert_eq!(until, core.pause);
    assert_eq!(request(&mut core, until).flights.len(), 500);
}

/// Runs on simulated time, with answers after 5 ms; gives the records sent in each second.
fn simulate(core: &mut Core, until: Duration, mut feed: impl FnMut(&mut Core, Duration)) -> Vec<u64> {
    let mut now = Duration::ZERO;
    let mut sent = vec![0; usize::try_from(until.as_secs()).unwrap()];
    while now < until {
        feed(core, now);
        while let Step::Send(request) = core.next(now) {
            sent[usize::try_from(now.as_secs()).unwrap()] += request.flights.len() as u64;
            answer(core, request, now + 5 * MILLI, |_| None);
        }
        now += MILLI;
    }
    sent
}

#[test]
fn a_shard_gets_no_more_than_it_takes_and_nearly_all_of_it() {
    let mut core = core(Options::default(), 1);
    let mut tag = 0;
    let sent = simulate(&mut core, 10 * SECOND, |core, now| {
        while core.held() < 3_000 {
            admit(core, record(tag, &format!("key-{tag}"), 200), now);
            tag += 1;
        }
    });
    assert!(sent.iter().all(|sent| *sent <= 1_060), "{sent:?}");
    assert!(sent[1..].iter().all(|sent| *sent >= 850), "{sent:?}");
}

#[test]
fn one_busy_shard_keeps_no_other_waiting() {
    let mut core = core(Options { queue_records: 100_000, ..Options::default() }, 2);
    // Hash keys at the ends of the key space belong to the two shards.
    let to = |tag, hash_key| Record { explicit_hash_key: Some(hash_key), ..record(tag, "k", 100) };
    for tag in 0..20_000 {
        admit(&mut core, to(tag, 0), Duration::ZERO);
    }
    admit(&mut core, to(99_999, u128::MAX), Duration::ZERO);
    let mut now = Duration::ZERO;
    let found = loop {
        match core.next(now) {
            Step::Send(request) => {
                let found = tags(&request).contains(&99_999);
                answer(&mut core, request, now, |_| None);
                if found {
                    break now;
                }
            }
            Step::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
    };
    assert!(found <= core.options.buffer_time, "{found:?}");
}

mod reshards;
mod slow;
