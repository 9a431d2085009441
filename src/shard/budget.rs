//! The memory of all open batches and replies in flight, and the disk of all spools, each under one limit.
//!
//! Owns who may take how much, and whose batch must be sealed to make room. Does not seal.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::shard::ShardId;
use crate::stop::Stop;

/// What one reply takes at most while it is in flight: 10 MiB decoded, and 14 MiB of JSON text if the SDK's
/// parser must read it.
pub const REPLY_BYTES: u64 = 24 << 20;

/// So many replies should find room beside the open batches: fewer, and many shards wait for each other;
/// more, and batches are sealed for the sake of waits that are over in milliseconds. Never more than half.
const REPLIES_BESIDE: u64 = 8;

/// What an answer takes at most once it was decoded: 10 MiB, and 10,000 records of 136 bytes. Twice as much if each of
/// its records fills a little more than half of the buffer that it could share: still within [`REPLY_BYTES`].
const ANSWER_BYTES: u64 = 12 << 20;

/// No call begins while so many of the largest answers wait, for each core, to be taken into batches. At level 6 that is
/// 0.4 s of work (0.1 s an answer), longer than a call takes; more would only lie in memory.
const ANSWERS_A_CORE: u64 = 4;

/// So many shards are woken at most for an answer that was taken: where too few wait, more calls than before begin.
const WOKEN_FOR_ANSWER: u64 = 2;

/// `batch.memory`: bounds open batches and replies in flight over all shards together.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    /// No call begins while answers that have come and are not yet taken hold so much.
    most_untaken: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    replies: u64,
    /// Of these, answers that have come and are not yet taken into batches, as large as they are.
    untaken: u64,
    /// Of all shards' batches: what is open, and what is held beside it.
    bytes: u64,
    /// Who was refused room, in order, and was not woken since.
    refused: VecDeque<ShardId>,
    batches: HashMap<ShardId, Batch>,
}

#[derive(Debug)]
struct Batch {
    /// Of the open batch: sealing it gives them back.
    bytes: u64,
    /// Of what ends by itself and in no other way: an archived batch that is read again, or one that the disk refuses.
    held: u64,
    seal: bool,
    refused: bool,
    stop: Stop,
}

/// Room for one reply; given back when dropped.
#[derive(Debug)]
pub struct ReplyRoom<'a> {
    budget: &'a Budget,
    untaken: u64,
}

impl ReplyRoom<'_> {
    /// The reply has come, and takes so many bytes until the room is given back.
    pub fn holds(&mut self, bytes: u64) {
        let mut state = self.budget.state();
        state.untaken = state.untaken - self.untaken + bytes;
        self.untaken = bytes;
    }
}

