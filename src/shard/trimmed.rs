//! Was anything trimmed? Asked when what lies behind the position may be older than the stream's
//! retention, or a call says that the position is gone.
//!
//! ```text
//! Describe ──▶ Look ──▶ Ask ──returned──▶ no gap
//!  same          │       │ position gone, or empty for long
//!  creation?     ▼       ▼
//!          the ledger  Horizon ──▶ gap up to the first record there
//!          is further
//! ```

use std::time::Duration;

use super::budget::ReplyRoom;
use super::delivery::Delivery;
use super::position::Archived;
use super::reading::fits_any_stream;
use super::setup::{Mode, Outcome};
use super::worker::{Activity, ShardWorker};
use crate::model::batch::SealReason;
use crate::model::ledger::{Begin, GapBody, GapCause};
use crate::model::record::RawRecord;
use crate::model::rules::Rule;
use crate::model::sealed::{KnownPosition, SealedKind};
use crate::model::sequence::{Position, SequenceNumber};
use crate::model::timestamp::Timestamp;
use crate::ports::{IteratorStart, Reply, Served, StreamError, StreamErrorKind};
use crate::spool::items::Item;

/// The test under way.
pub(super) struct TrimmedTest {
    stage: Stage,
    started: Duration,
    pub(super) iterator: Option<String>,
    empty_replies: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Describe,
    Look,
    Ask,
    Horizon,
}

/// Empty replies that say to be a retention behind before the position counts as gone; some
/// streams answer so instead of refusing it.
const EMPTY_REPLIES: u32 = 20;

impl ShardWorker {
    /// Begins the test; the open batch is sealed first, so that what is asked for is sealed.
    pub(super) fn start_test(&mut self) -> Activity {
        if !self.writer.is_empty() {
            self.seal_open(SealReason::Request);
        }
        let started = self.monotonic();
        if let Some(reading) = &mut self.reading {
            reading.iterator = None;
            reading.test =
                Some(TrimmedTest { stage: Stage::Describe, started, iterator: None, empty_replies: 0 });
        }
        Activity::Acted
    }

    /// One call of the test.
    pub(super) fn test_step(&mut self, room: &mut ReplyRoom<'_>) -> Result<Activity, StreamError> {
        let Some((stage, started)) = self
            .reading
            .as_ref()
            .and_then(|reading| reading.test.as_ref())
            .map(|test| (test.stage, test.started))
        else {
            return Ok(Activity::Idle);
        };
        match stage {
            Stage::Describe => {
                let looked = self.look_at_stream()?;
                if self.ended.is_some() || self.unsealed.is_some() {
                    return Ok(looked);
                }
                Ok(self.enter(Stage::Look))
            }
            Stage::Look => Ok(self.look_again(started)),
            Stage::Ask | Stage::Horizon => self.ask(stage, room),
        }
    }

    fn enter(&mut self, stage: Stage) -> Activity {
        if let Some(test) = self.reading.as_mut().and_then(|reading| reading.test.as_mut()) {
            test.stage = stage;
            test.iterator = None;
            test.empty_replies = 0;
        }
        Activity::Acted
    }

    /// Another keeper may have archived further; without an answer from the bucket reading goes on.
    fn look_again(&mut self, started: Duration) -> Activity {
        if self.ledger_is_away() || !self.setup.settings.rules.hold(Rule::LookAgainBeforeGap) {
            return self.enter(Stage::Ask);
        }
        if self.looked_at.is_some_and(|looked| looked >= started) {
            let further = match (&self.archived, &self.reading) {
                (Some(archived), Some(reading)) => archived.known.position > reading.at.position,
                _ => false,
            };
            if further {
                self.reading = None;
                return Activity::Acted;
            }
            return self.enter(Stage::Ask);
        }
        if matches!(self.delivery, Delivery::Ready) {
            self.delivery = Delivery::Walking;
            return Activity::Acted;
        }
        // Whatever the delivery does next is followed by another look here.
        Activity::Idle
    }

    /// The record that must still be there if nothing after it was trimmed.
    fn asked_for(&self) -> Option<SequenceNumber> {
        let reading = self.reading.as_ref()?;
        if !self.setup.settings.rules.hold(Rule::AskForLastSealed) {
            return self.archived.as_ref()?.known.last_record.clone();
        }
        match &reading.at.position {
            Position::Before(n) | Position::After(n) => Some(n.clone()),
            Position::Start | Position::End => None,
        }
    }

