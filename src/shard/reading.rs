//! Reading: where it stands, how it paces itself, and how a reply becomes part of the open batch.

use std::time::Duration;

use super::budget::ReplyRoom;
use super::delivery::Delivery;
use super::open_batch::OpenBatch;
use super::setup::Mode;
use super::trimmed::TrimmedTest;
use super::worker::{Activity, ShardWorker};
use crate::codec::aggregate::for_each_user_record;
use crate::model::batch::SealReason;
use crate::model::ledger::Begin;
use crate::model::metric::Counter;
use crate::model::record::RawRecord;
use crate::model::rules::Rule;
use crate::model::sealed::KnownPosition;
use crate::model::sequence::Position;
use crate::model::timestamp::{Hour, Timestamp};
use crate::ports::{IteratorStart, Received, Reply, Served, StreamError, StreamErrorKind};
use crate::spool::items::Hole;

/// Where reading stands.
pub(super) struct Reading {
    /// Behind the last record of the open batch; the sealed position while that is empty.
    pub(super) at: KnownPosition,
    /// The stretch before already sealed records that is being read, if one is.
    pub(super) hole: Option<Hole>,
    /// The latest hour of any batch before the open one.
    pub(super) hour: Option<Hour>,
    /// What the last reply said.
    pub(super) millis_behind_latest: u64,
    /// When a reply last brought records, or reading was placed here.
    pub(super) heard: Duration,
    /// Expires five minutes after it was given.
    pub(super) iterator: Option<String>,
    /// Replies in a row without a next iterator that named no children.
    pub(super) ends_without_children: u32,
    /// Under way: was anything trimmed?
    pub(super) test: Option<TrimmedTest>,
    /// The position is trimmed and nothing unread was: read from the trim horizon.
    pub(super) from_horizon: bool,
    /// A call was refused as it is when the stream was deleted and made again: look before
    /// reading on, or another stream's records end in this one's ledger.
    pub(super) look_at_stream: bool,
}

/// What must be over before records that arrived at the trim horizon's edge are trusted: the
/// resolution of the services' `Date`.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// A first read later than this after the `begin` entry may have missed trimmed records.
const BEGIN_IS_FRESH: Duration = Duration::from_secs(3600);

/// A caught-up shard whose replies are smaller grows slowly: it takes many of them to fill a member, whose text
/// is better kept small meanwhile than ready to be packed.
const SLOW_REPLY: u64 = 128 << 10;

/// So does one that is not asked again for so long: Kinesis wants five seconds for a full reply.
const LONG_WAIT: Duration = Duration::from_secs(2);

impl ShardWorker {
    /// Asks for records if that is due and there is room for them.
    pub(super) fn read(&mut self) -> Activity {
        if self.setup.mode != Mode::Read || self.is_stopping() || self.unsealed.is_some() {
            return Activity::Idle;
        }
        let now = self.monotonic();
        if self.reading.is_none() && !self.place_reading() {
            return Activity::Idle;
        }
        if self.reading.as_ref().is_some_and(|reading| reading.at.position == Position::End) {
            return Activity::Idle;
        }
        let due = self.read_due.max(self.disk_due);
        if now < due {
            return Activity::NotBefore(due);
        }
        if matches!(self.delivery, Delivery::Rendering(_)) {
            // The delivery reads a claimed batch again; the shard's calls are its own meanwhile.
            return Activity::Idle;
        }
        let second = Duration::from_secs(1);
        // What lies in the spool behind a hole leaves it only once the hole has been read.
        let fills_hole = self.reading.as_ref().is_some_and(|reading| reading.hole.is_some());
        if self.shared.quota.is_full() && !fills_hole {
            self.trouble_reading(format!(
                "the spool holds {} bytes, its limit (disk.spool_bytes); reading pauses until some is archived",
                self.shared.quota.used()
            ));
            return Activity::NotBefore(now + second);
        }
        let shared = self.shared.clone();
        let Some(mut room) = shared.budget.room_for_reply(&self.setup.shard.id) else {
            return Activity::NotBefore(now + second);
        };
        self.read_asked = now;
        match self.read_once(&mut room) {
            Ok(activity) => activity,
            Err(error) => self.reading_failed(&error),
        }
    }

