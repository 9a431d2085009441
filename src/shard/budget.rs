//! The memory of all open batches and replies in flight, and the disk of all spools, each under one limit.
//!
//! Owns who may take how much, and whose batch must be sealed to make room. Does not seal.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::shard::ShardId;
use crate::stop::Stop;

/// What one reply takes while it is in flight: 10 MiB of data is about 14 MiB of JSON text and
/// 10 MiB decoded.
pub const REPLY_BYTES: u64 = 24 << 20;

/// `batch.memory`: bounds open batches and replies in flight over all shards together.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    replies: u64,
    /// Somebody was refused room since all were last woken.
    refused: bool,
    batches: HashMap<ShardId, Batch>,
}

#[derive(Debug)]
struct Batch {
    bytes: u64,
    seal: bool,
    stop: Stop,
}

/// Room for one reply; given back when dropped.
#[derive(Debug)]
pub struct ReplyRoom<'a> {
    budget: &'a Budget,
}

impl Budget {
    /// `limit` bytes over all shards. One reply always fits, or nothing could be read.
    pub fn new(limit: u64) -> Self {
        Self { limit: limit.max(REPLY_BYTES), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard takes part from now on; `stop` is nudged when its batch must be sealed or when
    /// there is room again.
    pub fn join(&self, shard: &ShardId, stop: Stop) {
        self.state().batches.insert(shard.clone(), Batch { bytes: 0, seal: false, stop });
    }

    /// A shard no longer takes part.
    pub fn leave(&self, shard: &ShardId) {
        let mut state = self.state();
        state.batches.remove(shard);
        state.wake_refused();
    }

    /// Says how much the shard's open batch takes now.
    pub fn set_batch(&self, shard: &ShardId, bytes: u64) {
        let mut state = self.state();
        let Some(batch) = state.batches.get_mut(shard) else { return };
        let shrunk = bytes < batch.bytes;
        batch.bytes = bytes;
        if bytes == 0 {
            batch.seal = false;
        }
        if shrunk {
            state.wake_refused();
        }
    }

    /// Room for a reply, or `None`: then the largest batch was told to seal, and whoever waits is
    /// nudged when there is room.
    pub fn room_for_reply(&self) -> Option<ReplyRoom<'_>> {
        let mut state = self.state();
        let batches: u64 = state.batches.values().map(|batch| batch.bytes).sum();
        if state.replies + batches + REPLY_BYTES <= self.limit || (state.replies == 0 && batches == 0) {
            state.replies += REPLY_BYTES;
            return Some(ReplyRoom { budget: self });
        }
        state.refused = true;
        // Only batches can be made smaller; replies in flight end by themselves.
        if !state.batches.values().any(|batch| batch.seal)
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
        state.replies + state.batches.values().map(|batch| batch.bytes).sum::<u64>()
    }
}

impl State {
    /// Wakes whoever may be waiting for room; nobody is, if nobody was refused.
    fn wake_refused(&mut self) {
        if !std::mem::take(&mut self.refused) {
            return;
        }
        for batch in self.batches.values() {
            batch.stop.nudge();
        }
    }
}

impl Drop for ReplyRoom<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.replies = state.replies.saturating_sub(REPLY_BYTES);
        state.wake_refused();
    }
}

/// `disk.spool_bytes`: bounds what is sealed and not yet in S3, over all shards together.
#[derive(Debug)]
pub struct SpoolQuota {
    limit: u64,
    used: AtomicU64,
}

impl SpoolQuota {
    /// `limit` bytes over all shards.
    pub const fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    /// So much more lies in the spool.
    pub fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much less lies in the spool.
    pub fn remove(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
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
        let budget = Budget::new(100 << 20);
        let (small, large) = (ShardId::new("a"), ShardId::new("b"));
        budget.join(&small, Stop::new());
        budget.join(&large, Stop::new());
        budget.set_batch(&small, 10 << 20);
        budget.set_batch(&large, 80 << 20);
        assert!(budget.room_for_reply().is_none());
        assert!(budget.must_seal(&large) && !budget.must_seal(&small));
        budget.set_batch(&large, 0);
        assert!(!budget.must_seal(&large));
        let room = budget.room_for_reply();
        assert!(room.is_some());
        assert_eq!(budget.used(), (10 << 20) + REPLY_BYTES);
        drop(room);
        assert_eq!(budget.used(), 10 << 20);
    }

    #[test]
    fn one_reply_always_fits() {
        let budget = Budget::new(1);
        assert!(budget.room_for_reply().is_some());
    }
}
