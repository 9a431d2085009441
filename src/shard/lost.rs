//! Lost: an entry whose object never came and whose records can't be read any more.
//!
//! Owns the void that takes the object's place for good, and the gap that tells of it. Whether the
//! records are gone is `rereading`'s to find.

use super::delivery::{Claim, Delivery, Seen, Settling, Trouble, Turn};
use super::position::Archived;
use super::rereading::Purpose;
use super::setup::{Mode, Outcome};
use super::worker::ShardWorker;
use crate::codec::void;
use crate::ledger::StoredEntry;
use crate::model::ledger::{BatchBody, Body, GapBody, GapCause};
use crate::model::record::RawRecord;
use crate::model::rules::Rule;
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;
use crate::ports::Body as PutBody;

impl ShardWorker {
    /// The newest entry's object is void: looks for what can still be read after it.
    pub(super) fn begin_loss(&mut self, archived: &Archived, batch: &BatchBody) -> Result<Turn, Trouble> {
        let stored = self
            .ledger
            .fetch(archived.serial, &self.stop)?
            .ok_or_else(|| Trouble::Broken(format!("entry {} is gone from the ledger", archived.serial)))?;
        if self.setup.mode == Mode::Drain {
            return self.claim_loss(batch, None, self.ports.clock.now());
        }
        tracing::debug!(key = batch.key, "looking for what can still be read after a void");
        self.rereading = Some(self.new_rereading(Purpose::Resume, batch.form()));
        Ok(Turn::to(Delivery::Rendering(Settling { stored, since: self.monotonic() })))
    }

    /// The object of an entry of an earlier creation is missing, and not ours to render. Once the
    /// stream is seen to be another one, nobody can read its records again; the writer had its time.
    pub(super) fn missing_of_old_stream(
        &mut self,
        settling: Settling,
        batch: &BatchBody,
    ) -> Result<Turn, Trouble> {
        let described = self.ports.stream.describe(&self.stop)?;
        if described.value.identity.is(&self.setup.stream) {
            // Not an old one after all: whoever reads the shard completes the entry.
            return Ok(Turn::Wait(self.monotonic() + self.setup.settings.limits.max_age));
        }
        self.put_void(settling, batch)
    }

    /// The entry's first record cannot be read any more.
    pub(super) fn records_gone(
        &mut self,
        settling: Settling,
        batch: &BatchBody,
        first: Option<&RawRecord>,
        served: Timestamp,
    ) -> Result<Turn, Trouble> {
        let resuming = self.rereading.as_ref().is_some_and(|rereading| rereading.purpose == Purpose::Resume);
        self.rereading = None;
        let described = self.ports.stream.describe(&self.stop)?;
        if !described.value.identity.is(&self.setup.stream) {
            self.ended = Some(Outcome::StreamReplaced);
            return Ok(Turn::to(Delivery::Settling(settling)));
        }
        if !resuming {
            if self.ledger.exists(settling.serial() + 1, &self.stop)? {
                return Ok(Turn::to(Delivery::Settling(settling)));
            }
            return self.put_void(settling, batch);
        }
        self.claim_loss(batch, first, served)
    }

    /// Takes the place of the object for good, so that nobody can put it after the gap is told.
    pub(super) fn put_void(&mut self, settling: Settling, batch: &BatchBody) -> Result<Turn, Trouble> {
        if !self.setup.settings.rules.hold(Rule::VoidBeforeGap) {
            return Ok(Turn::to(Delivery::Recording(settling, Seen::Void)));
        }
        tracing::error!(
            shard = %self.setup.shard.id,
            key = batch.key,
            records = batch.records,
            "an entry's object never came and its records are gone from the stream: it is voided, and a gap follows"
        );
        let attributes = self.void_attributes(&settling, batch);
        self.ports.store.put_if_absent(
            &batch.key,
            PutBody::Bytes(void::of(batch)),
            &attributes,
            &self.stop,
        )?;
        // Stored or taken: what lies there now is looked at again.
        Ok(Turn::to(Delivery::Settling(settling)))
    }

    /// The `lost` gap that follows a void. What this keeper holds sealed counts as readable.
    fn claim_loss(
        &mut self,
        batch: &BatchBody,
        first: Option<&RawRecord>,
        served: Timestamp,
    ) -> Result<Turn, Trouble> {
        let Some(archived) = self.archived.clone() else { return Ok(Turn::to(Delivery::Locating)) };
        let claimed = &batch.first_sequence_number;
        let own = || self.spool.items().iter().filter_map(|item| item.sealed.batch());
        let holds_first = own().any(|own| {
            own.content.first_sequence_number <= *claimed && *claimed <= own.content.last_sequence_number
        });
        let later = own().map(|own| &own.content.first_sequence_number).filter(|own| *own > claimed).min();
        let found: Option<SequenceNumber> = first.map(|first| first.sequence_number.clone());
        let resumes_at =
            if holds_first { Some(claimed.clone()) } else { found.into_iter().chain(later.cloned()).min() };
        let to = first.map_or(served, |first| first.arrival);
        let body = Body::Gap(GapBody {
            after: archived.known.last_record.clone(),
            why: GapCause::Lost,
            // What is missing then lies behind our own records, and is found when they are put; and where
            // the next batch ends the gap, it may be the writer's own, with all of them.
            certain: !holds_first && resumes_at.is_some(),
            resumes_at,
            from: batch.first_arrival.min(to),
            to,
        });
        let composed = self.ledger.compose(Self::predecessor(&archived), body, self.ports.clock.now())?;
        Ok(Turn::to(Delivery::Claiming(Claim { composed, lines: None })))
    }
}

/// Whether the object of the entry before this one was void. That shows also when the bucket has deleted the
/// void since.
pub(super) fn tells_of_void(next: &StoredEntry) -> bool {
    matches!(&next.entry.body, Body::Gap(gap) if gap.why == GapCause::Lost)
}
