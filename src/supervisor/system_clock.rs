//! The real clock.
#![allow(clippy::disallowed_methods, reason = "this is the adapter that everything else takes the time from")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::timestamp::Timestamp;
use crate::ports::Clock;

/// This machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Its monotonic time counts from now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}
