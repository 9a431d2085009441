//! Kills the process at a named point of the flow: how a crash test cuts the real binary.
//!
//! Owns the count-down to the point. Where the points lie is the shard's business.

use std::sync::atomic::{AtomicU64, Ordering};

use signal_hook::consts::SIGKILL;

use crate::ports::{CrashPoint, Probe};

/// The variable that says where: `after-entry:2` is the second time at that point, over all shards.
pub const VARIABLE: &str = "KEEPER_TEST_CRASH_AT";

/// Kills this process, without a chance to clean up, when it comes to a point for the nth time.
#[derive(Debug)]
pub struct KillAt {
    point: CrashPoint,
    left: AtomicU64,
}

impl KillAt {
    /// As [`VARIABLE`] says; `None` where it is not set or names no point.
    pub fn from_env() -> Option<Self> {
        Self::parse(&std::env::var(VARIABLE).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, nth) = text.split_once(':')?;
        let point = CrashPoint::ALL.into_iter().find(|point| point.as_str() == name)?;
        let nth: u64 = nth.parse().ok()?;
        (nth > 0).then(|| Self { point, left: AtomicU64::new(nth) })
    }

    /// Whether this is the time.
    fn is_due(&self, point: CrashPoint) -> bool {
        point == self.point && self.left.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

impl Probe for KillAt {
    fn reached(&self, point: CrashPoint) {
        if self.is_due(point) {
            // SIGKILL can be neither caught nor outlived; an error leaves a run that goes on, and a
            // test that says so.
            let _ = signal_hook::low_level::raise(SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_time_at_the_point_is_the_time() {
        let kill = KillAt::parse("after-entry:2").unwrap();
        assert!(!kill.is_due(CrashPoint::AfterPut));
        assert!(!kill.is_due(CrashPoint::AfterEntry));
        assert!(!kill.is_due(CrashPoint::AfterPut));
        assert!(kill.is_due(CrashPoint::AfterEntry));
        assert!(!kill.is_due(CrashPoint::AfterEntry));
    }

    #[test]
    fn every_point_can_be_named_and_nothing_else() {
        for point in CrashPoint::ALL {
            let kill = KillAt::parse(&format!("{}:1", point.as_str())).unwrap();
            assert!(kill.is_due(point));
        }
        for text in ["", "after-entry", "after-entry:0", "after-entry:x", "nowhere:1"] {
            assert!(KillAt::parse(text).is_none(), "{text}");
        }
    }
}
