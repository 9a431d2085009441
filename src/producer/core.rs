//! What to send next, and when: the producer's state, without any I/O, clock or waiting.
//!
//! Owns the lanes, the records that wait for another try, and the bounds of the queue. What becomes of a
//! request that was answered is in `reply`; `driver` carries out what is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;

use super::entry::{Entry, Undelivered, Why, check};
use super::lane::{Lane, Look};
use super::line::Line;
use super::options::{MOST_RECORDS, Options};
use super::order::Order;
use super::packing::{Limits, fill};
use super::refresh::Refresh;
use super::reply::Unsure;
use super::report::Totals;
use super::request::Request;
use super::shard_map::ShardMap;
use crate::ports::put::{Distribution, Record, StreamFacts};
use crate::retry::Backoff;

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this.
    Send(Request),
    /// List the shards.
    Refresh,
    /// Nothing before this time, or before something happens.
    Wait(Option<Duration>),
    /// The end: nothing is queued or under way, and nothing more is taken.
    Done,
}

/// Why a record was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// There is no room.
    Full(Record),
    /// It could never be delivered.
    Never(Box<Undelivered>),
}

pub(super) struct Core {
    pub(super) options: Options,
    pub(super) random: Rng,
    most_bytes: usize,
    pub(super) distribution: Distribution,
    pub(super) map: ShardMap,
    pub(super) lanes: Vec<Lane>,
    /// Records that failed, by when they are tried again.
    pub(super) later: BTreeMap<(Duration, u64), Entry>,
    pub(super) order: Order,
    pub(super) unsure: Vec<Unsure>,
    pub(super) refresh: Refresh,
    /// After a request that failed as a whole nothing is sent for a while.
    pub(super) pause: Duration,
    pub(super) backoff: Backoff,
    /// Aggregates under way keep the order of the old shards: nothing goes before they are answered.
    pub(super) barrier: bool,
    pub(super) in_flight: usize,
    pub(super) line: Line,
    turn: usize,
    serial: u64,
    epoch: u64,
    flushing: usize,
    /// Somebody waits for room: nothing waits for company.
    crowded: bool,
    /// Records held of each epoch.
    held: BTreeMap<u64, usize>,
    held_records: usize,
    held_bytes: usize,
    /// Records that may yet be admitted before the driver must look again; 0: it looks anyway.
    wake_after: usize,
    wake_bytes: usize,
    /// Answers of which the watch is being told; a flush ends after them.
    telling: BTreeSet<u64>,
    tellings: u64,
    pub(super) ended: Option<Why>,
    pub(super) undelivered: Vec<Undelivered>,
    pub(super) totals: Totals,
}

impl Core {
    pub(super) fn new(options: Options, facts: StreamFacts, map: ShardMap, now: Duration) -> Self {
        let lanes = map.open().map(|shard| Lane::new(shard.clone(), options.shard_limits, now)).collect();
        Self {
            random: Rng::with_seed(options.seed),
            most_bytes: facts.max_record_bytes,
            distribution: facts.distribution,
            map,
            lanes,
            later: BTreeMap::new(),
            order: Order::default(),
            unsure: Vec::new(),
            refresh: Refresh::new(options.refresh, now),
            pause: Duration::ZERO,
            backoff: Backoff::new(options.pace),
            barrier: false,
            in_flight: 0,
            line: Line::new(options.in_flight),
            turn: 0,
            serial: 0,
            epoch: 0,
            flushing: 0,
            crowded: false,
            held: BTreeMap::new(),
            held_records: 0,
            held_bytes: 0,
            wake_after: 1,
            wake_bytes: 0,
            telling: BTreeSet::new(),
            tellings: 0,
            ended: None,
            undelivered: Vec::new(),
            totals: Totals::default(),
            options,
        }
    }

    /// Takes a record if there is room; whether the driver must look.
    pub(super) fn admit(&mut self, record: Record, now: Duration) -> Result<bool, NotTaken> {
        if let Some(why) = self.ended.clone() {
            return Err(NotTaken::Never(Box::new(Undelivered { record, why })));
        }
        if let Err(why) = check(&record, self.most_bytes) {
            return Err(NotTaken::Never(Box::new(Undelivered { record, why })));
        }
        let size = record.size();
        let full = self.held_records >= self.options.queue_records
            || self.held_bytes + size > self.options.queue_bytes;
        if full && self.held_records > 0 {
            self.crowded = true;
            return Err(NotTaken::Full(record));
        }
        let entry = Entry::new(record, self.serial, self.epoch, now);
        self.serial += 1;
        self.held_records += 1;
        self.held_bytes += size;
        *self.held.entry(self.epoch).or_default() += 1;
        let entry = if self.by_key() { self.order.enter(entry) } else { Some(entry) };
        let Some(entry) = entry else { return Ok(false) };
        self.queue(entry);
        self.wake_after = self.wake_after.saturating_sub(1);
        self.wake_bytes = self.wake_bytes.saturating_sub(size);
        Ok(self.wake_after == 0 || self.wake_bytes == 0)
    }