impl Budget {
    /// `limit` bytes over all shards, of which `cores` at once take answers into batches. One reply always fits, or
    /// nothing could be read.
    pub fn new(limit: u64, cores: usize) -> Self {
        let most_untaken = cores as u64 * ANSWERS_A_CORE * ANSWER_BYTES;
        Self { limit: limit.max(REPLY_BYTES), most_untaken, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard takes part from now on; `stop` is nudged when its batch must be sealed or when
    /// there is room again.
    pub fn join(&self, shard: &ShardId, stop: Stop) {
        self.state()
            .batches
            .insert(shard.clone(), Batch { bytes: 0, held: 0, seal: false, refused: false, stop });
    }

    /// A shard no longer takes part.
    pub fn leave(&self, shard: &ShardId) {
        let mut state = self.state();
        if let Some(batch) = state.batches.remove(shard) {
            state.bytes -= batch.bytes + batch.held;
        }
        self.wake_refused(&mut state, u64::MAX);
    }

    /// Says how much the shard's open batch takes now, and what it holds beside it that sealing does not give back.
    pub fn set_batch(&self, shard: &ShardId, bytes: u64, held: u64) {
        let mut state = self.state();
        let Some(batch) = state.batches.get_mut(shard) else { return };
        let before = std::mem::replace(&mut batch.bytes, bytes) + std::mem::replace(&mut batch.held, held);
        if bytes == 0 {
            batch.seal = false;
        }
        let after = bytes + held;
        state.bytes = state.bytes - before + after;
        if after < before {
            self.wake_refused(&mut state, u64::MAX);
        }
    }

    /// Room for a reply to this shard, or `None`: then it is nudged when there is some. If it is the batches
    /// that leave no room, the largest was told to seal.
    pub fn room_for_reply(&self, shard: &ShardId) -> Option<ReplyRoom<'_>> {
        let mut state = self.state();
        if self.has_room(&state) || (state.replies == 0 && (state.bytes == 0 || holds_most(&state, shard))) {
            state.replies += REPLY_BYTES;
            return Some(ReplyRoom { budget: self, untaken: 0 });
        }
        if let Some(batch) = state.batches.get_mut(shard)
            && !std::mem::replace(&mut batch.refused, true)
        {
            state.refused.push_back(shard.clone());
        }
        // Replies in flight end by themselves; only batches can be made smaller.
        let beside = (REPLIES_BESIDE * REPLY_BYTES).min(self.limit / 2).max(REPLY_BYTES);
        if state.bytes + beside > self.limit
            && !state.batches.values().any(|batch| batch.seal)
            && let Some(largest) = state.batches.values_mut().max_by_key(|batch| batch.bytes)
            && largest.bytes > 0
        {
            largest.seal = true;
            largest.stop.nudge();
        }
        None
    }

    /// Whether the shard's batch was chosen to be sealed early.
    pub fn must_seal(&self, shard: &ShardId) -> bool {
        self.state().batches.get(shard).is_some_and(|batch| batch.seal)
    }

    /// Bytes taken now, by open batches and replies in flight.
    pub fn used(&self) -> u64 {
        let state = self.state();
        state.replies + state.bytes
    }

    const fn has_room(&self, state: &State) -> bool {
        state.untaken < self.most_untaken && state.replies + state.bytes + REPLY_BYTES <= self.limit
    }

    /// Wakes as many as there is room for, and no more than `most`: a thousand shards that all looked at
    /// each reply's end would do little else. Who is woken and does not come is missed by nobody for long: all
    /// look by themselves every second.
    fn wake_refused(&self, state: &mut State, most: u64) {
        if state.untaken >= self.most_untaken {
            return;
        }
        let free = self.limit.saturating_sub(state.replies + state.bytes);
        let mut rooms = (free / REPLY_BYTES).max(u64::from(state.replies == 0 && state.bytes == 0)).min(most);
        while rooms > 0
            && let Some(shard) = state.refused.pop_front()
        {
            // One that has left needs none.
            if let Some(batch) = state.batches.get_mut(&shard) {
                batch.refused = false;
                batch.stop.nudge();
                rooms -= 1;
            }
        }
    }
}

/// Whether no shard holds more than this one, which holds something: reading on is how it gives that back, so it may
/// where nobody else does, beyond the limit as well. Of many that hold a part, one after the other is done with.
fn holds_most(state: &State, shard: &ShardId) -> bool {
    let held = state.batches.get(shard).map_or(0, |batch| batch.held);
    held > 0 && state.batches.values().all(|other| other.held <= held)
}

impl Drop for ReplyRoom<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.replies = state.replies.saturating_sub(REPLY_BYTES);
        state.untaken -= self.untaken;
        self.budget.wake_refused(&mut state, if self.untaken > 0 { WOKEN_FOR_ANSWER } else { 1 });
    }
}

/// `disk.spool_bytes`: bounds what is sealed and not yet in S3, over all shards together.
#[derive(Debug)]
pub struct SpoolQuota {
    limit: u64,
    used: AtomicU64,
    spilled: AtomicU64,
}