    fn ask(&mut self, stage: Stage, room: &mut ReplyRoom<'_>) -> Result<Activity, StreamError> {
        let asked = self.asked_for();
        let Some(test) = self.reading.as_ref().and_then(|reading| reading.test.as_ref()) else {
            return Ok(Activity::Idle);
        };
        let Some(iterator) = test.iterator.clone() else { return self.test_iterator(stage, asked) };
        let reply = self.ports.stream.records(&self.setup.shard.id, &iterator, &self.stop)?;
        room.holds(reply.value.memory());
        self.reading_works(&reply);
        let found = reply.value.records.iter().find(|record| match (&asked, &self.reading) {
            (Some(asked), _) => record.sequence_number >= *asked,
            (None, Some(reading)) => !reading.at.position.covers(&record.sequence_number),
            (None, None) => false,
        });
        match found {
            Some(first) if asked.as_ref() == Some(&first.sequence_number) => Ok(self.nothing_trimmed(reply)),
            Some(first) => {
                let first = first.clone();
                Ok(self.seal_gap(Some(&first), reply.at))
            }
            None => Ok(self.nothing_found(stage, &reply)),
        }
    }

    fn test_iterator(
        &mut self,
        stage: Stage,
        asked: Option<SequenceNumber>,
    ) -> Result<Activity, StreamError> {
        let start = match (stage, asked) {
            (Stage::Horizon, Some(_)) => IteratorStart::TrimHorizon,
            (_, Some(asked)) => IteratorStart::At(asked),
            (_, None) => self.iterator_start().unwrap_or(IteratorStart::TrimHorizon),
        };
        match self.ports.stream.iterator(&self.setup.shard.id, &start, &self.stop) {
            Ok(served) => {
                if let Some(reading) = &mut self.reading {
                    reading.look_at_stream |= fits_any_stream(&start);
                    if let Some(test) = &mut reading.test {
                        test.iterator = Some(served.value);
                    }
                }
                Ok(Activity::Acted)
            }
            Err(error) if error.kind == StreamErrorKind::InvalidArgument && stage == Stage::Ask => {
                Ok(self.enter(Stage::Horizon))
            }
            Err(error) => Err(error),
        }
    }

    fn nothing_trimmed(&mut self, reply: Served<Reply>) -> Activity {
        if let Some(reading) = &mut self.reading {
            reading.test = None;
            reading.from_horizon = false;
        }
        let activity = self.absorb(reply);
        // The test polls; reading goes on by a subscription where there is one.
        if let Some(reading) = &mut self.reading {
            reading.iterator = None;
        }
        activity
    }

    /// No record yet: asked again, given up, or there is none.
    fn nothing_found(&mut self, stage: Stage, reply: &Served<Reply>) -> Activity {
        let lag = Duration::from_millis(reply.value.millis_behind_latest);
        let reach = reply.at.since(self.shared.horizon(reply.at));
        let Some(test) = self.reading.as_mut().and_then(|reading| reading.test.as_mut()) else {
            return Activity::Idle;
        };
        if lag.is_zero() || reply.value.next_iterator.is_none() {
            return if stage == Stage::Ask {
                self.enter(Stage::Horizon)
            } else {
                self.seal_gap(None, reply.at)
            };
        }
        test.iterator.clone_from(&reply.value.next_iterator);
        if reply.value.records.is_empty() {
            test.empty_replies += 1;
        }
        if stage == Stage::Ask && test.empty_replies >= EMPTY_REPLIES && lag >= reach.mul_f64(0.9) {
            return self.enter(Stage::Horizon);
        }
        Activity::Acted
    }