    /// Whether order is kept key by key. (Aggregates keep it shard by shard.)
    pub(super) const fn by_key(&self) -> bool {
        self.options.ordered && !self.options.aggregate
    }

    /// Whether answers must come first: those to what was under way by the old shards, or the listing that
    /// tells whether an aggregate came to the right shard, since it goes again before what is behind it.
    const fn holds_back(&self) -> bool {
        self.barrier || (self.options.ordered && self.options.aggregate && !self.unsure.is_empty())
    }

    /// Puts a record into its shard's lane.
    pub(super) fn queue(&mut self, entry: Entry) {
        let place = self.map.place(entry.hash_key);
        if let Some(lane) = self.lanes.get_mut(place) {
            lane.push(entry);
        }
    }

    /// What is to be done next.
    pub(super) fn next(&mut self, now: Duration) -> Step {
        if self.ended.is_some() {
            return if self.in_flight == 0 { Step::Done } else { Step::Wait(None) };
        }
        while let Some(first) = self.later.first_entry() {
            if first.key().0 > now {
                break;
            }
            let entry = first.remove();
            self.queue(entry);
        }
        if self.refresh.is_due(now) {
            self.refresh.begun();
            return Step::Refresh;
        }
        let (full, wake, bytes) = self.survey(now);
        let is_held =
            self.in_flight >= self.options.in_flight || self.holds_back() || !self.line.takes(bytes);
        let may_send = !is_held && self.pause <= now;
        if !may_send {
            // An answer or the pause's end comes first: what is admitted until then need wake nobody.
            (self.wake_after, self.wake_bytes) = (usize::MAX, usize::MAX);
        }
        if may_send && (full || wake.is_some_and(|at| at <= now)) {
            let mut request = self.pack(now);
            if !request.flights.is_empty() {
                self.in_flight += 1;
                self.line.sent(&mut request);
                return Step::Send(request);
            }
        }
        let retry = self.later.keys().next().map(|(at, _)| *at);
        // With all requests under way, at the barrier, or with a full line an answer comes first.
        let wake = if is_held { None } else { wake };
        let wake = wake.map(|at| at.max(self.pause));
        let pause = (self.pause > now).then_some(self.pause);
        Step::Wait([wake, pause, retry, Some(self.refresh.at())].into_iter().flatten().min())
    }

    /// Whether a full request could be sent, when one should be in any case, and what is ready in bytes.
    fn survey(&mut self, now: Duration) -> (bool, Option<Duration>, usize) {
        let most = self.line.portion();
        let flushing = self.flushing > 0 || self.crowded;
        let (mut records, mut bytes, mut wake) = (0_usize, 0_usize, None);
        for lane in &mut self.lanes {
            let Some(look) = lane.look(&self.options, flushing, now) else { continue };
            let Look { ready, due, .. } = look;
            wake = Some(wake.map_or(due, |at: Duration| at.min(due)));
            if ready <= now {
                records = records.saturating_add(look.records);
                bytes = bytes.saturating_add(look.bytes);
            }
        }
        self.wake_after = if wake.is_none() { 1 } else { MOST_RECORDS.saturating_sub(records).max(1) };
        self.wake_bytes = most.saturating_sub(bytes).max(1);
        (records >= MOST_RECORDS || bytes >= most, wake, bytes)
    }

    /// Makes a request of what the lanes may send, each lane's turn to be the first coming round.
    fn pack(&mut self, now: Duration) -> Request {
        let mut request = Request::new(now, self.line.portion());
        let lanes = self.lanes.len();
        let aggregates = self.options.aggregate && self.distribution == Distribution::ByKey;
        let limits = Limits { aggregates, most_bytes: self.most_bytes };
        for step in 0..lanes {
            let place = (self.turn + step) % lanes;
            let range = self.map.range(place);
            let Some(lane) = self.lanes.get_mut(place) else { continue };
            let Some(look) = lane.look(&self.options, true, now) else { continue };
            if look.ready <= now && !fill(&mut request, lane, range, &self.options, limits) {
                break;
            }
        }
        self.turn = (self.turn + 1) % lanes.max(1);
        for entry in request.flights.iter_mut().flat_map(|flight| flight.entries_mut()) {
            entry.first_try.get_or_insert(now);
        }
        request
    }

