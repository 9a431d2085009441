//! The stream, read by enhanced fan-out: each shard is subscribed, and Kinesis pushes its records.
//!
//! Owns when a shard is subscribed, what the end of a subscription means, and when polling takes its
//! place. Everything that is not reading on (descriptions, listings, the test of what was trimmed) is
//! [`KinesisStream`]'s. Keeps no position beyond the process, and does not pace the reader.
//!
//! No thread and no task receives: a look takes what is there, and a nudge of the shard's stop asks
//! for the next. So nothing is received while the shard has no room.

mod consumer;
mod line;
mod subscription;

#[cfg(test)]
mod peer;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_kinesis::Client;

use self::consumer::{Consumer, Found};
use self::line::{Line, Way};
use self::subscription::{CALL, Event, Look, SILENCE, Subscription};
use super::blocking::Blocking;
use super::clients::Clients;
use super::kinesis::{KinesisStream, StreamName};
use crate::model::shard::{Shard, ShardId, StreamDescription};
use crate::ports::{Clock, IteratorStart, Received, Reply, Served, Stream, StreamError, StreamErrorKind};
use crate::stop::Stop;

/// Shards that share a connection. One HTTP/2 connection carries about a hundred streams and has one
/// window (5 MB) for all: a few shards that have no room must not hold up many others.
const SHARDS_A_LANE: usize = 16;

/// Look again so soon even if nothing wakes the shard.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How often subscriptions are looked for that nobody looks at.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);

/// One stream, read as one consumer.
pub struct FanOut {
    polling: KinesisStream,
    blocking: Blocking,
    clock: Arc<dyn Clock>,
    clients: Clients,
    /// The stream's ARN if the configuration gives it: it tells the region.
    arn: Option<String>,
    consumer: Consumer,
    lanes: Mutex<Vec<Lane>>,
    lines: Mutex<HashMap<ShardId, Arc<Mutex<Line>>>>,
    swept: Mutex<Duration>,
    numbered: AtomicUsize,
    generations: AtomicU64,
    random: Mutex<fastrand::Rng>,
}

