//! What the adapter makes of subscriptions that end in every way, against a scripted peer and a
//! clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::peer::{
    CONSUMER_ARN, DATE_SECONDS, Hand, Peer, Pipe, consumer, consumer_of, event, records, reply,
};
use super::{FanOut, locked};
use crate::aws::kinesis::StreamName;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::{
    IteratorStart, KmsTrouble, Received, Reply, Served, Stream, StreamError, StreamErrorKind,
};
use crate::stop::{Stop, StopReason};

const LIMIT: Duration = Duration::from_secs(30);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Scene {
    peer: Peer,
    clock: Arc<Hand>,
    stream: FanOut,
    shard: ShardId,
    stop: Stop,
}

impl Scene {
    fn new() -> Self {
        let (peer, clock) = (Peer::new(), Arc::new(Hand::default()));
        let name = StreamName::Name("clickstream".into());
        let random = fastrand::Rng::with_seed(7);
        let stream = FanOut::new(&peer.clients, peer.blocking(), clock.clone(), name, "keeper", random);
        let stop = Stop::new();
        stream.describe(&stop).unwrap();
        Self { peer, clock, stream, shard: ShardId::new("shardId-000000000000"), stop }
    }

    fn follow(&self) -> String {
        self.stream.follow(&self.shard, &IteratorStart::TrimHorizon, &self.stop).unwrap()
    }

    fn receive(&self, iterator: &str) -> Result<Received, StreamError> {
        self.stream.receive(&self.shard, iterator, &self.stop)
    }

    /// Followed and subscribed, with the service's end of it.
    fn subscribed(&self) -> (String, Pipe) {
        let iterator = self.follow();
        self.nothing(&iterator);
        let pipe = self.peer.pipe();
        (iterator, pipe)
    }

    /// There is nothing now; for how long.
    fn nothing(&self, iterator: &str) -> Duration {
        match self.receive(iterator) {
            Ok(Received::NothingYet(wait)) => wait,
            other => panic!("{other:?}"),
        }
    }

    /// Looks whenever it is nudged, until there is more than nothing. Nothing but a nudge ends a wait.
    fn outcome(&self, iterator: &str) -> Result<Served<Reply>, StreamError> {
        loop {
            let seen = self.stop.seen();
            match self.receive(iterator) {
                Ok(Received::Reply(reply)) => return Ok(reply),
                Ok(Received::NothingYet(_)) => self.stop.wait(seen, LIMIT),
                Err(error) => return Err(error),
            }
            assert_ne!(self.stop.seen(), seen, "nothing came and nobody nudged");
        }
    }

    fn reply(&self, iterator: &str) -> Served<Reply> {
        self.outcome(iterator).unwrap()
    }

    fn failure(&self, iterator: &str) -> StreamError {
        self.outcome(iterator).unwrap_err()
    }

    /// Lets the time pass in which AWS takes no other subscription, and subscribes.
    fn subscribe_again(&self, iterator: &str) -> Pipe {
        self.clock.advance(seconds(6));
        self.nothing(iterator);
        self.peer.pipe()
    }

    /// Where the last subscription began.
    fn position(&self) -> serde_json::Value {
        self.peer.asked("SubscribeToShard").pop().unwrap()["StartingPosition"].clone()
    }
}

fn after(number: &str) -> serde_json::Value {
    json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": number})
}

fn numbers(reply: &Served<Reply>) -> Vec<&str> {
    reply.value.records.iter().map(|record| record.sequence_number.as_str()).collect()
}

#[test]
fn a_missing_consumer_is_registered_and_waited_for() {
    let scene = Scene::new();
    scene.peer.answer("DescribeStreamConsumer", consumer("CREATING"));
    scene.peer.refuse_once("DescribeStreamConsumer", "ResourceNotFoundException");
    let iterator = scene.follow();
    for calls in [1, 1, 2] {
        scene.nothing(&iterator);
        assert_eq!(scene.peer.asked("DescribeStreamConsumer").len(), calls);
        if calls == 1 {
            scene.clock.advance(seconds(1) / 2);
        }
    }
    assert_eq!(scene.peer.asked("RegisterStreamConsumer")[0]["ConsumerName"], "keeper");
    scene.peer.answer("DescribeStreamConsumer", consumer("ACTIVE"));
    scene.clock.advance(seconds(1));
    scene.nothing(&iterator);
    let subscribed = scene.peer.asked("SubscribeToShard");
    assert_eq!(subscribed[0]["ConsumerARN"], CONSUMER_ARN);
    assert_eq!(subscribed[0]["ShardId"], scene.shard.as_str());
    assert_eq!(scene.position(), json!({"Type": "TRIM_HORIZON"}));
    assert_eq!(scene.peer.asked("RegisterStreamConsumer").len(), 1);
}