    /// Finds where reading goes on; `false` while that is not known.
    fn place_reading(&mut self) -> bool {
        let ledger_away = self.ledger_is_away();
        let known = match (&self.archived, &self.checkpoint) {
            (Some(archived), _) if archived.void.is_none() && !matches!(self.delivery, Delivery::Walking) => {
                archived.known.clone()
            }
            (None, Some(saved)) if ledger_away && self.has_local_position() => saved.known.clone(),
            (None, None) if ledger_away && self.has_local_position() => {
                let Some(first) = self.spool.items().first() else { return false };
                let (position, last_record) = (first.follows.clone(), first.sealed.last_before.clone());
                KnownPosition { position, last_record, complete_to: None }
            }
            (Some(archived), _) if archived.void.is_none() && ledger_away => archived.known.clone(),
            _ => return false,
        };
        let (mut at, mut hole) = self.spool.sealed_end(&known);
        if !self.setup.settings.rules.hold(Rule::ReadHolesFirst)
            && let Some(skipped) = hole.take()
        {
            self.spool.close_hole(&skipped, &at.position);
            at = self.spool.sealed_end(&known).0;
        }
        if let Some(saved) = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.sealed.as_ref())
            && saved.position == at.position
        {
            at.complete_to = at.complete_to.max(saved.complete_to);
        }
        let batches = self.spool.items().iter().filter_map(|item| item.sealed.batch());
        let hour = batches
            .map(|batch| batch.content.first_arrival.hour())
            .chain(self.archived.as_ref().and_then(|archived| archived.hour))
            .max();
        tracing::debug!(shard = %self.setup.shard.id, at = %at.position, "reading goes on");
        self.reading = Some(Reading {
            at,
            hole,
            hour,
            millis_behind_latest: 0,
            heard: self.monotonic(),
            iterator: None,
            ends_without_children: 0,
            test: None,
            from_horizon: false,
            look_at_stream: false,
        });
        true
    }

    fn read_once(&mut self, room: &mut ReplyRoom<'_>) -> Result<Activity, StreamError> {
        let Some(reading) = &self.reading else { return Ok(Activity::Idle) };
        if reading.look_at_stream {
            return self.look_at_stream();
        }
        if reading.test.is_some() {
            return self.test_step(room);
        }
        let Some(iterator) = reading.iterator.clone() else { return self.fetch_iterator() };
        let reply = match self.ports.stream.receive(&self.setup.shard.id, &iterator, &self.stop) {
            Ok(Received::Reply(reply)) => reply,
            Ok(Received::NothingYet(wait)) => return Ok(self.nothing_yet(wait)),
            Err(error) if error.kind == StreamErrorKind::PositionRefused => {
                return Ok(self.position_refused(&error));
            }
            Err(error) => return Err(error),
        };
        room.holds(reply.value.memory());
        if self.is_stale(reply.at) {
            self.pace(&reply.value);
            return Ok(self.start_test());
        }
        Ok(self.absorb(reply))
    }

    /// Whether this is still the stream that the ledger is of.
    pub(super) fn look_at_stream(&mut self) -> Result<Activity, StreamError> {
        let served = self.ports.stream.describe(&self.stop)?;
        if !served.value.identity.is(&self.setup.stream) {
            return Ok(self.leave_stream());
        }
        self.shared.set_retention(served.value.retention, served.at);
        if let Some(reading) = &mut self.reading {
            reading.look_at_stream = false;
        }
        Ok(Activity::Acted)
    }

    fn fetch_iterator(&mut self) -> Result<Activity, StreamError> {
        let Some(start) = self.iterator_start() else { return Ok(Activity::Idle) };
        match self.ports.stream.follow(&self.setup.shard.id, &start, &self.stop) {
            Ok(iterator) => {
                if let Some(reading) = &mut self.reading {
                    reading.iterator = Some(iterator);
                    reading.look_at_stream |= fits_any_stream(&start);
                }
                Ok(Activity::Acted)
            }
            // No time is too old to begin at, but it may lie ahead of the service's clock still.
            Err(error)
                if error.kind == StreamErrorKind::InvalidArgument
                    && !matches!(start, IteratorStart::AtTime(_)) =>
            {
                Ok(self.position_refused(&error))
            }
            Err(error) => Err(error),
        }
    }

    fn position_refused(&mut self, error: &StreamError) -> Activity {
        tracing::warn!(shard = %self.setup.shard.id, "{error}; asking whether anything was trimmed");
        self.start_test()
    }

    /// The iterator that continues at the reading position.
    pub(super) fn iterator_start(&self) -> Option<IteratorStart> {
        let reading = self.reading.as_ref()?;
        if reading.from_horizon {
            return Some(IteratorStart::TrimHorizon);
        }
        match &reading.at.position {
            Position::Start => match self.archived.as_ref()?.start?.begin {
                Begin::TrimHorizon(_) => Some(IteratorStart::TrimHorizon),
                Begin::At(time) => Some(IteratorStart::AtTime(time)),
            },
            Position::Before(n) => Some(IteratorStart::At(n.clone())),
            Position::After(n) => Some(IteratorStart::After(n.clone())),
            Position::End => None,
        }
    }

    /// Whether records behind the reading position may have been trimmed when the service
    /// answered at `served`: then a reply may have skipped them silently.
    pub(super) fn is_stale(&self, served: Timestamp) -> bool {
        let Some(reading) = &self.reading else { return false };
        let horizon = self.shared.horizon(served + DATE_RESOLUTION);
        if let Some(complete_to) = reading.at.complete_to {
            return complete_to < horizon;
        }
        if !self.setup.settings.rules.hold(Rule::MissingCompleteToIsOld) {
            return false;
        }
        let start = self.archived.as_ref().and_then(|archived| archived.start);
        match (&reading.at.position, start) {
            (Position::Start, Some(start)) => match start.begin {
                // Nothing that arrived earlier is wanted. A shard's first read is compared with its own first
                // entry: the stream's start may be years ago, and the shard as old as its last reshard.
                Begin::At(time) if time >= horizon => false,
                Begin::At(_) | Begin::TrimHorizon(_) => served > start.written_at + BEGIN_IS_FRESH,
            },
            _ => true,
        }
    }

    /// Takes a reply into the open batch, sealing where a limit or an hour says so.
    pub(super) fn absorb(&mut self, mut reply: Served<Reply>) -> Activity {
        self.reading_works(&reply);
        let has_records = !reply.value.records.is_empty();
        // One by one, so that their buffers can serve other answers before all of this one are taken.
        for record in std::mem::take(&mut reply.value.records) {
            match self.take_record(&record) {
                Taken::Yes => {}
                // The rest of the reply is read again once the disk or the hole is done with.
                Taken::ReadAgain => return self.let_go_of_iterator(),
                Taken::HoleEnds => return self.end_hole(),
            }
        }
        let lag = Duration::from_millis(reply.value.millis_behind_latest);
        let Some(reading) = &mut self.reading else { return Activity::Acted };
        reading.at.complete_to = reading.at.complete_to.max(Some(reply.value.complete_to));
        reading.iterator = reply.value.next_iterator;
        self.shared.tell_children(&self.setup.shard.id, &reply.value.children);
        let waits_long = self.read_due.saturating_sub(self.monotonic()) >= LONG_WAIT;
        self.keep_small(waits_long || (lag.is_zero() && reply.value.bytes < SLOW_REPLY));
        let Some(reading) = &mut self.reading else { return Activity::Acted };
        let in_hole = reading.hole.is_some();
        if reading.iterator.is_none() {
            return self.iterator_ended(&reply.value.children);
        }
        reading.ends_without_children = 0;
        if in_hole && !has_records && lag.is_zero() {
            return self.end_hole();
        }
        Activity::Acted
    }

    /// The open batch has grown: what of it need not be in memory is not.
    fn keep_small(&mut self, grows_slowly: bool) {
        self.spill();
        if self.writer.is_empty() {
            return;
        }
        if grows_slowly {
            self.writer.give_back_room();
        }
        self.tell_memory(0);
    }

    fn take_record(&mut self, record: &RawRecord) -> Taken {
        let Some(reading) = &mut self.reading else { return Taken::ReadAgain };
        if reading.at.position.covers(&record.sequence_number) {
            return Taken::Yes;
        }
        if reading.hole.as_ref().is_some_and(|hole| !hole.until.covers(&record.sequence_number)) {
            return Taken::HoleEnds;
        }
        let hour = record.arrival.hour();
        if !self.writer.is_empty() && self.open.hour.is_some_and(|open| hour > open) {
            self.seal_open(SealReason::Hour);
            if self.unsealed.is_some() {
                return Taken::ReadAgain;
            }
        }
        if self.writer.is_empty() {
            self.open_batch(hour, record.arrival);
        }
        let Some(reading) = &mut self.reading else { return Taken::ReadAgain };
        let (before, mut bytes) = (self.writer.records(), 0);
        let writer = &mut self.writer;
        for_each_user_record(record, self.setup.shard.range, self.setup.settings.deaggregate, &mut |user| {
            bytes += user.data.len() as u64;
            writer.append(user);
        });
        self.open.oldest_arrival = self.open.oldest_arrival.min(Some(record.arrival));
        reading.at.position = Position::After(record.sequence_number.clone());
        reading.at.last_record = Some(record.sequence_number.clone());
        reading.from_horizon = false;
        self.ports.meter.count(Counter::RecordsRead, self.writer.records() - before);
        self.ports.meter.count(Counter::BytesRead, bytes);
        self.seal_at_limit()
    }

    /// Begins a batch with a record of this hour and arrival.
    fn open_batch(&mut self, hour: Hour, arrival: Timestamp) {
        let since = Some(self.monotonic());
        let chosen_level = self.choose_level();
        let Some(reading) = &self.reading else { return };
        self.open = OpenBatch {
            follows: Some(reading.at.clone()),
            since,
            hour: Some(hour).max(reading.hour),
            spilled: 0,
            oldest_arrival: Some(arrival),
            chosen_level,
        };
    }

    fn seal_at_limit(&mut self) -> Taken {
        let limits = self.setup.settings.limits;
        let reason = if self.writer.records() >= limits.max_records {
            SealReason::Records
        } else if self.writer.content_size() >= limits.max_bytes {
            SealReason::Bytes
        } else {
            return Taken::Yes;
        };
        self.seal_open(reason);
        if self.unsealed.is_some() { Taken::ReadAgain } else { Taken::Yes }
    }

    pub(super) fn let_go_of_iterator(&mut self) -> Activity {
        if let Some(reading) = &mut self.reading {
            reading.iterator = None;
        }
        if !self.writer.is_empty() {
            self.tell_memory(0);
        }
        Activity::Acted
    }
}

/// Whether a stream made again under the same name would take such a start as well; a sequence
/// number is refused there. The stream is described after it, so that nothing of the new one is
/// taken for the old one's.
pub(super) fn fits_any_stream(start: &IteratorStart) -> bool {
    matches!(start, IteratorStart::TrimHorizon | IteratorStart::AtTime(_))
}

/// What became of one record of a reply.
enum Taken {
    /// It is in the open batch, or was dealt with before.
    Yes,
    /// It and the rest must be read again.
    ReadAgain,
    /// It is sealed already: the hole before it has been read.
    HoleEnds,
}
