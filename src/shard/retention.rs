//! From when on the stream still has all of its records.
//!
//! Owns one thing that its description does not tell: a longer retention brings nothing back that a shorter one had
//! trimmed. Who forgets that takes records for there that are gone.

use std::time::Duration;

use crate::model::timestamp::Timestamp;

/// What is known of a stream's retention, now and before.
#[derive(Debug)]
pub(super) struct Retention {
    now: Duration,
    /// A shorter one that held when a position was saved, until nobody knows when before the next answer.
    before: Option<Duration>,
    /// What arrived earlier may be gone, however long records are kept by now.
    trimmed_to: Option<Timestamp>,
}

impl Retention {
    /// The stream keeps its records for so long.
    pub(super) const fn new(now: Duration) -> Self {
        Self { now, before: None, trimmed_to: None }
    }

    /// How long records are kept that arrive now.
    pub(super) const fn now(&self) -> Duration {
        self.now
    }

    /// What arrived earlier may be gone, whatever the retention is.
    pub(super) const fn trimmed_to(&self) -> Option<Timestamp> {
        self.trimmed_to
    }

    /// The service, at its own time, says so.
    pub(super) fn set(&mut self, now: Duration, at: Timestamp) {
        if now > self.now {
            self.may_be_gone_before(at - self.now);
        }
        self.now = now;
    }

    /// What a checkpoint says of it.
    pub(super) fn was(&mut self, retention: Option<Duration>, trimmed_to: Option<Timestamp>) {
        if let Some(shorter) = retention.filter(|saved| *saved < self.now) {
            self.before = Some(self.before.map_or(shorter, |before| before.min(shorter)));
        }
        self.trimmed_to = self.trimmed_to.max(trimmed_to);
    }

    /// From when on the stream has all of its records, at this time of the service.
    pub(super) fn horizon(&mut self, at: Timestamp) -> Timestamp {
        if let Some(before) = self.before.take() {
            self.may_be_gone_before(at - before);
        }
        let horizon = at - self.now;
        self.trimmed_to.map_or(horizon, |trimmed_to| trimmed_to.max(horizon))
    }

    fn may_be_gone_before(&mut self, time: Timestamp) {
        self.trimmed_to = self.trimmed_to.max(Some(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_seconds(hour * 3600)
    }

    #[test]
    fn a_longer_retention_brings_nothing_back() {
        let mut retention = Retention::new(24 * HOUR);
        assert_eq!(retention.horizon(at(100)), at(76));
        retention.set(168 * HOUR, at(110));
        assert_eq!(retention.horizon(at(110)), at(86));
        assert_eq!(retention.horizon(at(200)), at(86), "what was there then is kept");
        assert_eq!(retention.horizon(at(300)), at(132));
        retention.set(24 * HOUR, at(300));
        assert_eq!(retention.horizon(at(300)), at(276));
    }

    #[test]
    fn one_that_was_longer_when_nobody_looked_may_have_become_so_just_now() {
        let mut retention = Retention::new(168 * HOUR);
        retention.was(Some(24 * HOUR), None);
        retention.was(Some(48 * HOUR), Some(at(10)));
        assert_eq!(retention.horizon(at(300)), at(276));
        assert_eq!(retention.horizon(at(310)), at(276), "and not later");
        assert_eq!(retention.trimmed_to(), Some(at(276)));
        let mut same = Retention::new(24 * HOUR);
        same.was(Some(24 * HOUR), None);
        same.was(None, None);
        assert_eq!((same.horizon(at(300)), same.trimmed_to()), (at(276), None));
    }
}