    /// The shards as they are now: what waits is sorted into their lanes anew.
    pub(super) fn set_map(&mut self, map: ShardMap, now: Duration) {
        let same = map.open().eq(self.map.open());
        self.map = map;
        if same {
            return;
        }
        let mut old = std::mem::take(&mut self.lanes);
        let mut waiting: Vec<Entry> = old.iter_mut().flat_map(Lane::drain).collect();
        waiting.sort_unstable_by_key(|entry| entry.serial);
        self.lanes = self
            .map
            .open()
            .map(|shard| match old.iter().position(|lane| lane.shard == *shard) {
                Some(place) => old.swap_remove(place),
                None => Lane::new(shard.clone(), self.options.shard_limits, now),
            })
            .collect();
        self.turn = 0;
        for entry in waiting {
            self.queue(entry);
        }
        if self.options.ordered && self.options.aggregate {
            // The lanes that kept the order are gone: what failed goes back to its place, and waits.
            self.barrier = self.in_flight > 0;
            for entry in std::mem::take(&mut self.later).into_values() {
                self.queue(entry);
            }
        }
    }

    /// A record is through, or given up: its room is free, and the next of its key may go.
    pub(super) fn leave(&mut self, entry: &Entry) {
        self.held_records -= 1;
        self.held_bytes -= entry.record.size();
        self.crowded = false;
        if let Some(count) = self.held.get_mut(&entry.epoch) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&entry.epoch);
            }
        }
        if self.by_key()
            && let Some(next) = self.order.leave(entry.order_key())
        {
            self.queue(next);
        }
    }

    /// Nothing waits for company from now on; gives what [`Self::is_flushed`] asks for.
    pub(super) const fn begin_flush(&mut self) -> u64 {
        self.flushing += 1;
        self.epoch += 1;
        self.epoch - 1
    }

    pub(super) const fn end_flush(&mut self) {
        self.flushing -= 1;
    }

    /// Whether all records that were there when the flush began are through or given up.
    pub(super) fn is_flushed(&self, epoch: u64) -> bool {
        self.held.first_key_value().is_none_or(|(oldest, _)| *oldest > epoch)
    }

    /// The watch is about to be told of an answer; gives what [`Self::told`] takes.
    pub(super) fn tells(&mut self) -> u64 {
        self.tellings += 1;
        self.telling.insert(self.tellings);
        self.tellings
    }

    /// The watch was told.
    pub(super) fn told(&mut self, telling: u64) {
        self.telling.remove(&telling);
    }

    /// How many answers the watch is, or was, told of.
    pub(super) const fn tellings(&self) -> u64 {
        self.tellings
    }

    /// Whether the watch was told of so many answers, the first ones.
    pub(super) fn has_told(&self, tellings: u64) -> bool {
        self.telling.first().is_none_or(|oldest| *oldest > tellings)
    }

    /// Whether somebody was turned away since the last request was made.
    pub(super) const fn is_full(&self) -> bool {
        self.crowded && self.ended.is_none()
    }

    /// Records that wait or are under way.
    pub(super) const fn held(&self) -> usize {
        self.held_records
    }

    /// Takes no more, and gives up what waits; what is under way is not touched.
    pub(super) fn end(&mut self, why: Why) -> Vec<Undelivered> {
        self.ended = Some(why.clone());
        let mut left: Vec<Entry> = self.lanes.iter_mut().flat_map(Lane::drain).collect();
        left.extend(std::mem::take(&mut self.later).into_values());
        left.extend(self.order.drain());
        left.extend(std::mem::take(&mut self.unsure).into_iter().flat_map(Unsure::into_entries));
        left.sort_unstable_by_key(|entry| entry.serial);
        let given_up: Vec<_> = left.into_iter().map(|entry| self.give_up(entry, why.clone())).collect();
        given_up
    }

    /// A record will not be delivered.
    pub(super) fn give_up(&mut self, entry: Entry, why: Why) -> Undelivered {
        self.leave(&entry);
        let why = match why {
            Why::Ended { .. } => Why::Ended { maybe_stored: entry.unknown },
            Why::TooLarge { .. } | Why::BadKey(_) | Why::Refused { .. } => why,
        };
        self.totals.undelivered += 1;
        let undelivered = Undelivered { record: entry.record, why };
        self.undelivered.push(undelivered.clone());
        undelivered
    }
}

#[cfg(test)]
mod tests;
