//! When the shards are listed anew: now and then, and soon after a sign that they changed.

use std::time::Duration;

/// Not more often, whatever the signs.
const LEAST: Duration = Duration::from_secs(1);

/// Throttling is a sign only so long after a listing: mostly it has another cause.
const SUSPECT: Duration = Duration::from_secs(5);

/// When to list.
#[derive(Debug)]
pub(super) struct Refresh {
    every: Duration,
    last: Duration,
    wanted: bool,
    running: bool,
}

impl Refresh {
    pub(super) const fn new(every: Duration, now: Duration) -> Self {
        Self { every, last: now, wanted: false, running: false }
    }

    /// Something does not fit the shards as they were listed.
    pub(super) const fn want(&mut self) {
        self.wanted = true;
    }

    /// A shard refuses: perhaps there are more shards now.
    pub(super) fn suspect(&mut self, now: Duration) {
        self.wanted |= now >= self.last + SUSPECT;
    }

    /// When the next listing is due; never while one is under way.
    pub(super) fn at(&self) -> Duration {
        match (self.running, self.wanted) {
            (true, _) => Duration::MAX,
            (false, true) => self.last + LEAST,
            (false, false) => self.last + self.every,
        }
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.at() <= now
    }

    pub(super) const fn begun(&mut self) {
        self.running = true;
    }

    /// A listing ended; one that failed is tried again when it is due.
    pub(super) const fn ended(&mut self, now: Duration) {
        self.running = false;
        self.wanted = false;
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_listed_now_and_then_and_soon_after_a_sign() {
        let second = Duration::from_secs(1);
        let mut refresh = Refresh::new(60 * second, second);
        assert_eq!(refresh.at(), 61 * second);
        refresh.want();
        assert!(refresh.is_due(2 * second));
        refresh.begun();
        refresh.want();
        assert!(!refresh.is_due(1000 * second));
        refresh.ended(3 * second);
        assert_eq!(refresh.at(), 63 * second);
    }
}
