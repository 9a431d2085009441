//! An entry without its object: completed by whoever can render exactly its records, or voided
//! when they are gone for good.

use std::time::Duration;

use super::delivery::{Delivery, Seen, Settling, Trouble, Turn};
use super::lost::tells_of_void;
use super::setup::Mode;
use super::worker::ShardWorker;
use crate::codec::Renderer;
use crate::codec::aggregate::for_each_user_record;
use crate::ledger::{LedgerError, StoredEntry};
use crate::model::batch::Form;
use crate::model::hour::HourObject;
use crate::model::ledger::BatchBody;
use crate::model::record::RawRecord;
use crate::model::rules::Rule;
use crate::ports::{IteratorStart, Reply, Served, StreamErrorKind};

/// A claimed batch being read again from the stream.
pub(super) struct Rereading {
    pub(super) purpose: Purpose,
    writer: Renderer,
    iterator: Option<String>,
    from_horizon: bool,
    due: Duration,
    empty_replies: u32,
}

impl Rereading {
    /// Bytes held of what was read.
    pub(super) fn memory(&self) -> u64 {
        self.writer.memory()
    }

    /// When the next call is due, monotonic.
    pub(super) const fn due(&self) -> Duration {
        self.due
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Render the entry's records.
    Complete,
    /// Its object is void: find the first record that can still be read.
    Resume,
}

/// What one reply brought.
enum Found {
    More,
    /// The last record of the entry was read.
    Whole,
    /// The first record at or after the asked one is another, or there is none.
    Other(Option<RawRecord>),
}

const EMPTY_REPLIES: u32 = 20;

/// Between two looks at an object that another keeper is about to put.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl ShardWorker {
    /// The entry's object is not there. Expired, to be put by us, or still to be waited for?
    pub(super) fn missing_object(&mut self, settling: Settling, batch: &BatchBody) -> Result<Turn, Trouble> {
        if let Some(seen) = self.seen_by_the_next(&settling)? {
            return Ok(Turn::to(Delivery::Recording(settling, seen)));
        }
        let own = settling.stored.entry.host == self.setup.settings.host;
        // Our own put may have been lost with its answer: what we still hold of it is put, however old the entry is.
        if own && let Some(lines) = self.render_from_spool(batch)? {
            if self.hour_tells_of_object(&settling, batch)? {
                return Ok(Turn::to(Delivery::Recording(settling, Seen::Expired)));
            }
            return Ok(Turn::to(Delivery::Placing(settling, lines)));
        }
        if self.has_expired(&settling, batch)? {
            return Ok(Turn::to(Delivery::Recording(settling, Seen::Expired)));
        }
        let patience = settling.since + self.setup.settings.limits.max_age;
        if !own && self.monotonic() < patience && self.setup.settings.rules.hold(Rule::WaitBeforeCompleting) {
            // Reading asks for a turn far more often than the object can come.
            self.delivery_due = patience.min(self.monotonic() + LOOK_AGAIN);
            return Ok(Turn::Wait(self.delivery_due));
        }
        if let Some(lines) = self.render_from_spool(batch)? {
            return Ok(Turn::to(Delivery::Placing(settling, lines)));
        }
        if self.setup.mode == Mode::Drain {
            return self.missing_of_old_stream(settling, batch);
        }
        self.rereading = Some(self.new_rereading(Purpose::Complete, batch.form()));
        Ok(Turn::to(Delivery::Rendering(settling)))
    }

    /// An object that was once seen and is missing has expired, and a later entry proves that it was seen: the
    /// object itself, or the void that a `lost` gap follows.
    fn seen_by_the_next(&self, settling: &Settling) -> Result<Option<Seen>, Trouble> {
        if !self.setup.settings.rules.hold(Rule::SeenThenMissingHasExpired) {
            return Ok(None);
        }
        let next = self.ledger.fetch(settling.serial() + 1, &self.stop)?;
        let is_void =
            |next: &StoredEntry| tells_of_void(next) && self.setup.settings.rules.hold(Rule::VoidIsGap);
        Ok(next.map(|next| if is_void(&next) { Seen::Void } else { Seen::Expired }))
    }

