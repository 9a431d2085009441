//! Traces of `level = "auto"`: what a shard chooses behind and caught up, and that its objects say so.

use kinesis_keeper::codec::{Renderer, recut};
use kinesis_keeper::model::batch::{Compression, Form, Format, Level};
use kinesis_keeper::model::rules::Rules;

use crate::archive::{Archive, Lain};
use crate::check::ensure;
use crate::driver::Driver;
use crate::plan::{HOUR, MINUTE, Plan, SECOND};
use crate::script::{ADA, Script, ledger, objects, quiet, sealed};

/// Records of a batch; a reply brings one.
const BATCH: u32 = 30;

fn plan(rules: Rules, level: Level, form: Form) -> Plan {
    let mut plan = quiet(rules);
    plan.stream.reply_limit = 1;
    plan.keepers[ADA].pacing.caught_up = SECOND;
    plan.keepers[ADA].limits.max_records = u64::from(BATCH);
    plan.keepers[ADA].forms = vec![form];
    plan.keepers[ADA].level = level;
    plan
}

/// The level that each object says, in the ledger's order. What lies there as it lay in the spool must be
/// what that level gives, and the other does not.
fn levels(driver: &Driver) -> Result<Vec<u32>, String> {
    let archive = Archive::of(&driver.bucket);
    let mut levels = Vec::new();
    for batch in ledger(driver).iter().filter_map(Lain::batch) {
        let Some(change) = archive.object_of(batch) else { return Err(format!("{} is missing", batch.key)) };
        let level = change.object.meta("keeper-level").and_then(|text| text.parse().ok());
        let level = level.ok_or_else(|| format!("{} does not say its level", batch.key))?;
        levels.push(level);
        if batch.form() != Form::SPOOLED {
            continue;
        }
        for other in [Level::FAST, Level::USUAL] {
            let mut renderer = Renderer::new(Form::SPOOLED, other);
            recut(&change.object.bytes[..], |_| true, &mut renderer).map_err(|error| error.to_string())?;
            let same = renderer.finish().is_some_and(|made| made.parts.concat() == change.object.bytes[..]);
            ensure!(same == (other == level), "{}: level {level}, made at {other}: {same}", batch.key);
        }
    }
    Ok(levels)
}

/// A shard that is behind on busy cores writes at level 1, and at 6 once it has caught up, however busy they are.
pub fn a_shard_behind_on_busy_cores_compresses_fast(rules: Rules) -> Result<(), String> {
    let zstd = Form { format: Format::Payload, compression: Compression::Zstd };
    for form in [Form::SPOOLED, zstd] {
        let mut s = Script::new(plan(rules, Level::Auto, form));
        s.write(4 * BATCH);
        s.run(HOUR);
        s.keeper(ADA).cores.use_up(Some(0.5));
        s.start(ADA);
        s.until("a batch on idle cores", |driver| objects(driver) == 1)?;
        s.keeper(ADA).cores.use_up(Some(0.95));
        s.until("the backlog", |driver| objects(driver) == 4)?;
        s.write(BATCH);
        s.until("what came then", |driver| objects(driver) == 5)?;
        let found = levels(&s.driver)?;
        // The second may have begun before the cores were busy.
        ensure!(found[0] == 6 && found[2..] == [1, 1, 6], "{form:?}: {found:?}");
        s.settle()?;
    }
    Ok(())
}

/// What was sealed is put after a restart: its object still says the level at which it was made.
pub fn a_sealed_batch_remembers_its_level(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(plan(rules, Level::Auto, Form::SPOOLED));
    s.start(ADA);
    s.write(BATCH);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.run(MINUTE);
    s.kill(ADA);
    s.write(2 * BATCH);
    s.run(HOUR);
    s.faults(ADA, |faults| faults.store_down = true);
    s.keeper(ADA).cores.use_up(Some(1.0));
    s.start(ADA);
    s.until("two sealed", |driver| sealed(driver, ADA) == 2)?;
    s.kill(ADA);
    s.faults(ADA, |_| ());
    s.keeper(ADA).cores.use_up(None);
    s.start(ADA);
    s.until("all put", |driver| objects(driver) == 3)?;
    let found = levels(&s.driver)?;
    ensure!(found == [6, 1, 1], "{found:?}");
    s.settle()?;
    Ok(())
}

/// With a level of its own in the settings, nobody asks how busy the cores are.
pub fn a_fixed_level_asks_nobody(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(plan(rules, Level::Fixed(6), Form::SPOOLED));
    s.write(2 * BATCH);
    s.run(HOUR);
    s.keeper(ADA).cores.use_up(Some(1.0));
    s.start(ADA);
    s.until("both batches", |driver| objects(driver) == 2)?;
    let (found, asked) = (levels(&s.driver)?, s.keeper(ADA).cores.asked());
    ensure!(found == [6, 6] && asked == 0, "{found:?}, asked {asked} times");
    s.settle()?;
    Ok(())
}
