//! Traces of buckets that delete: what has expired, and what only looks as if it had.

use kinesis_keeper::model::rules::Rules;

use super::keepers::entry_without_object;
use crate::check::ensure;
use crate::plan::{HOUR, MINUTE};
use crate::script::{ADA, Script, objects, quiet};

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