#[test]
fn one_thread_looks_for_the_consumer_and_the_others_come_again() {
    let scene = Scene::new();
    scene.peer.hold("DescribeStreamConsumer");
    let iterator = scene.follow();
    let other = ShardId::new("shardId-000000000001");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| scene.receive(&iterator));
        scene.peer.wait_asked("DescribeStreamConsumer", 1);
        let second = scene.stream.follow(&other, &IteratorStart::TrimHorizon, &scene.stop).unwrap();
        let looked = scene.stream.receive(&other, &second, &scene.stop);
        assert!(matches!(looked, Ok(Received::NothingYet(_))), "{looked:?}");
        scene.peer.let_go();
        assert!(matches!(first.join().unwrap(), Ok(Received::NothingYet(_))));
        assert!(matches!(scene.stream.receive(&other, &second, &scene.stop), Ok(Received::NothingYet(_))));
    });
    assert_eq!(scene.peer.asked("DescribeStreamConsumer").len(), 1);
    assert_eq!(scene.peer.asked("SubscribeToShard").len(), 2);
}

#[test]
fn events_come_by_nudges_and_a_subscription_that_is_over_goes_on_after_its_continuation() {
    let scene = Scene::new();
    let (iterator, pipe) = scene.subscribed();
    pipe.event(&event(&[1, 2], "5"));
    let first = scene.reply(&iterator);
    assert_eq!(numbers(&first), ["1", "2"]);
    assert!(first.value.pushed);
    assert_eq!(first.value.next_iterator.as_deref(), Some(iterator.as_str()));
    assert_eq!(first.value.bytes, 8);
    // Five minutes are over.
    pipe.end();
    scene.clock.advance(seconds(4));
    let wait = loop {
        let wait = scene.nothing(&iterator);
        if wait < seconds(3) {
            break wait;
        }
    };
    assert!(wait >= seconds(1), "no other call within five seconds of one that succeeded");
    let pipe = scene.subscribe_again(&iterator);
    assert_eq!(scene.position(), after("5"));
    pipe.event(&event(&[], "9"));
    assert!(scene.reply(&iterator).value.records.is_empty());
    pipe.end();
    scene.clock.advance(seconds(6));
    while !scene.peer.has_pipe() {
        scene.nothing(&iterator);
    }
    assert_eq!(scene.position(), after("9"), "it advances without a record too");
}

#[test]
fn a_silent_subscription_is_given_up() {
    let scene = Scene::new();
    let (iterator, pipe) = scene.subscribed();
    scene.clock.advance(seconds(300));
    pipe.event(&event(&[1], "1"));
    // A pause of the reader's own is not the service's silence: what has come is taken first.
    assert_eq!(numbers(&scene.reply(&iterator)), ["1"]);
    scene.nothing(&iterator);
    scene.clock.advance(seconds(19));
    assert!(scene.nothing(&iterator) <= seconds(1));
    scene.clock.advance(seconds(1));
    let error = scene.failure(&iterator);
    assert_eq!(error.kind, StreamErrorKind::NoAnswer);
    assert!(error.message.contains("silent for 20 s"), "{error}");
    assert_eq!(locked(&scene.stream.lanes)[0].made, 1, "the connection may be dead");
    scene.subscribe_again(&iterator);
    assert_eq!(scene.position(), after("1"));
}

#[test]
fn a_cut_subscription_is_made_again() {
    let scene = Scene::new();
    let (iterator, pipe) = scene.subscribed();
    pipe.event(&event(&[1], "3"));
    scene.reply(&iterator);
    pipe.cut();
    assert_eq!(scene.failure(&iterator).kind, StreamErrorKind::NoAnswer);
    let pipe = scene.subscribe_again(&iterator);
    assert_eq!(scene.position(), after("3"));
    // Not a single event: that is no regular end.
    pipe.end();
    assert_eq!(scene.failure(&iterator).kind, StreamErrorKind::NoAnswer);
}