    /// Whether the manifest of the entry's hour says that the object was there: another may have completed the entry,
    /// and no entry follows yet.
    fn hour_tells_of_object(&self, settling: &Settling, batch: &BatchBody) -> Result<bool, Trouble> {
        if !self.setup.settings.rules.hold(Rule::SeenThenMissingHasExpired) || !self.is_over(batch.hour) {
            return Ok(false);
        }
        let hours = self.hours();
        let Some(key) = hours.find(batch.hour, &self.stop)? else { return Ok(false) };
        let told = match hours.fetch(&key, &self.stop) {
            Ok(Some(told)) => told,
            // Who tells the hours reports one that says nothing.
            Ok(None) | Err(LedgerError::Broken { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let of_shard = told.manifest.shards.iter().find(|of| {
            of.shard == self.setup.shard.id && of.stream_created == settling.stored.entry.stream_created
        });
        let entry = of_shard.and_then(|of| of.entries.iter().find(|of| of.serial == settling.serial()));
        Ok(entry.is_some_and(|entry| matches!(entry.object, HourObject::Archived | HourObject::Expired)))
    }

    /// Whether the bucket deletes what is as old as the entry, whose object nobody was seen to have seen.
    fn has_expired(&self, settling: &Settling, batch: &BatchBody) -> Result<bool, Trouble> {
        if !self.setup.settings.rules.hold(Rule::SeenThenMissingHasExpired) {
            return Ok(false);
        }
        let Some(expiry) = self.shared.expiry.get() else {
            return Err(self
                .busy("the bucket's lifecycle rules are not known yet", self.ledger.key(settling.serial())));
        };
        // An entry may land long after it was written, and its object is never older than the entry.
        let entry = self.ports.store.head(&self.ledger.key(settling.serial()), &self.stop)?;
        let landed = entry.and_then(|head| head.modified).unwrap_or(settling.stored.entry.written_at);
        Ok(expiry.has_taken(&batch.key, landed, self.ports.clock.now()))
    }

    /// Whether the delivery waits for another keeper to complete its entry.
    pub(super) fn waits_for_another_writer(&self) -> bool {
        match &self.delivery {
            Delivery::Settling(settling) => settling.stored.entry.host != self.setup.settings.host,
            Delivery::Rendering(_) => true,
            Delivery::Locating
            | Delivery::Walking
            | Delivery::Ready
            | Delivery::Claiming(_)
            | Delivery::Placing(..)
            | Delivery::Recording(..)
            | Delivery::Stopped => false,
        }
    }

    pub(super) fn new_rereading(&self, purpose: Purpose, form: Form) -> Rereading {
        Rereading {
            purpose,
            writer: Renderer::new(form, self.present_level()),
            iterator: None,
            from_horizon: false,
            due: self.monotonic().max(self.read_due),
            empty_replies: 0,
        }
    }

    /// One call of reading the entry's records again.
    pub(super) fn reread(&mut self, settling: Settling) -> Result<Turn, Trouble> {
        let Some(batch) = settling.batch().cloned() else {
            return Ok(Turn::to(Delivery::Settling(settling)));
        };
        let now = self.monotonic();
        let Some(rereading) = &mut self.rereading else { return Ok(Turn::to(Delivery::Settling(settling))) };
        if now < rereading.due {
            return Ok(Turn::Wait(rereading.due));
        }
        let Some(iterator) = rereading.iterator.clone() else {
            return self.reread_iterator(settling, &batch);
        };
        let shared = self.shared.clone();
        let Some(mut room) = shared.budget.room_for_reply(&self.setup.shard.id) else {
            return Ok(Turn::Wait(now + Duration::from_secs(1)));
        };
        let reply = match self.ports.stream.records(&self.setup.shard.id, &iterator, &self.stop) {
            Ok(reply) => reply,
            Err(error) => {
                // What was read so far is kept: a batch takes many calls, and of those one fails now and then.
                if let Some(rereading) = &mut self.rereading {
                    rereading.iterator = None;
                }
                return Err(error.into());
            }
        };
        room.holds(reply.value.memory());
        match self.take_reread(&batch, now, &reply) {
            Found::More => Ok(Turn::to(Delivery::Rendering(settling))),
            Found::Whole => self.compare(settling, &batch),
            Found::Other(first) => self.records_gone(settling, &batch, first.as_ref(), reply.at),
        }
    }

    fn reread_iterator(&mut self, settling: Settling, batch: &BatchBody) -> Result<Turn, Trouble> {
        let Some(rereading) = &mut self.rereading else { return Ok(Turn::to(Delivery::Settling(settling))) };
        let start = match rereading.writer.last() {
            Some(last) => IteratorStart::After(last.clone()),
            None if rereading.from_horizon => IteratorStart::TrimHorizon,
            None => IteratorStart::At(batch.first_sequence_number.clone()),
        };
        match self.ports.stream.iterator(&self.setup.shard.id, &start, &self.stop) {
            Ok(served) => rereading.iterator = Some(served.value),
            // Trimmed meanwhile, and so is what was read before it.
            Err(error) if error.kind == StreamErrorKind::InvalidArgument && !rereading.writer.is_empty() => {
                rereading.writer.clear();
            }
            Err(error) if error.kind == StreamErrorKind::InvalidArgument && !rereading.from_horizon => {
                rereading.from_horizon = true;
            }
            Err(error) if error.kind == StreamErrorKind::NotFound => {
                // An expired shard: nothing of it can be read, if the stream is still the same.
                return self.records_gone(settling, batch, None, self.ports.clock.now());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Turn::to(Delivery::Rendering(settling)))
    }

    fn take_reread(&mut self, batch: &BatchBody, asked: Duration, reply: &Served<Reply>) -> Found {
        let reach = reply.at.since(self.shared.horizon(reply.at));
        let (deaggregate, range) = (batch.deaggregate, self.setup.shard.range);
        let due = self.paid_at(asked, reply.value.bytes);
        let listed = self.shared.children_of(&self.setup.shard.id);
        let Some(rereading) = &mut self.rereading else { return Found::More };
        rereading.due = due;
        self.read_due = self.read_due.max(rereading.due);
        for record in &reply.value.records {
            let n = &record.sequence_number;
            let wanted =
                *n >= batch.first_sequence_number && rereading.writer.last().is_none_or(|last| n > last);
            if !wanted {
                continue;
            }
            if rereading.writer.is_empty()
                && (rereading.purpose == Purpose::Resume || *n != batch.first_sequence_number)
            {
                // A void takes the place of the entry's first record; the next batch begins after it.
                if rereading.purpose == Purpose::Resume && *n == batch.first_sequence_number {
                    continue;
                }
                return Found::Other(Some(record.clone()));
            }
            if *n > batch.last_sequence_number {
                return Found::Whole;
            }
            let writer = &mut rereading.writer;
            for_each_user_record(record, range, deaggregate, &mut |user| writer.append(user));
            if *n == batch.last_sequence_number {
                return Found::Whole;
            }
        }
        rereading.iterator.clone_from(&reply.value.next_iterator);
        if rereading.iterator.is_none() && reply.value.children.is_empty() && listed.is_empty() {
            // No end of a shard: from the beginning, or a broken reply would look like other records.
            rereading.writer.clear();
            return Found::More;
        }
        let at_tip = reply.value.millis_behind_latest == 0 || rereading.iterator.is_none();
        if reply.value.records.is_empty() {
            rereading.empty_replies += 1;
        }
        let lag = Duration::from_millis(reply.value.millis_behind_latest);
        let hopeless = rereading.empty_replies >= EMPTY_REPLIES && lag >= reach.mul_f64(0.9);
        match (at_tip, hopeless, rereading.writer.is_empty()) {
            (true, _, false) => Found::Whole,
            (true, _, true) if rereading.from_horizon => Found::Other(None),
            (true, _, true) | (false, true, true) => {
                rereading.from_horizon = true;
                rereading.iterator = None;
                rereading.empty_replies = 0;
                Found::More
            }
            (false, _, _) => Found::More,
        }
    }

    /// All that the stream gives between the entry's first and last record was read.
    fn compare(&mut self, settling: Settling, batch: &BatchBody) -> Result<Turn, Trouble> {
        let Some(mut rereading) = self.rereading.take() else {
            return Ok(Turn::to(Delivery::Settling(settling)));
        };
        match self.write_rendered(&mut rereading.writer)? {
            Some(lines) if lines.are_of(batch) => {
                tracing::info!(
                    shard = %self.setup.shard.id,
                    serial = settling.serial(),
                    "completing an entry whose object was missing, from the stream"
                );
                Ok(Turn::to(Delivery::Placing(settling, lines)))
            }
            // Some were trimmed while they were read: then the first one is gone as well.
            _ if !self.first_is_readable(batch)? => {
                self.rereading = Some(self.new_rereading(Purpose::Complete, batch.form()));
                Ok(Turn::to(Delivery::Rendering(settling)))
            }
            _ if self.setup.settings.rules.hold(Rule::MismatchStops) => Err(Trouble::Broken(format!(
                "the records {} to {} of the stream are not what entry {} of the ledger ({}) claims: content {}",
                batch.first_sequence_number,
                batch.last_sequence_number,
                settling.serial(),
                self.ledger.key(settling.serial()),
                batch.content_sha256,
            ))),
            _ => self.put_void(settling, batch),
        }
    }

    fn first_is_readable(&self, batch: &BatchBody) -> Result<bool, Trouble> {
        let start = IteratorStart::At(batch.first_sequence_number.clone());
        let served = match self.ports.stream.iterator(&self.setup.shard.id, &start, &self.stop) {
            Ok(served) => served,
            Err(error) if error.kind == StreamErrorKind::InvalidArgument => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let reply = self.ports.stream.records(&self.setup.shard.id, &served.value, &self.stop)?;
        let first = reply.value.records.first();
        if first.is_none() && reply.value.millis_behind_latest > 0 {
            return Err(self.busy("an empty reply told nothing of the records", batch.key.clone()));
        }
        Ok(first.is_some_and(|first| first.sequence_number == batch.first_sequence_number))
    }
}
