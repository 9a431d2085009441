//! The last hour, minute by minute: what was read and archived.
//!
//! Owns a ring of sixty minutes. It is fed with totals whenever somebody looks, at least every few seconds,
//! and asks nobody by itself.

use std::collections::VecDeque;
use std::time::Duration;

/// How many minutes are kept, the running one included.
pub const MINUTES: usize = 60;

const MINUTE: u64 = 60;

/// Totals since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// User records read.
    pub records_read: u64,
    /// Payload bytes read.
    pub bytes_read: u64,
    /// Compressed bytes archived.
    pub bytes_archived: u64,
}

/// What happened within one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    /// Minutes of the monotonic clock.
    number: u64,
    /// How much more than before.
    pub more: Totals,
}

/// The last hour.
#[derive(Debug, Default)]
pub struct History {
    /// Oldest first, none left out.
    minutes: VecDeque<Minute>,
    seen: Totals,
    looked_at: Option<Duration>,
}

impl History {
    /// Whether it is time to look again: often enough that a minute's numbers are its own.
    pub fn is_due(&self, now: Duration) -> bool {
        self.looked_at.is_none_or(|at| now >= at + Duration::from_secs(1))
    }

    /// Takes the totals at the monotonic instant `now`; what is new belongs to its minute.
    pub fn look(&mut self, now: Duration, totals: Totals) {
        let number = now.as_secs() / MINUTE;
        let first = number.saturating_sub(MINUTES as u64 - 1);
        let next = self.minutes.back().map_or(number, |last| last.number + 1);
        for number in next.max(first)..=number {
            self.minutes.push_back(Minute { number, more: Totals::default() });
        }
        while self.minutes.front().is_some_and(|minute| minute.number < first) {
            self.minutes.pop_front();
        }
        if let Some(minute) = self.minutes.back_mut() {
            minute.more.records_read += totals.records_read.saturating_sub(self.seen.records_read);
            minute.more.bytes_read += totals.bytes_read.saturating_sub(self.seen.bytes_read);
            minute.more.bytes_archived += totals.bytes_archived.saturating_sub(self.seen.bytes_archived);
        }
        self.seen = totals;
        self.looked_at = Some(now);
    }

    /// The minutes, oldest first, each with how long before `now` it began.
    pub fn minutes(&self, now: Duration) -> impl Iterator<Item = (Duration, Totals)> {
        let began = |minute: &Minute| Duration::from_secs(minute.number * MINUTE);
        self.minutes.iter().map(move |minute| (now.saturating_sub(began(minute)), minute.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(history: &History, now: u64) -> Vec<(u64, u64)> {
        let minutes = history.minutes(Duration::from_secs(now));
        minutes.map(|(ago, more)| (ago.as_secs(), more.records_read)).collect()
    }

    fn totals(records_read: u64) -> Totals {
        Totals { records_read, ..Totals::default() }
    }

    #[test]
    fn what_is_new_belongs_to_the_minute_and_quiet_minutes_are_there() {
        let mut history = History::default();
        let mut look = |at, records| history.look(Duration::from_secs(at), totals(records));
        look(10, 5);
        look(59, 7);
        look(60, 8);
        look(200, 20);
        assert_eq!(records(&history, 200), [(200, 7), (140, 1), (80, 0), (20, 12)]);
        assert!(!history.is_due(Duration::from_millis(200_900)));
        assert!(history.is_due(Duration::from_secs(201)));
    }

    #[test]
    fn an_hour_is_kept_however_long_nobody_looked() {
        let mut history = History::default();
        history.look(Duration::ZERO, totals(1));
        history.look(Duration::from_secs(59 * 60), totals(2));
        let all = records(&history, 59 * 60);
        assert_eq!((all.len(), all[0], all[59]), (60, (59 * 60, 1), (0, 1)));
        history.look(Duration::from_secs(1_000_000), totals(9));
        let all = records(&history, 1_000_000);
        assert_eq!(all.len(), 60);
        assert_eq!(all.iter().map(|(_, records)| records).sum::<u64>(), 7);
    }
}