#[test]
fn errors_between_the_events_end_a_subscription_each_in_its_kind() {
    let scene = Scene::new();
    let (iterator, mut pipe) = scene.subscribed();
    for (code, kind) in [
        ("ResourceInUseException", StreamErrorKind::Other),
        ("KMSDisabledException", StreamErrorKind::Kms(KmsTrouble::Disabled)),
        ("KMSInvalidStateException", StreamErrorKind::Kms(KmsTrouble::InvalidState)),
        ("KMSAccessDeniedException", StreamErrorKind::Kms(KmsTrouble::AccessDenied)),
        ("KMSNotFoundException", StreamErrorKind::Kms(KmsTrouble::NotFound)),
        ("KMSOptInRequired", StreamErrorKind::Kms(KmsTrouble::OptInRequired)),
        ("KMSThrottlingException", StreamErrorKind::KmsThrottled),
        ("InternalFailureException", StreamErrorKind::Other),
        ("SomethingNew", StreamErrorKind::Other),
    ] {
        pipe.exception(code);
        let error = scene.failure(&iterator);
        assert_eq!(error.kind, kind, "{code}: {error}");
        pipe = scene.subscribe_again(&iterator);
    }
}

#[test]
fn a_shard_ends_with_its_children_only() {
    let scene = Scene::new();
    let (iterator, pipe) = scene.subscribed();
    let child = json!({"ShardId": "shardId-000000000001", "ParentShards": ["shardId-000000000000"],
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"}});
    // Some servers name the children while there are records to come.
    let mut early = event(&[1], "1");
    early["ChildShards"] = json!([child]);
    pipe.event(&early);
    let reply = scene.reply(&iterator);
    assert!(reply.value.next_iterator.is_some() && reply.value.children.is_empty());
    pipe.event(&json!({"Records": records(&[2]), "ChildShards": [child], "MillisBehindLatest": 0}));
    let last = scene.reply(&iterator);
    assert_eq!(numbers(&last), ["2"]);
    assert_eq!(
        (last.value.next_iterator, last.value.children),
        (None, vec![ShardId::new("shardId-000000000001")])
    );
    let gone = scene.receive(&iterator).unwrap_err();
    assert_eq!(gone.kind, StreamErrorKind::ExpiredIterator);
}

#[test]
fn an_empty_continuation_without_children_is_no_end_and_never_kept() {
    let scene = Scene::new();
    let (iterator, pipe) = scene.subscribed();
    pipe.event(&event(&[1], "4"));
    scene.reply(&iterator);
    pipe.event(&event(&[], ""));
    let error = scene.failure(&iterator);
    assert!(error.message.contains("neither"), "{error}");
    let pipe = scene.subscribe_again(&iterator);
    assert_eq!(scene.position(), after("4"));
    pipe.event(&json!({"Records": records(&[5, 6]), "MillisBehindLatest": 0}));
    let reply = scene.reply(&iterator);
    assert_eq!((numbers(&reply), reply.value.next_iterator.is_some()), (vec!["5", "6"], true));
    scene.subscribe_again(&iterator);
    assert_eq!(scene.position(), after("6"));
}

#[test]
fn an_event_that_lay_in_a_buffer_is_complete_to_when_the_buffer_was_last_empty() {
    let scene = Scene::new();
    let (iterator, pipe) = scene.subscribed();
    let date = Timestamp::from_seconds(DATE_SECONDS);
    scene.clock.advance(seconds(15));
    scene.nothing(&iterator);
    let mut behind = event(&[2], "2");
    behind["MillisBehindLatest"] = json!(3000);
    pipe.events([&event(&[1], "1"), &behind]);
    scene.clock.advance(seconds(4));
    // The first look may come before the events do, and finds nothing at 19 s.
    let first = scene.reply(&iterator);
    assert_eq!(first.at, date + seconds(19));
    let last_empty = [seconds(15), seconds(19)].map(|empty| date + empty - seconds(10));
    assert!(last_empty.contains(&first.value.complete_to), "{:?}", first.value.complete_to);
    scene.clock.advance(seconds(1000));
    let second = scene.reply(&iterator);
    assert_eq!(second.at, date + seconds(1019));
    assert_eq!(second.value.complete_to, first.value.complete_to - seconds(3));
}

#[test]
fn a_refused_position_is_the_workers_or_ours() {
    let scene = Scene::new();
    scene.peer.refuse_once("SubscribeToShard", "InvalidArgumentException");
    let iterator = scene.follow();
    assert_eq!(scene.receive(&iterator).unwrap_err().kind, StreamErrorKind::PositionRefused);
    let iterator = scene.follow();
    scene.clock.advance(seconds(1));
    scene.nothing(&iterator);
    let pipe = scene.peer.pipe();
    pipe.event(&event(&[1], "3"));
    scene.reply(&iterator);
    pipe.end();
    scene.peer.refuse_once("SubscribeToShard", "InvalidArgumentException");
    scene.clock.advance(seconds(6));
    assert_eq!(scene.failure(&iterator).kind, StreamErrorKind::ExpiredIterator);
}

#[test]
fn a_consumer_that_is_gone_is_found_anew_and_the_stream_looked_at_before_any_shard_goes_on() {
    for made_again in [false, true] {
        let scene = Scene::new();
        let (iterator, pipe) = scene.subscribed();
        pipe.event(&event(&[1], "1"));
        scene.reply(&iterator);
        if made_again {
            scene.peer.describe(1_800_000_000);
        }
        let arn = CONSUMER_ARN.replace("1700000000", "1800000001");
        scene.peer.answer("DescribeStreamConsumer", consumer_of(&arn, "ACTIVE"));
        pipe.exception("ResourceNotFoundException");
        assert_eq!(scene.failure(&iterator).kind, StreamErrorKind::InvalidArgument);
        // Each shard is sent to look once, also one that was never followed before.
        let other = ShardId::new("shardId-000000000001");
        for shard in [&scene.shard, &other] {
            let iterator = scene.stream.follow(shard, &IteratorStart::TrimHorizon, &scene.stop).unwrap();
            scene.clock.advance(seconds(6));
            let refused = scene.stream.receive(shard, &iterator, &scene.stop).unwrap_err();
            assert_eq!(refused.kind, StreamErrorKind::InvalidArgument);
            assert_eq!(scene.peer.asked("SubscribeToShard").len(), 1, "{shard}");
        }
        scene.nothing(&scene.follow());
        assert_eq!(scene.peer.asked("SubscribeToShard")[1]["ConsumerARN"], arn.as_str());
    }
}

#[test]
fn a_shard_that_is_gone_while_its_consumer_is_not_is_told() {
    let scene = Scene::new();
    let (iterator, pipe) = scene.subscribed();
    scene.peer.refuse("SubscribeToShard", "ResourceNotFoundException");
    pipe.exception("ResourceNotFoundException");
    assert_eq!(scene.failure(&iterator).kind, StreamErrorKind::InvalidArgument);
    let iterator = scene.follow();
    scene.clock.advance(seconds(6));
    assert_eq!(scene.receive(&iterator).unwrap_err().kind, StreamErrorKind::NotFound);
}

#[test]
fn a_stream_made_again_before_the_consumer_was_found_is_looked_at() {
    let scene = Scene::new();
    scene.peer.describe(1_800_000_000);
    let iterator = scene.follow();
    assert_eq!(scene.receive(&iterator).unwrap_err().kind, StreamErrorKind::InvalidArgument);
    assert!(scene.peer.asked("SubscribeToShard").is_empty());
}

#[test]
fn fan_out_that_fails_for_a_minute_gives_way_to_polling_and_comes_back() {
    let scene = Scene::new();
    let (iterator, pipe) = scene.subscribed();
    pipe.event(&event(&[1, 2], "5"));
    scene.reply(&iterator);
    scene.peer.refuse("SubscribeToShard", "AccessDeniedException");
    pipe.cut();
    assert_eq!(scene.failure(&iterator).kind, StreamErrorKind::NoAnswer);
    for _ in 0..9 {
        scene.clock.advance(seconds(6));
        let error = scene.failure(&iterator);
        assert_eq!(error.kind, StreamErrorKind::AccessDenied);
        assert!(error.message.contains("kinesis:SubscribeToShard"), "{error}");
    }
    assert!(scene.peer.asked("GetRecords").is_empty());
    scene.peer.answer("GetRecords", reply(&[3, 4]));
    scene.clock.advance(seconds(6));
    let polled = scene.reply(&iterator);
    assert_eq!((numbers(&polled), polled.value.pushed), (vec!["3", "4"], false));
    let started = &scene.peer.asked("GetShardIterator")[0];
    let trouble = scene.stream.trouble(&scene.shard).unwrap();
    assert!(trouble.contains("AccessDenied") && trouble.contains("is polled"), "{trouble}");
    assert_eq!(started["StartingSequenceNumber"], "2", "a continuation need not be a record's number");
    scene.peer.answer("GetRecords", reply(&[]));
    // Tried again after some minutes, in vain; polling goes on.
    let refused = scene.peer.asked("SubscribeToShard").len();
    scene.clock.advance(seconds(149));
    scene.reply(&iterator);
    assert_eq!(scene.peer.asked("SubscribeToShard").len(), refused);
    scene.clock.advance(seconds(151));
    scene.reply(&iterator);
    assert_eq!(scene.peer.asked("SubscribeToShard").len(), refused + 1);
    scene.peer.relent("SubscribeToShard");
    scene.clock.advance(seconds(300));
    scene.nothing(&iterator);
    assert_eq!(scene.position(), after("4"));
    assert_eq!(scene.stream.trouble(&scene.shard), None);
    // It is on trial until it has lasted.
    let pipe = scene.peer.pipe();
    pipe.event(&event(&[5], "5"));
    assert!(scene.reply(&iterator).value.pushed);
    pipe.exception("InternalFailureException");
    assert!(!scene.reply(&iterator).value.pushed);
    scene.clock.advance(seconds(300));
    scene.nothing(&iterator);
    let pipe = scene.peer.pipe();
    scene.clock.advance(seconds(31));
    pipe.event(&event(&[6], "6"));
    scene.reply(&iterator);
    pipe.exception("InternalFailureException");
    assert_eq!(scene.failure(&iterator).kind, StreamErrorKind::Other);
}

#[test]
fn a_subscription_that_is_taken_away_again_and_again_gives_way_to_polling() {
    let scene = Scene::new();
    let (iterator, mut pipe) = scene.subscribed();
    for taken in 0.. {
        pipe.event(&event(&[], "1"));
        scene.reply(&iterator);
        pipe.exception("ResourceInUseException");
        match scene.outcome(&iterator) {
            Ok(polled) => {
                assert!(!polled.value.pushed);
                assert!(taken >= 9, "after {taken} times");
                return;
            }
            Err(error) => assert_eq!(error.kind, StreamErrorKind::Other),
        }
        pipe = scene.subscribe_again(&iterator);
    }
}

#[test]
fn a_subscription_of_an_earlier_process_is_waited_out() {
    let scene = Scene::new();
    scene.peer.refuse_once("SubscribeToShard", "ResourceInUseException");
    let iterator = scene.follow();
    assert!(scene.nothing(&iterator) >= seconds(5));
    scene.subscribe_again(&iterator);
    assert_eq!(scene.peer.asked("SubscribeToShard").len(), 2);
}

#[test]
fn a_registration_that_fails_for_a_minute_gives_way_to_polling() {
    let scene = Scene::new();
    scene.peer.refuse("DescribeStreamConsumer", "ResourceNotFoundException");
    scene.peer.refuse("RegisterStreamConsumer", "AccessDeniedException");
    let iterator = scene.follow();
    let error = scene.receive(&iterator).unwrap_err();
    assert!(error.message.contains("kinesis:RegisterStreamConsumer"), "{error}");
    scene.clock.advance(seconds(59));
    scene.receive(&iterator).unwrap_err();
    scene.clock.advance(seconds(1));
    assert!(!scene.reply(&iterator).value.pushed);
}

#[test]
fn a_stop_ends_it_and_an_earlier_iterator_is_worth_nothing() {
    let scene = Scene::new();
    let (iterator, _pipe) = scene.subscribed();
    let newer = scene.follow();
    assert_eq!(scene.receive(&iterator).unwrap_err().kind, StreamErrorKind::ExpiredIterator);
    assert!(scene.nothing(&newer) >= seconds(4), "the rule of five seconds outlives it");
    scene.clock.advance(seconds(6));
    scene.stop.stop(StopReason::Requested);
    assert_eq!(scene.receive(&newer).unwrap_err().kind, StreamErrorKind::Stopped);
}

#[test]
fn nothing_is_received_while_nobody_looks_and_what_nobody_wants_is_dropped() {
    let scene = Scene::new();
    let (iterator, pipe) = scene.subscribed();
    pipe.event(&event(&[1], "1"));
    scene.reply(&iterator);
    assert!(pipe.blocks_within(64 << 20), "64 MB went somewhere");
    // Another shard is subscribed six minutes later.
    scene.clock.advance(seconds(360));
    let other = ShardId::new("shardId-000000000001");
    let second = scene.stream.follow(&other, &IteratorStart::TrimHorizon, &scene.stop).unwrap();
    scene.stream.receive(&other, &second, &scene.stop).unwrap();
    assert!(pipe.is_closed());
    scene.nothing(&iterator);
    assert_eq!(scene.position(), after("1"));
}
