//! Turns at sealing and at rendering: of many batches that are due at once, a few are dealt with at a time.
//!
//! Owns who may go now and who is woken next. A thousand batches that began together end together: all at
//! once, their threads would wait for the disk and for each other for seconds, and read nothing meanwhile; rendered all
//! at once in another form, their objects would not fit into memory. Who waits for its turn goes on reading.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::shard::ShardId;
use crate::stop::Stop;

/// Sealing: enough to keep the cores and the disk busy: while some wait for an fsync, others compress. More make each
/// other wait, and those who read.
pub const SEALS: usize = 8;

/// Rendering: enough for a few cores. Each holds a whole object in memory until it is written.
pub const RENDERINGS: usize = 4;

/// Who waits for its turn is nudged when it comes, and looks by itself this often.
pub(super) const LOOK_FOR_TURN: Duration = Duration::from_secs(1);

/// Who has a turn, and who waits for one, over all shards of a stream.
#[derive(Debug)]
pub struct Turns {
    at_once: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Who waits, in order; those that have left since are in the other no more.
    order: VecDeque<ShardId>,
    waiting: HashMap<ShardId, Stop>,
}

/// A turn, over when dropped.
#[derive(Debug)]
pub struct TakenTurn<'a> {
    turns: &'a Turns,
}

impl Turns {
    /// For so many at once.
    pub fn new(at_once: usize) -> Self {
        Self { at_once, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, or `None`: then `stop` is nudged when there may be one. Whoever looks by itself meanwhile gets one
    /// that is free, so that a wake-up that nobody follows costs nothing but time.
    pub fn take(&self, shard: &ShardId, stop: &Stop) -> Option<TakenTurn<'_>> {
        let mut state = self.state();
        if state.taken < self.at_once {
            state.taken += 1;
            state.waiting.remove(shard);
            return Some(TakenTurn { turns: self });
        }
        if state.waiting.insert(shard.clone(), stop.clone()).is_none() {
            state.order.push_back(shard.clone());
        }
        None
    }

    /// The shard needs no turn any more.
    pub fn leave(&self, shard: &ShardId) {
        self.state().waiting.remove(shard);
    }
}

impl Drop for TakenTurn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.taken -= 1;
        while let Some(next) = state.order.pop_front() {
            if let Some(stop) = state.waiting.remove(&next) {
                stop.nudge();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: usize = SEALS;

    #[test]
    fn of_many_that_want_to_seal_a_few_do_and_the_others_are_woken_in_order() {
        let turns = Turns::new(AT_ONCE);
        let shards: Vec<(ShardId, Stop)> =
            (0..20).map(|n| (ShardId::new(n.to_string()), Stop::new())).collect();
        let seen: Vec<_> = shards.iter().map(|(_, stop)| stop.seen()).collect();
        let woken = || (0..20).filter(|n| shards[*n].1.seen() != seen[*n]).collect::<Vec<_>>();
        let ask = |n: usize| turns.take(&shards[n].0, &shards[n].1);
        let mut held: Vec<_> = (0..AT_ONCE).filter_map(ask).collect();
        assert_eq!(held.len(), AT_ONCE);
        // Who looks twice waits once.
        assert!((AT_ONCE..20).chain(AT_ONCE..20).all(|n| ask(n).is_none()));
        assert!(woken().is_empty());
        turns.leave(&shards[9].0);
        held.truncate(AT_ONCE - 2);
        assert_eq!(woken(), [8, 10], "two turns ended, and the second of those who waited has left");
        held.extend([ask(8), ask(10)].into_iter().flatten());
        assert_eq!(held.len(), AT_ONCE);
        assert!(ask(11).is_none());
    }

    #[test]
    fn a_turn_that_is_free_goes_to_who_comes() {
        let turns = Turns::new(AT_ONCE);
        let (shard, stop) = (ShardId::new("a"), Stop::new());
        for _ in 0..3 * AT_ONCE {
            assert!(turns.take(&shard, &stop).is_some());
        }
    }
}
