//! So many records a second, and no more: the pace of `put` and `replay`.
//!
//! Owns how much of a wait may be made up for. Time comes in, and waiting is the caller's.

use std::time::Duration;

/// So much of the pace may be made up for after a wait.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Records a second, at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    apart: Duration,
    next: Duration,
}

impl Pace {
    pub(super) fn new(rate: u32, now: Duration) -> Self {
        Self { apart: Duration::from_secs(1) / rate.max(1), next: now }
    }

    /// How long the next record must wait; if not at all, it counts as gone.
    pub(super) fn take(&mut self, now: Duration) -> Duration {
        let wait = self.next.saturating_sub(now);
        if wait.is_zero() {
            self.next = self.next.max(now.saturating_sub(CATCH_UP)) + self.apart;
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_and_a_wait_is_made_up_for_a_second_at_most() {
        let mut pace = Pace::new(100, Duration::from_secs(1));
        let gone = |pace: &mut Pace, at| (0..1000).filter(|_| pace.take(at).is_zero()).count();
        assert_eq!(gone(&mut pace, Duration::from_secs(1)), 1);
        assert_eq!(pace.take(Duration::from_secs(1)), Duration::from_millis(10));
        assert_eq!(gone(&mut pace, Duration::from_millis(1500)), 50);
        let after = gone(&mut pace, Duration::from_secs(60));
        assert!((100..=101).contains(&after), "{after}");
        // An hour without a record is no allowance for the hour after.
        let after = gone(&mut pace, Duration::from_secs(3700));
        assert!((100..=101).contains(&after), "{after}");
    }
}
