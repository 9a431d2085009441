//! Backoff with jitter; clock and randomness are handed in.

use std::time::Duration;

/// How fast waits grow and where they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Pace {
    /// For remote services: 0.5 s doubling to 30 s. S3 and Kinesis recover within seconds or not
    /// for minutes; half a minute keeps an outage from costing more than that after its end.
    pub const REMOTE: Self = Self { first: Duration::from_millis(500), longest: Duration::from_secs(30) };
}

/// Counts failures in a row and says how long to wait after each.
#[derive(Clone, Debug)]
pub struct Backoff {
    pace: Pace,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub const fn new(pace: Pace) -> Self {
        Self { pace, failures: 0 }
    }

    /// Forgets all failures: something went well.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts one more failure: the wait before the next try, between half of the doubled
    /// time and all of it (so that many shards spread out), never over the longest.
    pub fn next(&mut self, random: &mut fastrand::Rng) -> Duration {
        let doubled = self.pace.first.saturating_mul(1_u32 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        jitter(doubled.min(self.pace.longest), random)
    }
}

/// A random time between half of `wait` and all of it.
pub fn jitter(wait: Duration, random: &mut fastrand::Rng) -> Duration {
    wait.mul_f64(0.5 + 0.5 * random.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_over() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut backoff = Backoff::new(Pace::REMOTE);
        for failure in 0..40 {
            let wait = backoff.next(&mut random);
            let top = Pace::REMOTE.first.saturating_mul(1 << failure.min(20)).min(Pace::REMOTE.longest);
            assert!(wait >= top / 2 && wait <= top, "{wait:?} of {top:?}");
        }
        backoff.reset();
        assert!(backoff.next(&mut random) <= Pace::REMOTE.first);
    }
}
