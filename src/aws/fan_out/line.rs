//! What is known of one shard's reading by fan-out: where it goes on, by which way, and since when
//! it has not worked.
//!
//! Pure but for the subscription it holds. Asks nobody: `fan_out` does.

use std::time::Duration;

use super::subscription::{Event, Subscription};
use crate::model::sequence::SequenceNumber;
use crate::model::shard::ShardId;
use crate::ports::{IteratorStart, Reply, Served};
use crate::retry::jitter;

/// AWS takes one SubscribeToShard a second of each consumer and shard.
const BETWEEN_CALLS: Duration = Duration::from_secs(1);

/// For so long after a call that succeeded AWS refuses another (ResourceInUse); later it takes the
/// subscription over.
const AFTER_SUCCESS: Duration = Duration::from_secs(5);

/// By how much many shards' calls are spread.
const SPREAD: Duration = Duration::from_secs(1);

/// After so long without fan-out the shard is polled.
const FAILING: Duration = Duration::from_secs(60);

/// Fan-out works if a subscription still brings events after so long: two keepers that take the
/// same consumer's subscription from each other, each five seconds, do not.
const STEADY: Duration = Duration::from_secs(30);

/// AWS ends each subscription after five minutes.
const LIFE: Duration = Duration::from_secs(300);

/// Polled for so long, at most, before fan-out is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(300);

/// ```text
///            subscribed again after each end
///              ┌──────────┐
///              ▼          │        failed for a minute
///  follow ─▶ Subscribed ──┴──────────────────────────▶ Polled
///              ▲                                         │
///              └──── about every five minutes, if it ────┘
///                    can be subscribed
/// ```
pub(super) enum Way {
    /// By a subscription; `None` while there is none.
    Subscribed(Option<Box<Subscription>>),
    /// By GetRecords.
    Polled {
        /// Where polling goes on.
        iterator: Option<String>,
        /// When fan-out is tried again.
        back_at: Duration,
        /// Why it was given up.
        why: String,
    },
}

/// One shard.
pub(super) struct Line {
    pub(super) shard: ShardId,
    /// Which of the connections it is subscribed over.
    pub(super) lane: usize,
    /// Which connection of the lane the last call was made over.
    pub(super) lane_made: u64,
    /// Of the last `follow`; an iterator of another one is worth nothing.
    pub(super) generation: u64,
    /// Of the consumer, as of the last look at the stream.
    pub(super) epoch: u64,
    pub(super) way: Way,
    /// Where the last `follow` began.
    start: IteratorStart,
    /// Behind what came since, if anything came.
    next: Option<SequenceNumber>,
    /// The last record that came since.
    last_record: Option<SequenceNumber>,
    /// No call before this.
    pub(super) next_call: Duration,
    /// The consumer by which the shard was not found.
    missing: Option<String>,
    /// Since when fan-out has not worked.
    failing_since: Option<Duration>,
    random: fastrand::Rng,
}

impl Line {
    /// A shard that was never followed.
    pub(super) fn new(shard: ShardId, lane: usize, random: fastrand::Rng) -> Self {
        Self {
            shard,
            lane,
            lane_made: 0,
            missing: None,
            generation: 0,
            epoch: 0,
            way: Way::Subscribed(None),
            start: IteratorStart::TrimHorizon,
            next: None,
            last_record: None,
            next_call: Duration::ZERO,
            failing_since: None,
            random,
        }
    }

    /// Reads on from another place. What AWS or failures forbid stays forbidden.
    pub(super) fn follow(&mut self, generation: u64, start: &IteratorStart) {
        self.generation = generation;
        self.start = start.clone();
        (self.next, self.last_record) = (None, None);
        match &mut self.way {
            Way::Subscribed(subscription) => *subscription = None,
            Way::Polled { iterator, .. } => *iterator = None,
        }
    }

