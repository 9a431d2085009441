//! CPU time of a thread, and rates in it.

use std::error::Error;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is measured is repeated so often; the best counts.
pub const ROUNDS: u32 = 9;

/// CPU time of this thread, to the nanosecond (the scheduler's statistics grow only with its ticks).
pub fn of_this_thread() -> Outcome<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?)
}

/// MB of payload a CPU second, the best of some rounds.
pub fn rate(payload: u64, mut work: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let before = of_this_thread()?;
        work()?;
        best = best.min(of_this_thread()?.saturating_sub(before));
    }
    Ok(payload as f64 / 1e6 / best.as_secs_f64())
}
