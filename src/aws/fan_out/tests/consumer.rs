//! The consumer: missing, gone, of another stream, not to be had; and polling in its place.

use super::*;
use crate::aws::fan_out::peer::{consumer, consumer_of, reply};

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
