//! How long a put may take: longer where the line has shown to be slower than is usual.
//!
//! Owns how that grows and comes back. A put that is cut at its deadline was for nothing, and so would be the next one
//! of the same object.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::ports::longest_put;

/// What is smaller waits for the service, and not for the line.
const LARGE: u64 = 64 << 10;

/// Doublings at most: sixteen times as long, for 64 KiB a second.
const MOST: u32 = 4;

/// A put that took at most this part of its time says that less would do.
const EASY: u32 = 4;

/// What has been seen of the line, over all puts.
#[derive(Debug, Default)]
pub(super) struct Patience {
    doublings: AtomicU32,
}

/// What one put is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    bytes: u64,
    doublings: u32,
    /// Until it is given up.
    pub(super) deadline: Duration,
}

impl Patience {
    /// For a put of so many bytes.
    pub(super) fn give(&self, bytes: u64) -> Given {
        let doublings = self.doublings.load(Ordering::Relaxed);
        Given { bytes, doublings, deadline: longest_put(bytes.saturating_mul(1 << doublings)) }
    }

    /// It was stored after so much time.
    pub(super) fn stored(&self, given: Given, took: Duration) {
        if given.bytes >= LARGE && given.doublings > 0 && took <= given.deadline / EASY {
            self.change(given, given.doublings - 1);
        }
    }

    /// It had no answer after so much time.
    pub(super) fn cut(&self, given: Given, took: Duration) {
        // What fails sooner (nobody there, a connection that was closed) says nothing of how fast the line is.
        if given.bytes < LARGE || given.doublings == MOST || took < given.deadline / 2 {
            return;
        }
        if self.change(given, given.doublings + 1) {
            tracing::info!(
                bytes = given.bytes,
                seconds = took.as_secs(),
                "the line is too slow for what is put: puts are given twice the time from now on"
            );
        }
    }

    /// Puts that were under way together change it once.
    fn change(&self, given: Given, to: u32) -> bool {
        self.doublings.compare_exchange(given.doublings, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: u64 = 20 << 20;

    #[test]
    fn a_put_of_a_large_object_that_was_cut_is_given_twice_the_time_and_less_again_when_it_goes_well() {
        let patience = Patience::default();
        let first = patience.give(OBJECT);
        assert_eq!(first.deadline, Duration::from_secs(50));
        let beside = patience.give(OBJECT);
        patience.cut(first, first.deadline);
        patience.cut(beside, beside.deadline);
        assert_eq!(patience.give(OBJECT).deadline, Duration::from_secs(70), "both were cut together");
        for seconds in [110, 190, 350, 350] {
            let given = patience.give(OBJECT);
            patience.cut(given, given.deadline);
            assert_eq!(patience.give(OBJECT).deadline, Duration::from_secs(seconds));
        }
        let given = patience.give(OBJECT);
        patience.stored(given, given.deadline / 2);
        assert_eq!(patience.give(OBJECT), given, "there was no time to spare");
        for seconds in [190, 110, 70, 50, 50] {
            patience.stored(patience.give(OBJECT), Duration::from_secs(5));
            assert_eq!(patience.give(OBJECT).deadline, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn what_is_small_or_failed_at_once_says_nothing_of_the_line() {
        let patience = Patience::default();
        let small = patience.give(1000);
        patience.cut(small, small.deadline);
        let large = patience.give(OBJECT);
        patience.cut(large, Duration::from_secs(3));
        assert_eq!(patience.give(OBJECT), large);
    }
}