    /// What was asked for is gone. If all that could be missing was read before, nothing is lost
    /// and reading goes on at the trim horizon; else the gap is sealed in its place.
    fn seal_gap(&mut self, first: Option<&RawRecord>, served: Timestamp) -> Activity {
        let stale = self.is_stale(served);
        let started = self.archived.as_ref().and_then(|archived| archived.start);
        let Some(reading) = &mut self.reading else { return Activity::Idle };
        if !stale {
            reading.test = None;
            // Where nothing was read yet, the shard's own beginning is asked for again: it may be a time.
            reading.from_horizon = reading.at.position != Position::Start;
            return Activity::Acted;
        }
        let hole = reading.hole.take();
        // What is sealed further on is not lost, also where the item behind the hole is itself a gap.
        let at = &reading.at.position;
        let sealed = self.spool.items().iter().filter_map(Item::first).filter(|n| !at.covers(n));
        let found = first.map(|first| &first.sequence_number);
        let resumes_at = found.into_iter().chain(sealed).min().cloned();
        let from = reading.at.complete_to.or(started.map(|start| match start.begin {
            Begin::At(time) => time,
            Begin::TrimHorizon(_) => start.written_at,
        }));
        let to = first.map_or(served, |first| first.arrival);
        let gap = GapBody {
            after: reading.at.last_record.clone(),
            resumes_at,
            why: GapCause::Trimmed,
            certain: false,
            from: from.unwrap_or(to).min(to),
            to,
        };
        tracing::error!(
            shard = %self.setup.shard.id,
            after = gap.after.as_ref().map_or("", SequenceNumber::as_str),
            resumes_at = gap.resumes_at.as_ref().map_or("", SequenceNumber::as_str),
            from = %gap.from,
            to = %gap.to,
            "records may have been trimmed before they were read: a gap is recorded"
        );
        let follows = reading.at.clone();
        if let (None, Some(hole)) = (&gap.resumes_at, &hole) {
            self.spool.close_hole(hole, &follows.position);
        }
        let complete_to = gap.resumes_at.is_none().then_some(served);
        self.reading = None;
        self.seal_mark(&follows, complete_to, SealedKind::Gap(gap))
    }

    /// A shard that is not listed any more and has no `end`: what it still held is a gap.
    pub(super) fn close_unlisted(&mut self) -> Activity {
        if let Some(activity) = self.is_still_this_stream() {
            return activity;
        }
        let Some(archived) = &self.archived else { return Activity::Idle };
        let follows = archived.known.clone();
        let children = self.shared.children_of(&self.setup.shard.id);
        tracing::error!(shard = %self.setup.shard.id, "the shard is not listed any more and was not read to its end: a gap is recorded");
        let sealed = self.seal_unreadable(&follows);
        if self.unsealed.is_some() {
            return sealed;
        }
        self.seal_mark(&follows, None, SealedKind::End(crate::model::ledger::EndBody { children }))
    }

    /// Nothing is read any more, and sealed items lie behind a hole: it is a gap, which they end.
    pub(super) fn close_hole_of_gone_shard(&mut self, archived: &Archived) -> Option<Activity> {
        let hole = self.spool.sealed_end(&archived.known).1?;
        if archived.ends_in_open_gap {
            self.spool.close_hole(&hole, &archived.known.position);
            return Some(Activity::Acted);
        }
        if self.setup.mode == Mode::Unlisted
            && let Some(activity) = self.is_still_this_stream()
        {
            return Some(activity);
        }
        tracing::error!(
            shard = %self.setup.shard.id,
            "records before {} can be read no more: a gap is recorded",
            hole.until
        );
        Some(self.seal_unreadable(&archived.known))
    }

    /// Describes the stream again before a gap is put; what to do if it is not this one.
    fn is_still_this_stream(&mut self) -> Option<Activity> {
        match self.ports.stream.describe(&self.stop) {
            Ok(served) if served.value.identity.is(&self.setup.stream) => None,
            Ok(_) => {
                self.ended = Some(Outcome::StreamReplaced);
                Some(Activity::Acted)
            }
            Err(error) => {
                self.delivery_backoff.next(&mut self.random);
                self.delivery_due = self.monotonic() + Duration::from_secs(5);
                self.trouble_reading(error.to_string());
                Some(Activity::NotBefore(self.delivery_due))
            }
        }
    }

    /// Seals an uncertain gap that takes no room: the next batch, or the end, ends it.
    fn seal_unreadable(&mut self, follows: &KnownPosition) -> Activity {
        let now = self.ports.clock.now();
        let gap = GapBody {
            after: follows.last_record.clone(),
            resumes_at: None,
            why: GapCause::Trimmed,
            certain: false,
            from: follows.complete_to.unwrap_or(now),
            to: now,
        };
        self.seal_mark(follows, None, SealedKind::Gap(gap))
    }
}
