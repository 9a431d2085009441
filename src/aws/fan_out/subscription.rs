//! One subscription to one shard: the call, the events it brings, and what time it was there.
//!
//! Does not wait for events and does not subscribe again: the line does.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError as EventError;
use aws_sdk_kinesis::types::{
    ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::event_stream::RawMessage;

use crate::aws::answer::AnswerDate;
use crate::aws::blocking::Blocking;
use crate::aws::errors::{Refusal, chain};
use crate::aws::kinesis::{KinesisStream, children, once, other, raw_records};
use crate::model::sequence::SequenceNumber;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::{Clock, IteratorStart, KmsTrouble, Reply, Served, StreamError, StreamErrorKind};
use crate::stop::Stop;

/// The call's name in errors.
pub(super) const CALL: &str = "SubscribeToShard";

/// For the answer and the first frame, which the SDK awaits without a deadline of its own.
const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(10);

/// An idle shard's subscription brings an empty event about every five seconds (as a captured trace in
/// the issue 2779 of aws-sdk-ruby shows; AWS documents no number). Four times that is a dead connection.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// How long an event may have been on its way when nothing had arrived yet. Beyond that the
/// connection is as good as dead.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// How many events of an unknown kind are passed over in one look.
const UNKNOWN_EVENTS: u32 = 100;

/// What is known of the service's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// The answer's `Date`, in whole seconds, rounded down.
    date: Timestamp,
    /// When the call was sent and when it was answered (monotonic).
    sent: Duration,
    answered: Duration,
    /// When the subscription was last found to have brought nothing more.
    empty_at: Option<Duration>,
}

impl Times {
    /// The service's clock now, at the latest, to its resolution of a second.
    fn latest(&self, now: Duration) -> Timestamp {
        self.date + now.saturating_sub(self.sent)
    }

    /// An event that is taken now was sent by then, at the earliest: it may have lain in a buffer
    /// ever since nothing more was there, or have been under way then.
    fn event_sent(&self) -> Timestamp {
        let empty = self.empty_at.map(|at| self.date + at.saturating_sub(self.answered) - UNDER_WAY);
        empty.map_or(self.date, |empty| empty.max(self.date))
    }
}

/// A live subscription.
pub(super) struct Subscription {
    receiver: EventReceiver<SubscribeToShardEventStream, EventError>,
    times: Times,
    /// The consumer's.
    pub(super) arn: String,
    /// When it began.
    pub(super) began: Duration,
    /// When it was last looked at.
    pub(super) looked_at: Duration,
    /// Since when it was found to bring nothing; `None`: it brought something since.
    pub(super) empty_since: Option<Duration>,
    /// Whether it brought any event.
    pub(super) has_brought: bool,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) reply: Served<Reply>,
    /// Where to subscribe again; `None`: it told nothing that can be used.
    pub(super) continuation: Option<SequenceNumber>,
}

/// What a look at a subscription found.
pub(super) enum Look {
    Event(Box<Event>),
    Nothing,
    /// It ended as it does after five minutes.
    Over,
    Failed(StreamError),
}

impl Subscription {
    /// Subscribes; blocks until the first frame is there.
    pub(super) fn open(
        stream: &KinesisStream,
        lane: &Client,
        clock: &dyn Clock,
        to: (&str, &ShardId, &IteratorStart),
        stop: &Stop,
    ) -> Result<Self, (Refusal, StreamError)> {
        let (consumer_arn, shard, start) = to;
        let date = AnswerDate::new();
        let sent = clock.monotonic();
        let request = lane.subscribe_to_shard().consumer_arn(consumer_arn).shard_id(shard.as_str());
        let sending = request
            .set_starting_position(starting_position(start))
            .customize()
            .config_override(once(SUBSCRIBE_DEADLINE))
            .interceptor(date.clone())
            .send();
        let output = stream.call(CALL, SUBSCRIBE_DEADLINE, stop, sending)?;
        let answered = clock.monotonic();
        let times = Times { date: date.get().unwrap_or_else(|| clock.now()), sent, answered, empty_at: None };
        let receiver = output.event_stream;
        let arn = consumer_arn.to_owned();
        Ok(Self {
            receiver,
            times,
            arn,
            began: answered,
            looked_at: answered,
            empty_since: None,
            has_brought: false,
        })
    }

