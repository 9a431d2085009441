use std::sync::Mutex;
use std::sync::mpsc::{Sender, sync_channel};

use super::*;
use crate::metrics::test_clock::TestClock;
use crate::model::batch::SealReason;
use crate::model::metric::{Counter, Gauge, Service, Shape};
use crate::ports::Meter;

const DEADLINE: Duration = Duration::from_secs(30);

/// Hands every push to the test, and answers as the test said.
struct FakeSink {
    shape: Shape,
    pushed: Mutex<Sender<Vec<Number>>>,
    answers: Mutex<Vec<Result<(), PushError>>>,
}

impl MetricSink for FakeSink {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn push(&self, numbers: &[Number], _stop: &Stop) -> Result<(), PushError> {
        self.pushed.lock().unwrap().send(numbers.to_vec()).unwrap();
        self.answers.lock().unwrap().pop().unwrap_or(Ok(()))
    }
}

struct Stage {
    registry: Registry,
    clock: Arc<TestClock>,
    sink: Arc<FakeSink>,
    pushed: Receiver<Vec<Number>>,
    meter: Arc<dyn Meter>,
}

fn stage(shape: Shape) -> Stage {
    let clock = Arc::new(TestClock::default());
    let registry = Registry::new("clickstream".into(), true, Arc::clone(&clock) as Arc<dyn Clock>);
    let (sender, pushed) = channel();
    let sink = Arc::new(FakeSink { shape, pushed: Mutex::new(sender), answers: Mutex::default() });
    let meter = registry.shard(&ShardId::new("shardId-0"));
    Stage { registry, clock, sink, pushed, meter }
}

impl Stage {
    fn feed(&self) -> Feed {
        Feed::new(self.registry.clone(), Arc::clone(&self.sink) as Arc<dyn MetricSink>)
    }

    fn push(&self, feed: &mut Feed) -> Vec<Number> {
        feed.push(&Stop::new());
        self.pushed.try_recv().unwrap()
    }

    fn fail_next(&self, taken: usize) {
        self.sink.answers.lock().unwrap().push(Err(PushError { kind: "busy", taken, message: "no".into() }));
    }
}

/// What was said of a number, with and without a shard.
fn said(numbers: &[Number], cloudwatch: &str) -> Vec<(bool, Value)> {
    let of_it = numbers.iter().filter(|number| number.cloudwatch == cloudwatch);
    of_it.map(|number| (number.shard.is_some(), number.value.clone())).collect()
}

#[test]
fn counters_are_pushed_as_what_is_new() {
    let stage = stage(Shape::TAGGED);
    let mut feed = stage.feed();
    stage.meter.count(Counter::RecordsRead, 3);
    stage.meter.set(Gauge::SpoolBytes, 9.0);
    stage.meter.upload(Duration::from_millis(95));
    let first = stage.push(&mut feed);
    assert_eq!(said(&first, "RecordsRead"), [(true, Value::Delta(3))]);
    assert_eq!(said(&first, "SpoolBytes"), [(true, Value::Gauge(9.0))]);
    assert_eq!(said(&first, "UploadTime"), [(true, Value::Distribution(vec![(0.095, 1)]))]);
    stage.meter.count(Counter::RecordsRead, 2);
    let second = stage.push(&mut feed);
    assert_eq!(said(&second, "RecordsRead"), [(true, Value::Delta(2))]);
    assert_eq!(said(&second, "SpoolBytes"), [(true, Value::Gauge(9.0))]);
    assert_eq!(said(&second, "UploadTime"), []);
}

#[test]
fn what_was_not_taken_comes_again() {
    let stage = stage(Shape::TAGGED);
    let mut feed = stage.feed();
    stage.meter.count(Counter::RecordsRead, 3);
    stage.meter.upload(Duration::from_millis(95));
    stage.fail_next(0);
    stage.push(&mut feed);
    stage.meter.count(Counter::RecordsRead, 4);
    stage.meter.upload(Duration::from_millis(95));
    let second = stage.push(&mut feed);
    assert_eq!(said(&second, "RecordsRead"), [(true, Value::Delta(7))]);
    assert_eq!(said(&second, "UploadTime"), [(true, Value::Distribution(vec![(0.095, 2)]))]);
}

#[test]
fn what_was_taken_before_a_failure_does_not_come_again() {
    let stage = stage(Shape::TAGGED);
    let mut feed = stage.feed();
    stage.meter.count(Counter::RecordsRead, 3);
    stage.meter.count(Counter::Gaps, 1);
    let first = stage.push(&mut stage.feed());
    let records = first.iter().position(|number| number.cloudwatch == "RecordsRead").unwrap();
    stage.fail_next(records + 1);
    stage.push(&mut feed);
    let second = stage.push(&mut feed);
    assert_eq!(said(&second, "RecordsRead"), [(true, Value::Delta(0))]);
    assert_eq!(said(&second, "Gaps"), [(true, Value::Delta(1))]);
}

