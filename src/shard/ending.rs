//! Endings: what is done where a hole, a shard or a stream comes to its end.
//!
//! Owns when the end of a shard is believed. What is sealed then is `sealing`'s business.

use super::delivery::Trouble;
use super::setup::{Mode, Outcome};
use super::worker::{Activity, ShardWorker};
use crate::model::batch::SealReason;
use crate::model::ledger::EndBody;
use crate::model::metric::Service;
use crate::model::sealed::SealedKind;
use crate::model::shard::ShardId;
use crate::ports::StreamError;

/// A reply without a next iterator and without children is no end by itself. So many in a row, each
/// from an iterator of its own, are one if the listing knows the children.
const ENDS_WITHOUT_CHILDREN: u32 = 3;

impl ShardWorker {
    /// The next records are sealed already: what was read before them is sealed in its place.
    pub(super) fn end_hole(&mut self) -> Activity {
        self.let_go_of_iterator();
        if !self.writer.is_empty() {
            self.seal_open(SealReason::Request);
            if self.unsealed.is_some() {
                return Activity::Acted;
            }
        }
        if let Some(reading) = self.reading.take()
            && let Some(hole) = &reading.hole
        {
            self.spool.close_hole(hole, &reading.at.position);
        }
        Activity::Acted
    }

    /// A null iterator ends a shard only if it has children; anything else is asked again.
    pub(super) fn iterator_ended(&mut self, told: &[ShardId]) -> Activity {
        let shard = self.setup.shard.id.clone();
        let children = self.children_at_end(told);
        if children.is_empty() {
            self.read_due = self.monotonic() + self.setup.settings.pacing.caught_up;
            return self.let_go_of_iterator();
        }
        if self.reading.as_ref().is_some_and(|reading| reading.hole.is_some()) {
            return self.end_hole();
        }
        if !self.writer.is_empty() {
            self.seal_open(SealReason::ShardEnd);
        }
        if self.unsealed.is_some() {
            return self.let_go_of_iterator();
        }
        let Some(reading) = self.reading.take() else { return Activity::Acted };
        tracing::info!(shard = %shard, children = ?children, "the shard was read to its end");
        self.seal_mark(&reading.at, reading.at.complete_to, SealedKind::End(EndBody { children }))
    }

    /// The children as the reply names them. Where it names none (some streams never do), the
    /// listing's are believed only after the same answer to several iterators: a broken reply
    /// would end a shard with records unread.
    fn children_at_end(&mut self, told: &[ShardId]) -> Vec<ShardId> {
        if !told.is_empty() {
            return told.to_vec();
        }
        let Some(reading) = &mut self.reading else { return Vec::new() };
        reading.ends_without_children += 1;
        let again = reading.ends_without_children;
        if again < ENDS_WITHOUT_CHILDREN {
            tracing::debug!(shard = %self.setup.shard.id, again, "an end without children is asked again");
            return Vec::new();
        }
        self.shared.children_of(&self.setup.shard.id)
    }

    /// A child that came and went while no keeper could begin it is in no listing and has no ledger: its records
    /// are lost, and nothing in the archive but this end names it. That is told, at each start.
    pub(super) fn look_for_children(&self, end: &EndBody) -> Result<(), Trouble> {
        let Some(listing) = self.shared.board.listing().filter(|_| self.setup.mode == Mode::Unlisted) else {
            return Ok(());
        };
        for child in end.children.iter().filter(|child| !listing.shards.contains(child)) {
            let begin = self.setup.settings.keys.entry(child, self.setup.stream.created, 0);
            if self.ports.store.head(&begin, &self.stop)?.is_some() {
                continue;
            }
            self.ports.meter.error(Service::Kinesis, "never_begun");
            tracing::error!(
                shard = %self.setup.shard.id,
                child = %child,
                "the stream does not list a child of this shard any more, and no keeper began it: its records are lost"
            );
        }
        Ok(())
    }

    /// The stream or shard is not there any more: the supervisor looks at the description again.
    pub(super) fn stream_is_gone(&mut self, error: &StreamError) -> Activity {
        tracing::warn!(shard = %self.setup.shard.id, "{error}; the stream is looked at again");
        self.leave_stream()
    }

    /// Seals what was read and hands the shard back.
    pub(super) fn leave_stream(&mut self) -> Activity {
        if !self.writer.is_empty() {
            self.seal_open(SealReason::Request);
        }
        if self.unsealed.is_none() {
            self.ended = Some(Outcome::StreamReplaced);
        }
        Activity::Acted
    }
}
