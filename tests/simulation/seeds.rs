//! Runs of many seeds.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use kinesis_keeper::model::rules::Rules;

use crate::check::{Tally, check};
use crate::driver::Driver;
use crate::plan::Plan;

/// Runs in CI.
const RUNS: u64 = 10_000;

/// Runs one seed; what went wrong, if anything did.
pub fn run(seed: u64, rules: Rules, log: bool) -> Result<Tally, String> {
    let mut driver = Driver::new(Plan::of(seed, rules), log);
    let result = catch_unwind(AssertUnwindSafe(|| {
        driver.run()?;
        let tally = check(&driver)?;
        // Every seed would take a third longer; a fourth of them tells as much.
        if seed.is_multiple_of(4) {
            crate::proof::check(&driver)?;
        }
        Ok(tally)
    }));
    let result = result.unwrap_or_else(|panic| Err(format!("panicked: {}", message(&*panic))));
    if std::env::var("STEPS").is_ok() {
        eprintln!("STEPS {} {} {}", seed, driver.calm_at, driver.steps);
    }
    for line in driver.world.take_log() {
        eprintln!("{line}");
    }
    if log {
        eprintln!("{:#?}", driver.plan);
    }
    result
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[derive(Default)]
struct Sum {
    total: Tally,
    failed: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, seed: u64, result: Result<Tally, String>) {
        match result {
            Err(told) => self.failed.push((seed, told)),
            Ok(tally) => {
                let total = &mut self.total;
                total.records += tally.records;
                total.batches += tally.batches;
                total.trimmed_gaps += tally.trimmed_gaps;
                total.certain_gaps += tally.certain_gaps;
                total.lost_gaps += tally.lost_gaps;
                total.ends += tally.ends;
                total.completed_by_another += tally.completed_by_another;
                total.repaired += tally.repaired;
                total.expired += tally.expired;
                total.missing += tally.missing;
                total.hours += tally.hours;
                total.moved += tally.moved;
            }
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = variable("SIMULATION_SEED") {
        let tally = run(seed, Rules::default(), true).unwrap_or_else(|told| panic!("seed {seed}: {told}"));
        eprintln!("{tally:?}");
        return;
    }
    let (first, runs) =
        (variable("SIMULATION_FIRST").unwrap_or(0), variable("SIMULATION_RUNS").unwrap_or(RUNS));
    let (next, sum) = (AtomicU64::new(first), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + runs {
                        return;
                    }
                    let result = run(seed, Rules::default(), false);
                    sum.lock().unwrap().add(seed, result);
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap();
    eprintln!("{:?}", sum.total);
    sum.failed.sort();
    for (seed, told) in sum.failed.iter().take(40) {
        eprintln!("SIMULATION_SEED={seed} cargo test --test simulation seeds -- --nocapture\n    {told}");
    }
    assert!(sum.failed.is_empty(), "{} of {runs} runs failed", sum.failed.len());
    let total = sum.total;
    let seen = [
        total.trimmed_gaps,
        total.certain_gaps,
        total.lost_gaps,
        total.completed_by_another,
        total.repaired,
        total.expired,
        total.ends,
        total.hours,
    ];
    // A simulation in which these never happen proves nothing of them.
    assert!(runs < RUNS || seen.iter().all(|count| *count > 0), "{total:?}");
}
