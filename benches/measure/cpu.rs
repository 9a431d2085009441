//! CPU time, and rates in it.

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

/// MB of payload a CPU second of this thread, the best of some rounds.
pub fn rate(payload: u64, work: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    best_rate(payload, ClockId::ThreadCPUTime, work)
}

/// The same by the CPU time of all threads, for work that is done by several in turn.
pub fn rate_of_all_threads(payload: u64, work: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    best_rate(payload, ClockId::ProcessCPUTime, work)
}

fn best_rate(payload: u64, clock: ClockId, mut work: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let before = Duration::try_from(clock_gettime(clock))?;
        work()?;
        best = best.min(Duration::try_from(clock_gettime(clock))?.saturating_sub(before));
    }
    Ok(payload as f64 / 1e6 / best.as_secs_f64())
}