    /// Takes one event if one is there. Nothing is received between two looks, so that HTTP/2's
    /// flow control holds the service back while there is no room. (`recv` keeps all its state in
    /// the receiver: dropping its future loses nothing.)
    pub(super) fn look(&mut self, blocking: &Blocking, clock: &dyn Clock, stop: &Stop) -> Look {
        for _ in 0..UNKNOWN_EVENTS {
            let now = clock.monotonic();
            self.looked_at = now;
            match blocking.look(stop, self.receiver.recv()) {
                None => {
                    self.times.empty_at = Some(now);
                    self.empty_since.get_or_insert(now);
                    return Look::Nothing;
                }
                Some(Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)))) => {
                    (self.empty_since, self.has_brought) = (None, true);
                    return match taken(event, &self.times, now) {
                        Ok(event) => Look::Event(Box::new(event)),
                        Err(message) => Look::Failed(other(CALL, message)),
                    };
                }
                Some(Ok(Some(_))) => self.empty_since = None,
                Some(Ok(None)) => return Look::Over,
                Some(Err(error)) => return Look::Failed(failed(&error)),
            }
        }
        Look::Failed(other(CALL, "it brings nothing but events of an unknown kind".to_owned()))
    }
}

fn starting_position(start: &IteratorStart) -> Option<StartingPosition> {
    let at = StartingPosition::builder();
    let at = match start {
        IteratorStart::TrimHorizon => at.r#type(ShardIteratorType::TrimHorizon),
        IteratorStart::AtTime(time) => {
            at.r#type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(time.as_millis()))
        }
        IteratorStart::At(number) => {
            at.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(number.as_str())
        }
        IteratorStart::After(number) => {
            at.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(number.as_str())
        }
    };
    // Only a missing type makes it fail; then the service says what is missing.
    at.build().ok()
}

fn taken(event: SubscribeToShardEvent, times: &Times, now: Duration) -> Result<Event, String> {
    let (records, bytes) = raw_records(event.records)?;
    let millis_behind_latest = u64::try_from(event.millis_behind_latest).unwrap_or(0);
    let complete_to = times.event_sent() - Duration::from_millis(millis_behind_latest);
    let reply = Reply {
        records,
        next_iterator: None,
        millis_behind_latest,
        children: children(event.child_shards),
        bytes,
        complete_to,
        pushed: true,
    };
    // At the end of a shard it is missing, which the SDK shows as an empty text.
    let continuation = event.continuation_sequence_number.parse().ok();
    Ok(Event { reply: Served { at: times.latest(now), value: reply }, continuation })
}

/// What an error between the events means. It always ends the subscription.
fn failed(error: &SdkError<EventError, RawMessage>) -> StreamError {
    let SdkError::ServiceError(said) = error else {
        let message = format!("the subscription was cut: {}", chain(error));
        return StreamError { call: CALL, kind: StreamErrorKind::NoAnswer, message };
    };
    let said = said.err();
    let kind = if said.is_resource_not_found_exception() {
        StreamErrorKind::NotFound
    } else if said.is_kms_throttling_exception() {
        StreamErrorKind::KmsThrottled
    } else {
        kms(said).map_or(StreamErrorKind::Other, StreamErrorKind::Kms)
    };
    let message = format!("the subscription was ended: {}", chain(said));
    StreamError { call: CALL, kind, message }
}

fn kms(said: &EventError) -> Option<KmsTrouble> {
    [
        (said.is_kms_access_denied_exception(), KmsTrouble::AccessDenied),
        (said.is_kms_disabled_exception(), KmsTrouble::Disabled),
        (said.is_kms_invalid_state_exception(), KmsTrouble::InvalidState),
        (said.is_kms_not_found_exception(), KmsTrouble::NotFound),
        (said.is_kms_opt_in_required(), KmsTrouble::OptInRequired),
    ]
    .into_iter()
    .find_map(|(is_it, trouble)| is_it.then_some(trouble))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_events_time_lies_between_the_last_empty_look_and_now() {
        let date = Timestamp::from_seconds(1000);
        let mut times = Times { date, sent: seconds(50), answered: seconds(52), empty_at: None };
        // Nobody has looked since it began, however long that is ago.
        assert_eq!(times.event_sent(), date);
        assert_eq!(times.latest(seconds(350)), Timestamp::from_seconds(1300));
        times.empty_at = Some(seconds(55));
        assert_eq!(times.event_sent(), date, "it is never before the subscription began");
        times.empty_at = Some(seconds(152));
        assert_eq!(times.event_sent(), Timestamp::from_seconds(1100) - UNDER_WAY);
    }
}
