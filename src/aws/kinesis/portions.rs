//! How many records a shard is asked for at once: all that GetRecords gives, unless the way is too slow for it.
//!
//! Owns how that shrinks and grows. A full answer is 14 MB on the wire. Where the machine's share of the network is small
//! (a burstable instance out of credits, an office's line) and many shards are behind, all their answers at once do not
//! come within the deadline of a call; asked for the same again and again, the line would be busy for ever and nothing
//! would be read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::shard::ShardId;

/// The most that GetRecords allows; a byte limit it does not have.
pub(super) const MOST_RECORDS: i32 = 10_000;

/// A part so much smaller is asked for after a call that ran into its deadline: the ten large records that an answer
/// may be full with are reached after four of them.
const SMALLER: i32 = 8;

/// A call that took at most this part of its deadline leaves time for twice as much, with as much again to spare.
const EASY: u32 = 4;

/// What the shards are asked for. Those that have everything asked of them, as nearly always all have, are not kept.
#[derive(Debug)]
pub(super) struct Portions {
    deadline: Duration,
    reduced: Mutex<HashMap<ShardId, i32>>,
}

impl Portions {
    /// For calls that may take so long.
    pub(super) fn new(deadline: Duration) -> Self {
        Self { deadline, reduced: Mutex::default() }
    }

    fn reduced(&self) -> MutexGuard<'_, HashMap<ShardId, i32>> {
        self.reduced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many records to ask for now.
    pub(super) fn of(&self, shard: &ShardId) -> i32 {
        self.reduced().get(shard).copied().unwrap_or(MOST_RECORDS)
    }

    /// `asked` records were asked for, and so many came in so much time.
    pub(super) fn came(&self, shard: &ShardId, asked: i32, records: usize, took: Duration) {
        let full = usize::try_from(asked).is_ok_and(|asked| records >= asked);
        if asked == MOST_RECORDS || !full || took > self.deadline / EASY {
            return;
        }
        let more = asked.saturating_mul(2);
        if more < MOST_RECORDS {
            self.reduced().insert(shard.clone(), more);
        } else {
            self.reduced().remove(shard);
        }
    }

    /// `asked` records were asked for, and no answer could be used after so much time.
    pub(super) fn failed(&self, shard: &ShardId, asked: i32, took: Duration) {
        // What fails sooner (nobody there, a connection that was closed) says nothing of how fast answers come.
        if took < self.deadline / 2 || asked == 1 {
            return;
        }
        let fewer = (asked / SMALLER).max(1);
        tracing::info!(%shard, records = fewer, "GetRecords is answered too slowly: the shard is asked for fewer records at once");
        self.reduced().insert(shard.clone(), fewer);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(15);

    #[test]
    fn what_ran_into_the_deadline_is_asked_for_in_part_and_what_came_easily_in_whole_again() {
        let (portions, shard) = (Portions::new(DEADLINE), ShardId::new("a"));
        let (slow, quick) = (DEADLINE, Duration::from_secs(1));
        portions.failed(&shard, portions.of(&shard), quick);
        assert_eq!(portions.of(&shard), MOST_RECORDS, "a refused connection is no slow answer");
        let fewer = [1250, 156, 19, 2, 1, 1];
        assert_eq!(
            fewer.map(|_| {
                portions.failed(&shard, portions.of(&shard), slow);
                portions.of(&shard)
            }),
            fewer
        );
        assert_eq!(portions.of(&ShardId::new("b")), MOST_RECORDS);
        portions.came(&shard, 1, 0, quick);
        portions.came(&shard, 1, 1, DEADLINE / 3);
        assert_eq!(portions.of(&shard), 1, "there was nothing more, or no time for it");
        for _ in 0..14 {
            let asked = portions.of(&shard);
            portions.came(&shard, asked, asked.unsigned_abs() as usize, quick);
        }
        assert_eq!(portions.of(&shard), MOST_RECORDS);
        assert!(portions.reduced().is_empty());
    }

    proptest! {
        /// However slow the line and however many shards share it: once each call has been cut a few times, all answers
        /// come in time, and go on doing so.
        #[test]
        fn on_a_slow_line_answers_come_again(
            shards in 1_usize..300,
            record in 50_f64..1.4e6,
            rate in 2e5_f64..1e8,
        ) {
            let portions = Portions::new(DEADLINE);
            let ids: Vec<_> = (0..shards).map(|n| ShardId::new(n.to_string())).collect();
            // One record of each must come in half the time, or there is nothing to be done.
            prop_assume!(record * shards as f64 / rate < DEADLINE.as_secs_f64() / 2.0);
            for round in 0..40 {
                let asked: Vec<i32> = ids.iter().map(|id| portions.of(id)).collect();
                // An answer has 14 MB at most.
                let records = |asked: i32| f64::from(asked).min((14e6 / record).floor()).max(1.0);
                let bytes: f64 = asked.iter().map(|asked| records(*asked) * record).sum();
                let took = Duration::from_secs_f64(bytes / rate);
                prop_assert!(round < 6 || took < DEADLINE, "round {round}: {took:?}");
                for (id, asked) in ids.iter().zip(asked) {
                    if took < DEADLINE {
                        portions.came(id, asked, records(asked) as usize, took);
                    } else {
                        portions.failed(id, asked, DEADLINE);
                    }
                }
            }
        }
    }
}