    pub(super) const fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.random
    }

    /// Where to subscribe.
    pub(super) fn subscribe_from(&self) -> IteratorStart {
        self.next.clone().map_or_else(|| self.start.clone(), IteratorStart::After)
    }

    /// Where to poll: a continuation number need not be a record's, and polling does not take it.
    pub(super) fn poll_from(&self) -> IteratorStart {
        self.last_record.clone().map_or_else(|| self.start.clone(), IteratorStart::After)
    }

    /// Whether subscribing would go on from a number that came since `follow`.
    pub(super) const fn has_moved(&self) -> bool {
        self.next.is_some()
    }

    /// Whether polling would.
    pub(super) const fn has_records(&self) -> bool {
        self.last_record.is_some()
    }

    /// Subscribing from the continuation was refused: next time from the last record.
    pub(super) fn step_back(&mut self) {
        self.next.clone_from(&self.last_record);
    }

    /// A call is about to be made.
    pub(super) fn calls(&mut self, now: Duration) {
        self.next_call = now + BETWEEN_CALLS;
    }

    /// The shard, or the consumer of this ARN, was not found; whether it was not by this ARN before.
    pub(super) fn is_missing_of(&mut self, arn: &str) -> bool {
        let before = self.missing.replace(arn.to_owned());
        before.as_deref() == Some(arn)
    }

    /// A call succeeded, or was refused because another one has.
    pub(super) fn was_subscribed(&mut self, now: Duration) {
        self.missing = None;
        self.next_call = now + AFTER_SUCCESS + SPREAD.mul_f64(self.random.f64());
    }

    /// Fan-out does not work now: whether it has not for so long that the shard is to be polled.
    pub(super) fn fails(&mut self, now: Duration) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        now.saturating_sub(since) >= FAILING
    }

    /// Fan-out works.
    pub(super) fn works(&mut self) {
        self.failing_since = None;
    }

    /// An event came over a subscription that began then.
    pub(super) fn event_came(&mut self, now: Duration, began: Duration) {
        if now.saturating_sub(began) >= STEADY {
            self.works();
        }
    }

    /// From now on the shard is polled, and for a while fan-out is not tried.
    pub(super) fn give_up(&mut self, now: Duration, why: &str) {
        let back_at = now + jitter(TRY_AGAIN, &mut self.random);
        self.way = Way::Polled { iterator: None, back_at, why: why.to_owned() };
    }

    /// Fan-out is tried now; if that fails, not again for a while.
    pub(super) fn tries_again(&mut self, now: Duration) {
        let later = now + jitter(TRY_AGAIN, &mut self.random);
        if let Way::Polled { back_at, .. } = &mut self.way {
            *back_at = later;
        }
    }

    /// Nobody looks at it any more: a subscription's buffer is not kept for longer than its life.
    pub(super) fn sweep(&mut self, now: Duration) {
        if let Way::Subscribed(subscription) = &mut self.way
            && subscription.as_ref().is_some_and(|held| now.saturating_sub(held.looked_at) >= LIFE)
        {
            *subscription = None;
        }
    }

    /// An event was taken. Whether the shard ended with it: it has children, and nothing can
    /// follow it. (Some servers name the children with each event once the shard is closed.)
    pub(super) fn take(&mut self, event: &Event) -> bool {
        let reply = &event.reply.value;
        let last = reply.records.last().map(|record| record.sequence_number.clone());
        if let Some(next) = event.continuation.clone().or_else(|| last.clone()) {
            self.next = Some(next);
        }
        if last.is_some() {
            self.last_record = last;
        }
        let at_tip = reply.records.is_empty() && reply.millis_behind_latest == 0;
        !reply.children.is_empty() && (event.continuation.is_none() || at_tip)
    }

    /// A reply was polled.
    pub(super) fn take_polled(&mut self, reply: &Served<Reply>) {
        if let Some(last) = reply.value.records.last() {
            self.last_record = Some(last.sequence_number.clone());
            self.next.clone_from(&self.last_record);
        }
        if let Way::Polled { iterator, .. } = &mut self.way {
            iterator.clone_from(&reply.value.next_iterator);
        }
    }
}
