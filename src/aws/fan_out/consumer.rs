//! The registered consumer, by which all shards of a stream are subscribed.
//!
//! Owns its name and ARN: finds it, registers it where it is missing, waits until it is ACTIVE. One
//! thread asks at a time; the others are told to come again.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use aws_sdk_kinesis::types::ConsumerStatus;

use crate::aws::kinesis::{KinesisStream, limits, other};
use crate::model::timestamp::Timestamp;
use crate::ports::{Clock, Stream, StreamError, StreamErrorKind};
use crate::retry::{Backoff, Pace};
use crate::stop::Stop;

/// A tiny answer, with the SDK's three tries.
const CONSUMER_DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks at a consumer that is being made, which takes seconds.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// The consumer of one stream.
pub(super) struct Consumer {
    name: String,
    ready: Mutex<Option<Ready>>,
    /// Held by the thread that asks.
    looking: Mutex<Looking>,
    creations: Mutex<Creations>,
}

/// An ACTIVE consumer. Its ARN ends with its creation, so it is of one creation of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    /// What SubscribeToShard takes.
    pub(super) arn: String,
    /// Changes whenever this may be the consumer of another creation of the stream: whoever
    /// reads for a ledger must look at the stream before it subscribes by this one.
    pub(super) epoch: u64,
}

/// Whether the consumer can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Ready(Ready),
    /// Come again after this time.
    NotYet(Duration),
}

struct Looking {
    next: Duration,
    failures: Backoff,
    /// The one that was found last, gone or not.
    last: Option<Ready>,
}

/// When the stream was made, as all descriptions so far say.
#[derive(Default)]
struct Creations {
    first: Option<Timestamp>,
    changed: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Consumer {
    /// Nothing is asked yet.
    pub(super) fn new(name: &str) -> Self {
        let looking = Looking { next: Duration::ZERO, failures: Backoff::new(Pace::REMOTE), last: None };
        Self {
            name: name.to_owned(),
            ready: Mutex::default(),
            looking: Mutex::new(looking),
            creations: Mutex::default(),
        }
    }

    /// A description says that the stream was made then.
    pub(super) fn note_creation(&self, created: Timestamp) {
        let mut creations = locked(&self.creations);
        let first = *creations.first.get_or_insert(created);
        creations.changed |= first != created;
    }

    /// The ARN was refused: this consumer is gone.
    pub(super) fn forget(&self, arn: &str) {
        let mut ready = locked(&self.ready);
        if ready.as_ref().is_some_and(|ready| ready.arn == arn) {
            tracing::warn!(consumer = self.name, arn, "the fan-out consumer is gone; it is looked for again");
            *ready = None;
        }
    }

    /// The consumer, if it can be used now; else one thread does the next step towards that.
    pub(super) fn find(
        &self,
        stream: &KinesisStream,
        clock: &dyn Clock,
        random: &mut fastrand::Rng,
        stop: &Stop,
    ) -> Result<Found, StreamError> {
        if let Some(ready) = locked(&self.ready).clone() {
            return Ok(Found::Ready(ready));
        }
        let mut looking = match self.looking.try_lock() {
            Ok(looking) => looking,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(Found::NotYet(COME_AGAIN)),
        };
        if let Some(ready) = locked(&self.ready).clone() {
            return Ok(Found::Ready(ready));
        }
        let early = looking.next.saturating_sub(clock.monotonic());
        if !early.is_zero() {
            return Ok(Found::NotYet(early));
        }
        let looked = self.look(stream, &mut looking, stop);
        let pause = match &looked {
            Ok(_) => {
                looking.failures.reset();
                COME_AGAIN
            }
            Err(error) if error.kind == StreamErrorKind::Stopped => Duration::ZERO,
            Err(_) => looking.failures.next(random).max(COME_AGAIN),
        };
        looking.next = clock.monotonic() + pause;
        looked.map(|ready| ready.map_or(Found::NotYet(COME_AGAIN), Found::Ready))
    }

    /// One step: asks for the consumer, or registers it.
    fn look(
        &self,
        stream: &KinesisStream,
        looking: &mut Looking,
        stop: &Stop,
    ) -> Result<Option<Ready>, StreamError> {
        const CALL: &str = "DescribeStreamConsumer";
        let stream_arn = stream.stream_arn(stop)?;
        let request = stream.client().describe_stream_consumer().stream_arn(&stream_arn);
        let request = request.consumer_name(&self.name);
        let sending = request.customize().config_override(limits(CONSUMER_DEADLINE)).send();
        let description = match stream.call(CALL, CONSUMER_DEADLINE, stop, sending) {
            Ok(output) => output.consumer_description,
            Err((_, error)) if error.kind == StreamErrorKind::NotFound => {
                return self.register(stream, &stream_arn, stop).map(|()| None);
            }
            Err((_, error)) => return Err(error),
        };
        let description =
            description.ok_or_else(|| other(CALL, "the answer has no description".to_owned()))?;
        if description.consumer_status != ConsumerStatus::Active {
            return Ok(None);
        }
        // Asked after the consumer was seen: if the stream is still the one that every shard's
        // ledger is of, so is the consumer.
        self.note_creation(stream.describe(stop)?.value.identity.created);
        let same = !locked(&self.creations).changed;
        let arn = description.consumer_arn;
        let epoch = match &looking.last {
            Some(last) if last.arn == arn => last.epoch,
            Some(last) => last.epoch + 1,
            None if same => 0,
            None => 1,
        };
        let ready = Ready { arn, epoch };
        looking.last = Some(ready.clone());
        tracing::info!(consumer = self.name, arn = ready.arn, "the fan-out consumer is ready");
        *locked(&self.ready) = Some(ready.clone());
        Ok(Some(ready))
    }

    fn register(&self, stream: &KinesisStream, stream_arn: &str, stop: &Stop) -> Result<(), StreamError> {
        let request = stream.client().register_stream_consumer().stream_arn(stream_arn);
        let request = request.consumer_name(&self.name);
        let sending = request.customize().config_override(limits(CONSUMER_DEADLINE)).send();
        match stream.call("RegisterStreamConsumer", CONSUMER_DEADLINE, stop, sending) {
            Ok(_) => {
                tracing::info!(consumer = self.name, "the fan-out consumer is registered");
                Ok(())
            }
            // Somebody else has registered it, or an earlier try has.
            Err((refusal, _)) if refusal.code == "ResourceInUseException" => Ok(()),
            Err((_, error)) => Err(error),
        }
    }
}