#[test]
fn dimensions_come_without_labels_and_with_totals() {
    let stage = stage(Shape::DIMENSIONS);
    let mut feed = stage.feed();
    stage.meter.sealed(SealReason::Age);
    stage.meter.sealed(SealReason::Hour);
    stage.meter.error(Service::S3, "busy");
    stage.registry.error(Service::Kinesis, "not_found");
    stage.registry.shards_running(1);
    let numbers = stage.push(&mut feed);
    assert!(numbers.iter().all(|number| number.labels.is_empty()));
    assert_eq!(said(&numbers, "BatchesSealed"), [(true, Value::Delta(2)), (false, Value::Delta(2))]);
    assert_eq!(said(&numbers, "Errors"), [(true, Value::Delta(1)), (false, Value::Delta(2))]);
    assert_eq!(said(&numbers, "ShardsRunning"), [(false, Value::Gauge(1.0))]);
}

#[test]
fn a_shard_long_ended_is_forgotten() {
    let stage = stage(Shape::DIMENSIONS);
    let mut feed = stage.feed();
    let shard = ShardId::new("shardId-1");
    stage.registry.shard(&shard).count(Counter::RecordsRead, 5);
    stage.push(&mut feed);
    stage.registry.retire(&shard);
    stage.clock.pass(Duration::from_secs(7200));
    let numbers = stage.push(&mut feed);
    assert_eq!(said(&numbers, "RecordsRead"), [(true, Value::Delta(0)), (false, Value::Delta(0))]);
    assert!(feed.taken.keys().all(|series| series.shard.as_ref() != Some(&shard)));
}

#[test]
fn failures_are_counted_and_a_panic_is_one() {
    struct Panics;
    impl MetricSink for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }
        fn shape(&self) -> Shape {
            Shape::TAGGED
        }
        fn push(&self, _: &[Number], _: &Stop) -> Result<(), PushError> {
            panic!("on purpose")
        }
    }
    let stage = stage(Shape::TAGGED);
    stage.fail_next(0);
    stage.push(&mut stage.feed());
    Feed::new(stage.registry.clone(), Arc::new(Panics)).push(&Stop::new());
    let errors = stage.registry.snapshot().total.errors;
    assert_eq!(errors.into_iter().collect::<Vec<_>>(), [(("fake", "busy"), 1), (("panics", "panic"), 1)]);
}

#[test]
fn the_log_is_told_once_in_ten_minutes() {
    let stage = stage(Shape::TAGGED);
    let mut feed = stage.feed();
    let mut told = Vec::new();
    for _minute in 0..21 {
        stage.fail_next(0);
        let before = feed.warned;
        stage.push(&mut feed);
        told.push(feed.warned != before);
        stage.clock.pass(EVERY);
    }
    let minutes: Vec<_> =
        told.iter().enumerate().filter(|(_, told)| **told).map(|(minute, _)| minute).collect();
    assert_eq!(minutes, [0, 10, 20]);
}

#[test]
fn a_thread_pushes_every_minute_and_once_more_at_the_end() {
    let stage = stage(Shape::TAGGED);
    let stop = Stop::new();
    let sinks = vec![Arc::clone(&stage.sink) as Arc<dyn MetricSink>];
    let pusher = Pusher::start(&stage.registry, sinks, EVERY, &stop).unwrap();
    stage.meter.count(Counter::RecordsRead, 1);
    // The thread's minute may begin after the first of these.
    let mut tries = std::iter::repeat_with(|| {
        stage.clock.pass(EVERY);
        stop.nudge();
        stage.pushed.recv_timeout(Duration::from_millis(10)).ok()
    });
    let first = tries.by_ref().take(3000).flatten().next().expect("a push");
    assert_eq!(said(&first, "RecordsRead"), [(true, Value::Delta(1))]);
    stage.meter.count(Counter::RecordsRead, 2);
    stop.stop(StopReason::Requested);
    let mut rest = 0;
    pusher.join(DEADLINE);
    while let Ok(numbers) = stage.pushed.try_recv() {
        for (_, value) in said(&numbers, "RecordsRead") {
            let Value::Delta(more) = value else { panic!("{value:?}") };
            rest += more;
        }
    }
    assert_eq!(rest, 2);
}

#[test]
fn a_last_push_that_hangs_is_interrupted() {
    struct Hangs(std::sync::mpsc::SyncSender<()>);
    impl MetricSink for Hangs {
        fn name(&self) -> &'static str {
            "hangs"
        }
        fn shape(&self) -> Shape {
            Shape::TAGGED
        }
        fn push(&self, _: &[Number], stop: &Stop) -> Result<(), PushError> {
            while stop.reason().is_none() {
                stop.wait(stop.seen(), Duration::from_millis(5));
            }
            self.0.send(()).unwrap();
            Err(PushError { kind: "stopped", taken: 0, message: "interrupted".into() })
        }
    }
    let stage = stage(Shape::TAGGED);
    let stop = Stop::new();
    let (sender, interrupted) = sync_channel(1);
    let pusher = Pusher::start(&stage.registry, vec![Arc::new(Hangs(sender))], EVERY, &stop).unwrap();
    stop.stop(StopReason::Requested);
    pusher.join(Duration::ZERO);
    interrupted.recv_timeout(DEADLINE).unwrap();
}