impl SpoolQuota {
    /// `limit` bytes over all shards.
    pub const fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0), spilled: AtomicU64::new(0) }
    }

    /// So much more lies in the spool.
    pub fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much less lies in the spool.
    pub fn remove(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes room for so many bytes of an open batch. Without it they stay in memory: open batches never make
    /// reading pause, and take no more of the disk than the spool may.
    pub fn spill(&self, bytes: u64) -> bool {
        let before = self.spilled.fetch_add(bytes, Ordering::Relaxed);
        let fits = self.used().saturating_add(before).saturating_add(bytes) <= self.limit;
        if !fits {
            self.unspill(bytes);
        }
        fits
    }

    /// So many spilled bytes were sealed, or dropped.
    pub fn unspill(&self, bytes: u64) {
        self.spilled.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether reading must pause until something was delivered.
    pub fn is_full(&self) -> bool {
        self.used() >= self.limit
    }

    /// Bytes sealed and not yet in S3.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_batch_makes_room() {
        let budget = Budget::new(100 << 20, 2);
        let (small, large) = (ShardId::new("a"), ShardId::new("b"));
        budget.join(&small, Stop::new());
        budget.join(&large, Stop::new());
        budget.set_batch(&small, 10 << 20, 0);
        budget.set_batch(&large, 80 << 20, 0);
        assert!(budget.room_for_reply(&small).is_none());
        assert!(budget.must_seal(&large) && !budget.must_seal(&small));
        budget.set_batch(&large, 0, 0);
        assert!(!budget.must_seal(&large));
        let room = budget.room_for_reply(&small);
        assert!(room.is_some());
        assert_eq!(budget.used(), (10 << 20) + REPLY_BYTES);
        drop(room);
        assert_eq!(budget.used(), 10 << 20);
    }

    #[test]
    fn what_is_held_is_not_asked_to_seal_and_who_holds_most_reads_on() {
        let budget = Budget::new(2 * REPLY_BYTES, 2);
        let [most, less, open] = ["a", "b", "c"].map(ShardId::new);
        for shard in [&most, &less, &open] {
            budget.join(shard, Stop::new());
        }
        budget.set_batch(&most, 1, 3 * REPLY_BYTES);
        budget.set_batch(&less, 0, REPLY_BYTES);
        assert!(budget.room_for_reply(&less).is_none() && budget.room_for_reply(&open).is_none());
        assert!(budget.must_seal(&most), "for its open byte, not for what it holds");
        budget.set_batch(&most, 0, 3 * REPLY_BYTES);
        budget.set_batch(&open, 1 << 20, 0);
        assert!(budget.room_for_reply(&less).is_none());
        assert!(budget.must_seal(&open) && !budget.must_seal(&most));
        let room = budget.room_for_reply(&most);
        assert!(room.is_some() && budget.room_for_reply(&most).is_none(), "one at a time");
        drop(room);
        budget.set_batch(&most, 0, 0);
        assert!(budget.room_for_reply(&less).is_some());
        budget.leave(&less);
        budget.leave(&open);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn open_batches_use_what_the_spool_leaves_and_never_fill_it() {
        let quota = SpoolQuota::new(100);
        assert!(quota.spill(60) && !quota.spill(41) && quota.spill(40));
        assert!(!quota.is_full());
        quota.unspill(60);
        quota.add(90);
        assert!(!quota.spill(1) && !quota.is_full());
        quota.unspill(40);
        assert!(quota.spill(10));
        quota.add(10);
        assert!(quota.is_full());
    }

    #[test]
    fn one_reply_always_fits() {
        let budget = Budget::new(1, 2);
        assert!(budget.room_for_reply(&ShardId::new("a")).is_some());
    }

    #[test]
    fn no_call_begins_while_more_answers_wait_than_keep_the_cores_busy() {
        let budget = Budget::new(1 << 40, 2);
        let shards: Vec<(ShardId, Stop)> =
            (0..5).map(|n| (ShardId::new(n.to_string()), Stop::new())).collect();
        for (shard, stop) in &shards {
            budget.join(shard, stop.clone());
        }
        let ask = |n: usize| budget.room_for_reply(&shards[n].0);
        let seen: Vec<_> = shards.iter().map(|(_, stop)| stop.seen()).collect();
        let woken = || (0..5).filter(|n| shards[*n].1.seen() != seen[*n]).collect::<Vec<_>>();
        let (mut first, mut second) = (ask(0).unwrap(), ask(1).unwrap());
        first.holds(1);
        second.holds(budget.most_untaken - 2);
        first.holds(2);
        assert!((2..5).all(|n| ask(n).is_none()), "calls under way take nothing of it, answers do");
        budget.set_batch(&shards[0].0, 2, 0);
        budget.set_batch(&shards[0].0, 1, 0);
        assert!(woken().is_empty(), "room for batches is none for answers");
        drop(first);
        assert_eq!(woken(), [2, 3]);
        assert!(ask(2).is_some());
        drop(second);
        assert_eq!(woken(), [2, 3, 4]);
    }

    #[test]
    fn who_waits_for_replies_of_others_is_woken_in_turn_and_no_batch_is_sealed_for_it() {
        let budget = Budget::new(10 * REPLY_BYTES, 2);
        let shards: Vec<(ShardId, Stop)> =
            (0..20).map(|n| (ShardId::new(n.to_string()), Stop::new())).collect();
        for (shard, stop) in &shards {
            budget.join(shard, stop.clone());
            budget.set_batch(shard, 1 << 20, 0);
        }
        let ask = |range: std::ops::Range<usize>| -> Vec<_> {
            shards[range].iter().map(|(shard, _)| budget.room_for_reply(shard)).collect()
        };
        let mut held: Vec<_> = ask(0..9);
        assert!(held.iter().all(Option::is_some));
        assert!(ask(9..20).iter().chain(&ask(9..20)).all(Option::is_none));
        assert!(shards.iter().all(|(shard, _)| !budget.must_seal(shard)));
        let seen: Vec<_> = shards.iter().map(|(_, stop)| stop.seen()).collect();
        budget.leave(&shards[11].0);
        held.truncate(7);
        let woken: Vec<_> = (0..20).filter(|n| shards[*n].1.seen() != seen[*n]).collect();
        assert_eq!(woken, [9, 10]);
        drop(held);
        let woken = (0..20).filter(|n| shards[*n].1.seen() != seen[*n]).count();
        assert_eq!(woken, 2 + 7, "one for each reply, and none that left");
    }
}
