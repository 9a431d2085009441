//! The board: what shards and supervisor know that decides whether an hour is over and complete.
//!
//! Owns promises of shards, the latest listing, the services' time and what of earlier creations is still
//! to be delivered. Everything on it stays true for good, so nobody need take anything back. Does not
//! decide anything: `supervisor::hours` does.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::shard::{Shard, ShardId};
use crate::model::timestamp::{Hour, Timestamp};

/// Whatever entry follows this one in the shard's ledger, whoever puts it, has this hour or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The entry.
    pub serial: u64,
    /// The earliest hour of what follows it.
    pub from: Hour,
}

/// A complete listing of the stream's shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// By the service's clock: not later than when it was made.
    pub at: Timestamp,
    /// The shards.
    pub shards: Vec<ShardId>,
}

/// Shared by all shards of a stream, the supervisor, and whoever tells the hours.
#[derive(Debug)]
pub struct HourBoard {
    state: Mutex<State>,
    /// The latest of the services' times, less the monotonic time at which it was seen.
    ahead: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    promises: HashMap<ShardId, Promise>,
    listing: Option<Listing>,
    draining: BTreeSet<String>,
}

impl Default for HourBoard {
    fn default() -> Self {
        Self { state: Mutex::default(), ahead: AtomicI64::new(i64::MIN) }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl HourBoard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A service said what time it is.
    pub fn saw_date(&self, date: Timestamp, monotonic: Duration) {
        self.ahead.fetch_max(date.as_millis().saturating_sub(millis(monotonic)), Ordering::Relaxed);
    }

    /// The latest that the time may be, by this machine's clock and by the services'.
    pub fn latest_time(&self, own: Timestamp, monotonic: Duration) -> Timestamp {
        let ahead = self.ahead.load(Ordering::Relaxed);
        own.max(Timestamp::from_millis(ahead.saturating_add(millis(monotonic))))
    }

    /// A shard's promise. Earlier ones hold as well.
    pub fn promise(&self, shard: &ShardId, promise: Promise) {
        let mut state = self.state();
        let from = state.promises.get(shard).map_or(promise.from, |before| before.from.max(promise.from));
        state.promises.insert(shard.clone(), Promise { from, ..promise });
    }

    /// All promises.
    pub fn promises(&self) -> HashMap<ShardId, Promise> {
        self.state().promises.clone()
    }

    /// A complete listing that was made at this time or later.
    pub fn listed(&self, at: Timestamp, shards: &[Shard]) {
        let shards = shards.iter().map(|shard| shard.id.clone()).collect();
        self.state().listing = Some(Listing { at, shards });
    }

    /// The latest complete listing.
    pub fn listing(&self) -> Option<Listing> {
        self.state().listing.clone()
    }

    /// A folder of an earlier creation of the stream is still to be delivered.
    pub fn drains(&self, folder: &str) {
        self.state().draining.insert(folder.to_owned());
    }

    /// It is delivered.
    pub fn drained(&self, folder: &str) {
        self.state().draining.remove(folder);
    }

    /// A folder that is not delivered yet.
    pub fn draining(&self) -> Option<String> {
        self.state().draining.first().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_the_latest_that_anybody_says() {
        let board = HourBoard::default();
        let own = Timestamp::from_seconds(100);
        assert_eq!(board.latest_time(own, Duration::from_secs(5)), own);
        board.saw_date(Timestamp::from_seconds(200), Duration::from_secs(5));
        board.saw_date(Timestamp::from_seconds(150), Duration::from_secs(5));
        assert_eq!(board.latest_time(own, Duration::from_secs(15)), Timestamp::from_seconds(210));
        let ahead = Timestamp::from_seconds(300);
        assert_eq!(board.latest_time(ahead, Duration::from_secs(15)), ahead);
    }

    #[test]
    fn an_earlier_promise_still_holds() {
        let (board, shard) = (HourBoard::default(), ShardId::new("s"));
        let hour = Timestamp::EPOCH.hour();
        board.promise(&shard, Promise { serial: 3, from: hour.plus(7) });
        board.promise(&shard, Promise { serial: 4, from: hour.plus(6) });
        assert_eq!(board.promises()[&shard], Promise { serial: 4, from: hour.plus(7) });
    }
}
