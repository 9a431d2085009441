//! What waits for one shard, and how much of it may go.
//!
//! Owns the order within the lane (who was admitted first goes first, also after a failure). Does not
//! decide when a request is made.

use std::collections::VecDeque;
use std::time::Duration;

use super::bucket::ShardPace;
use super::entry::Entry;
use super::options::{Options, ShardLimits};
use crate::model::shard::ShardId;

/// One shard's records that are not under way.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) shard: ShardId,
    pub(super) pace: ShardPace,
    queue: VecDeque<Entry>,
    bytes: usize,
    /// Aggregates of it under way.
    pub(super) in_flight: usize,
    /// Nothing goes before then: a failed aggregate comes first.
    pub(super) not_before: Duration,
}

/// What a lane would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// When it may send what it has, or as much as is saved up at best.
    pub(super) ready: Duration,
    /// When it should, even if the request is not full.
    pub(super) due: Duration,
    /// Records that go then.
    pub(super) records: usize,
    /// Their bytes.
    pub(super) bytes: usize,
}

impl Lane {
    pub(super) fn new(shard: ShardId, limits: Option<ShardLimits>, now: Duration) -> Self {
        Self {
            shard,
            pace: ShardPace::new(limits, now),
            queue: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
            not_before: Duration::ZERO,
        }
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.queue.front()
    }

    /// Puts a record in its place: behind all that were admitted before it.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.record.size();
        if self.queue.back().is_none_or(|last| last.serial < entry.serial) {
            self.queue.push_back(entry);
        } else {
            let place = self.queue.partition_point(|other| other.serial < entry.serial);
            self.queue.insert(place, entry);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.bytes -= entry.record.size();
        Some(entry)
    }

    /// All that waits.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.bytes = 0;
        self.queue.drain(..)
    }

    /// What it would send, and when; `None` if nothing waits, or must wait for an answer.
    pub(super) fn look(&mut self, options: &Options, flushing: bool, now: Duration) -> Option<Look> {
        let first = self.queue.front()?;
        if self.in_flight > 0 && options.ordered && options.aggregate {
            return None;
        }
        let lingered = first.admitted + options.buffer_time;
        self.pace.advance(now);
        // An aggregate is one record to the shard, however many it holds.
        let records = if options.aggregate { 1 } else { self.queue.len() };
        let ready = (now + self.pace.until(records, self.bytes)).max(self.not_before);
        let pressing = flushing || self.pace.is_filled_by(records, self.bytes);
        let due = if pressing { ready } else { ready.max(lingered) };
        let (most_records, most_bytes) = self.pace.at_once();
        Some(Look { ready, due, records: records.min(most_records), bytes: self.bytes.min(most_bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::record;
    use super::*;

    fn entry(serial: u64, size: usize, now: Duration) -> Entry {
        Entry::new(record(serial, "k", size), serial, 0, now)
    }

    fn lane(limits: Option<ShardLimits>) -> Lane {
        Lane::new(ShardId::new("shardId-000000000000"), limits, Duration::ZERO)
    }

    #[test]
    fn who_was_admitted_first_goes_first_also_after_a_failure() {
        let mut lane = lane(None);
        for serial in [1, 3, 5, 4, 0] {
            lane.push(entry(serial, 10, Duration::ZERO));
        }
        let order: Vec<_> = std::iter::from_fn(|| lane.pop()).map(|entry| entry.serial).collect();
        assert_eq!(order, [0, 1, 3, 4, 5]);
    }

    #[test]
    fn few_records_wait_for_the_buffer_time_and_many_only_for_the_shard() {
        let options = Options::default();
        let mut lane = lane(options.shard_limits);
        assert_eq!(lane.look(&options, false, Duration::ZERO), None);
        lane.push(entry(0, 10, Duration::ZERO));
        let look = lane.look(&options, false, Duration::ZERO).unwrap();
        assert_eq!((look.ready, look.due, look.records), (Duration::ZERO, options.buffer_time, 1));
        assert_eq!(lane.look(&options, true, Duration::ZERO).unwrap().due, Duration::ZERO);
        for serial in 1..200 {
            lane.push(entry(serial, 10, Duration::ZERO));
        }
        let look = lane.look(&options, false, Duration::ZERO).unwrap();
        assert_eq!((look.ready, look.due, look.records), (Duration::ZERO, Duration::ZERO, 100));
        for _ in 0..100 {
            lane.pace.take(10);
        }
        let look = lane.look(&options, false, Duration::ZERO).unwrap();
        assert!(look.due > Duration::from_millis(100) && look.due < Duration::from_millis(110), "{look:?}");
    }
}