/// The connections of a few shards.
#[derive(Clone)]
struct Lane {
    client: Client,
    /// How many there were before in its place.
    made: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FanOut {
    /// Connects to nothing yet; the consumer is looked for when the first shard is followed.
    pub fn new(
        clients: &Clients,
        blocking: Blocking,
        clock: Arc<dyn Clock>,
        name: StreamName,
        consumer: &str,
        random: fastrand::Rng,
    ) -> Self {
        let arn = match &name {
            StreamName::Arn(arn) => Some(arn.clone()),
            StreamName::Name(_) => None,
        };
        Self {
            polling: KinesisStream::new(clients, blocking.clone(), Arc::clone(&clock), name),
            blocking,
            clock,
            clients: clients.clone(),
            arn,
            consumer: Consumer::new(consumer),
            lanes: Mutex::default(),
            lines: Mutex::default(),
            swept: Mutex::default(),
            numbered: AtomicUsize::new(0),
            generations: AtomicU64::new(0),
            random: Mutex::new(random),
        }
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn lane(&self, number: usize) -> Lane {
        let mut lanes = locked(&self.lanes);
        while lanes.len() <= number {
            lanes.push(self.new_lane(0));
        }
        lanes[number].clone()
    }

    fn new_lane(&self, made: u64) -> Lane {
        Lane { client: self.clients.kinesis_apart(self.arn.as_deref()), made }
    }

    /// A connection may be dead and not know it: HTTP/2 would go on using it. The next subscriptions
    /// of its shards get a new one.
    fn leave_connection(&self, line: &Line) {
        let mut lanes = locked(&self.lanes);
        if let Some(lane) = lanes.get_mut(line.lane).filter(|lane| lane.made == line.lane_made) {
            *lane = self.new_lane(line.lane_made + 1);
        }
    }

    fn line(&self, shard: &ShardId) -> Option<Arc<Mutex<Line>>> {
        locked(&self.lines).get(shard).cloned()
    }

    fn new_line(&self, shard: &ShardId) -> Arc<Mutex<Line>> {
        let lane = self.numbered.fetch_add(1, Ordering::Relaxed) / SHARDS_A_LANE;
        let random = locked(&self.random).fork();
        Arc::new(Mutex::new(Line::new(shard.clone(), lane, random)))
    }

    /// Drops the subscriptions that nobody looks at (shards that have ended, or are held up for
    /// long): what they have brought fills the window that they share with others.
    fn sweep(&self) {
        let now = self.now();
        let mut swept = locked(&self.swept);
        if now.saturating_sub(*swept) < BETWEEN_SWEEPS {
            return;
        }
        *swept = now;
        let lines: Vec<_> = locked(&self.lines).values().cloned().collect();
        for line in lines {
            // One that is locked is in use.
            if let Ok(mut line) = line.try_lock() {
                line.sweep(now);
            }
        }
    }

    /// Looks at the subscription, or subscribes, or polls.
    fn read_on(&self, line: &mut Line, stop: &Stop) -> Result<Received, StreamError> {
        match &line.way {
            Way::Subscribed(Some(_)) => self.look(line, stop),
            Way::Subscribed(None) => self.subscribe(line, stop),
            Way::Polled { back_at, .. } => {
                if *back_at <= self.now() && self.go_back(line, stop)? {
                    return self.look(line, stop);
                }
                self.poll(line, stop)
            }
        }
    }

    /// Subscribes, as soon as that is allowed and the consumer is there.
    fn subscribe(&self, line: &mut Line, stop: &Stop) -> Result<Received, StreamError> {
        let early = line.next_call.saturating_sub(self.now());
        if !early.is_zero() {
            return Ok(Received::NothingYet(early));
        }
        match self.try_subscribing(line, stop) {
            Ok(Tried::Subscribed) => self.look(line, stop),
            Ok(Tried::NotYet(wait)) => self.not_yet(line, wait, stop),
            Err(error) => self.failed(line, error, stop),
        }
    }

    /// One try. What AWS says of the position is told as the kind of the error.
    fn try_subscribing(&self, line: &mut Line, stop: &Stop) -> Result<Tried, StreamError> {
        let found = self.consumer.find(&self.polling, &*self.clock, line.random(), stop)?;
        let consumer = match found {
            Found::Ready(consumer) => consumer,
            Found::NotYet(wait) => return Ok(Tried::NotYet(wait)),
        };
        if line.epoch != consumer.epoch {
            line.epoch = consumer.epoch;
            let message = "the fan-out consumer was found anew, the stream may be another".to_owned();
            return Err(StreamError { call: CALL, kind: StreamErrorKind::InvalidArgument, message });
        }
        line.calls(self.now());
        self.sweep();
        let lane = self.lane(line.lane);
        line.lane_made = lane.made;
        let start = line.subscribe_from();
        let to = (consumer.arn.as_str(), &line.shard, &start);
        let opened = Subscription::open(&self.polling, &lane.client, &*self.clock, to, stop);
        let now = self.now();
        match opened {
            Ok(subscription) => {
                tracing::debug!(shard = %line.shard, ?start, "subscribed");
                line.was_subscribed(now);
                line.way = Way::Subscribed(Some(Box::new(subscription)));
                Ok(Tried::Subscribed)
            }
            Err((refusal, _)) if refusal.code == "ResourceInUseException" => {
                line.was_subscribed(now);
                Ok(Tried::NotYet(line.next_call.saturating_sub(now)))
            }
            Err((_, error)) if error.kind == StreamErrorKind::InvalidArgument => {
                let kind = position_refused(line.has_moved());
                line.step_back();
                Err(StreamError { kind, ..error })
            }
            Err((_, error)) if error.kind == StreamErrorKind::NotFound => {
                Err(self.not_found(line, &consumer.arn, error))
            }
            Err((_, error)) => Err(error),
        }
    }

    /// The consumer or the shard is not there. A stream that was deleted and made again has the
    /// same shard ids: the worker looks at it before it reads on by another consumer. If the
    /// consumer turns out to be the same, it is the shard that is gone.
    fn not_found(&self, line: &mut Line, arn: &str, error: StreamError) -> StreamError {
        if line.is_missing_of(arn) {
            return error;
        }
        self.consumer.forget(arn);
        StreamError { kind: StreamErrorKind::InvalidArgument, ..error }
    }

    fn look(&self, line: &mut Line, stop: &Stop) -> Result<Received, StreamError> {
        let Way::Subscribed(Some(subscription)) = &mut line.way else {
            return Ok(Received::NothingYet(Duration::ZERO));
        };
        let looked = subscription.look(&self.blocking, &*self.clock, stop);
        let (now, began) = (self.now(), subscription.began);
        let silent = subscription.empty_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let has_brought = subscription.has_brought;
        match looked {
            Look::Event(event) => {
                line.event_came(now, began);
                self.take(line, *event, stop)
            }
            Look::Nothing if silent < SILENCE => Ok(Received::NothingYet((SILENCE - silent).min(LOOK_AGAIN))),
            Look::Nothing => {
                let message = format!("the subscription was silent for {} s", silent.as_secs());
                let error = StreamError { call: CALL, kind: StreamErrorKind::NoAnswer, message };
                self.failed(line, error, stop)
            }
            Look::Over if has_brought => {
                tracing::debug!(shard = %line.shard, "the subscription's life is over");
                line.works();
                line.way = Way::Subscribed(None);
                self.subscribe(line, stop)
            }
            Look::Over => {
                let message = "the subscription ended without an event".to_owned();
                let error = StreamError { call: CALL, kind: StreamErrorKind::NoAnswer, message };
                self.failed(line, error, stop)
            }
            Look::Failed(error) if error.kind == StreamErrorKind::NotFound => {
                let arn = subscription.arn.clone();
                let error = self.not_found(line, &arn, error);
                self.failed(line, error, stop)
            }
            Look::Failed(error) => self.failed(line, error, stop),
        }
    }

    fn take(&self, line: &mut Line, event: Event, stop: &Stop) -> Result<Received, StreamError> {
        let ended = line.take(&event);
        let Event { mut reply, continuation } = event;
        if ended {
            locked(&self.lines).remove(&line.shard);
            return Ok(Received::Reply(reply));
        }
        // Not the end, whatever the event says: the shard would be over too early.
        reply.value.children.clear();
        reply.value.next_iterator = Some(token(line.generation));
        if continuation.is_none() {
            let message = "an event told neither where it goes on nor the shard's children".to_owned();
            let error = StreamError { call: CALL, kind: StreamErrorKind::Other, message };
            if reply.value.records.is_empty() {
                return self.failed(line, error, stop);
            }
            tracing::warn!(shard = %line.shard, "{error}; subscribing again");
            line.fails(self.now());
            line.way = Way::Subscribed(None);
        }
        Ok(Received::Reply(reply))
    }

    /// Nothing is wrong, but there is no subscription either.
    fn not_yet(&self, line: &mut Line, wait: Duration, stop: &Stop) -> Result<Received, StreamError> {
        if line.fails(self.now()) {
            self.poll_from_now_on(line, "the consumer is not ACTIVE, or another reader uses it");
            return self.poll(line, stop);
        }
        Ok(Received::NothingYet(wait))
    }

    /// A subscription ended, or did not come about. After a minute of that the shard is polled.
    fn failed(&self, line: &mut Line, error: StreamError, stop: &Stop) -> Result<Received, StreamError> {
        if let Way::Subscribed(subscription) = &mut line.way {
            *subscription = None;
        }
        if error.kind == StreamErrorKind::NoAnswer {
            self.leave_connection(line);
        }
        if error.kind == StreamErrorKind::Stopped || !line.fails(self.now()) {
            return Err(error);
        }
        self.poll_from_now_on(line, &error.message);
        // Of these the worker has to know before anything more is read.
        let for_the_worker = matches!(
            error.kind,
            StreamErrorKind::InvalidArgument
                | StreamErrorKind::PositionRefused
                | StreamErrorKind::ExpiredIterator
        );
        if for_the_worker { Err(error) } else { self.poll(line, stop) }
    }

    fn poll_from_now_on(&self, line: &mut Line, why: &str) {
        tracing::warn!(
            shard = %line.shard,
            "enhanced fan-out has failed for more than a minute ({why}); \
             the shard is polled, and fan-out is tried again every few minutes"
        );
        line.give_up(self.now(), why);
    }

    /// Tries fan-out again while polling; whether the shard is subscribed.
    fn go_back(&self, line: &mut Line, stop: &Stop) -> Result<bool, StreamError> {
        line.tries_again(self.now());
        match self.try_subscribing(line, stop) {
            Ok(Tried::Subscribed) => {
                tracing::info!(shard = %line.shard, "enhanced fan-out again: the shard is subscribed");
                Ok(true)
            }
            Ok(Tried::NotYet(_)) => Ok(false),
            Err(error)
                if matches!(error.kind, StreamErrorKind::InvalidArgument | StreamErrorKind::Stopped) =>
            {
                Err(error)
            }
            Err(error) => {
                tracing::info!(shard = %line.shard, "enhanced fan-out still fails, polling goes on: {error}");
                Ok(false)
            }
        }
    }

    fn poll(&self, line: &mut Line, stop: &Stop) -> Result<Received, StreamError> {
        let Way::Polled { iterator, .. } = &line.way else {
            return Ok(Received::NothingYet(Duration::ZERO));
        };
        let iterator = match iterator.clone() {
            Some(iterator) => iterator,
            None => match self.polling.iterator(&line.shard, &line.poll_from(), stop) {
                Ok(served) => served.value,
                Err(error) if error.kind == StreamErrorKind::InvalidArgument => {
                    let kind = position_refused(line.has_records());
                    return Err(StreamError { kind, ..error });
                }
                Err(error) => return Err(error),
            },
        };
        let mut reply = self.polling.records(&line.shard, &iterator, stop)?;
        line.take_polled(&reply);
        if reply.value.next_iterator.is_some() {
            reply.value.next_iterator = Some(token(line.generation));
        }
        Ok(Received::Reply(reply))
    }
}

/// What became of a try to subscribe.
enum Tried {
    Subscribed,
    NotYet(Duration),
}

/// What a refused position means: the worker's is gone; or the adapter's own (a number that came
/// since `follow`) is of no use, and the worker begins anew at its.
const fn position_refused(own: bool) -> StreamErrorKind {
    if own { StreamErrorKind::ExpiredIterator } else { StreamErrorKind::PositionRefused }
}

/// The iterator of a `follow`; opaque to the worker.
fn token(generation: u64) -> String {
    format!("fan-out/{generation}")
}

impl Stream for FanOut {
    fn describe(&self, stop: &Stop) -> Result<Served<StreamDescription>, StreamError> {
        let served = self.polling.describe(stop)?;
        self.consumer.note_creation(served.value.identity.created);
        Ok(served)
    }

    fn list_shards(&self, stop: &Stop) -> Result<Vec<Shard>, StreamError> {
        self.polling.list_shards(stop)
    }

    fn iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
        stop: &Stop,
    ) -> Result<Served<String>, StreamError> {
        self.polling.iterator(shard, start, stop)
    }

    fn records(&self, shard: &ShardId, iterator: &str, stop: &Stop) -> Result<Served<Reply>, StreamError> {
        self.polling.records(shard, iterator, stop)
    }

    fn follow(&self, shard: &ShardId, start: &IteratorStart, _stop: &Stop) -> Result<String, StreamError> {
        let line = self.line(shard).unwrap_or_else(|| {
            let line = self.new_line(shard);
            Arc::clone(locked(&self.lines).entry(shard.clone()).or_insert(line))
        });
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        locked(&line).follow(generation, start);
        Ok(token(generation))
    }

    fn receive(&self, shard: &ShardId, iterator: &str, stop: &Stop) -> Result<Received, StreamError> {
        let line = self.line(shard);
        let mut line = line.as_deref().map(locked);
        match &mut line {
            Some(line) if token(line.generation) == iterator => self.read_on(line, stop),
            _ => {
                let message = "the shard is followed anew since".to_owned();
                Err(StreamError { call: CALL, kind: StreamErrorKind::ExpiredIterator, message })
            }
        }
    }

    fn trouble(&self, shard: &ShardId) -> Option<String> {
        match &locked(&*self.line(shard)?).way {
            Way::Polled { why, .. } => {
                Some(format!("enhanced fan-out has failed ({why}): the shard is polled"))
            }
            Way::Subscribed(_) => None,
        }
    }
}
