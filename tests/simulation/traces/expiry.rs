//! Traces of buckets that delete: what has expired, and what only looks as if it had.

use kinesis_keeper::model::rules::Rules;

use super::keepers::entry_without_object;
use crate::check::ensure;
use crate::plan::{HOUR, MINUTE};
use crate::script::{ADA, BOB, RETENTION, Script, ledger, objects, quiet};

/// A put is lost with its answer, and the writer comes back when the bucket would have deleted the object.
pub fn what_never_came_does_not_pass_for_expired(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.lifecycle = Some(HOUR);
    let mut s = Script::new(plan);
    s.start(ADA);
    s.write(3);
    entry_without_object(&mut s, ADA)?;
    s.run(2 * HOUR);
    s.start(ADA);
    s.run(10 * MINUTE);
    ensure!(objects(&s.driver) == 1, "the records were dropped");
    s.write(2);
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && s.gaps() == 0, "{tally:?}");
    Ok(())
}

/// The void of an entry has expired when its writer comes back with the records: they lie aside all the same.
pub fn a_void_that_has_expired_is_still_one(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    // Longer than it takes another to find that the records are gone.
    plan.lifecycle = Some(2 * RETENTION);
    let mut s = Script::new(plan);
    s.start(ADA);
    s.write(3);
    entry_without_object(&mut s, ADA)?;
    s.run(RETENTION + HOUR);
    s.write(2);
    s.start(BOB);
    s.until("the gap", |driver| ledger(driver).iter().any(|lain| lain.gap().is_some()))?;
    s.run(3 * RETENTION);
    s.start(ADA);
    s.run(HOUR);
    s.write(2);
    let tally = s.settle()?;
    ensure!(tally.lost_gaps == 1 && tally.missing == 3 && tally.repaired == 3, "{tally:?}");
    Ok(())
}
