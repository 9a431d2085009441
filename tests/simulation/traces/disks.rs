//! Traces of disks that take or give nothing for long, and of calls that fail again and again.

use kinesis_keeper::model::rules::Rules;
use kinesis_keeper::testing::Snapshot;

use super::keepers::entry_without_object;
use crate::check::ensure;
use crate::plan::{HOUR, MINUTE};
use crate::script::{ADA, BOB, RETENTION, Script, objects, quiet, sealed};

/// A claimed batch takes many calls to be read again, of which one in three fails.
pub fn a_claimed_batch_is_read_again_though_calls_fail(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.stream.reply_limit = 1;
    plan.keepers[ADA].limits.max_records = 30;
    let mut s = Script::new(plan);
    s.start(ADA);
    s.write(30);
    entry_without_object(&mut s, ADA)?;
    s.keeper(ADA).retire();
    s.faults(BOB, |faults| faults.stream_error = 0.33);
    s.start(BOB);
    s.run(2 * HOUR);
    ensure!(objects(&s.driver) == 1, "it was not completed");
    let tally = s.settle()?;
    ensure!(tally.completed_by_another == 1 && tally.missing == 0, "{tally:?}");
    Ok(())
}

/// The disk takes nothing more, and a batch waits to be sealed: what lies sealed is put all the same, or there would
/// never be room again.
pub fn a_full_disk_does_not_keep_what_it_holds_from_being_put(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1 && sealed(driver, ADA) == 0)?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(3);
    s.until("sealed", |driver| sealed(driver, ADA) == 1)?;
    s.faults(ADA, |faults| (faults.store_down, faults.disk_full) = (true, 1.0));
    s.write(3);
    s.run(20 * MINUTE);
    s.faults(ADA, |faults| faults.disk_full = 1.0);
    s.run(HOUR);
    ensure!(objects(&s.driver) == 2, "{} objects", objects(&s.driver));
    s.faults(ADA, |_| {});
    let tally = s.settle()?;
    ensure!(tally.missing == 0, "{tally:?}");
    Ok(())
}

/// A sealed batch that the disk gives back no more is set aside after a while, and its records are read again.
pub fn what_the_disk_never_gives_back_is_read_again(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1 && sealed(driver, ADA) == 0)?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(3);
    s.until("sealed", |driver| sealed(driver, ADA) == 1)?;
    s.kill(ADA);
    s.faults(ADA, |faults| faults.disk_unread = 1.0);
    s.start(ADA);
    s.run(HOUR);
    let aside = s.keeper(ADA).disk.files("damaged/spool").len();
    ensure!(
        aside > 0 && objects(&s.driver) == 2,
        "{aside} files were set aside, {} objects",
        objects(&s.driver)
    );
    s.faults(ADA, |_| {});
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && s.gaps() == 0, "{tally:?}");
    Ok(())
}

/// Of two sealed batches with a gap between them the first is damaged, and the stream has none of it any more: the second
/// is no part of the gap that takes its place.
pub fn a_gap_ends_at_what_is_sealed_behind_another(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1 && sealed(driver, ADA) == 0)?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(3);
    s.until("sealed", |driver| sealed(driver, ADA) == 1)?;
    s.faults(ADA, |faults| (faults.store_down, faults.stream_down) = (true, true));
    s.write(2);
    s.run(RETENTION + HOUR);
    s.write(3);
    s.faults(ADA, |faults| faults.store_down = true);
    s.until("a gap and a batch behind it", |driver| sealed(driver, ADA) == 3)?;
    s.kill(ADA);
    let files = s.keeper(ADA).disk.files("spool");
    let lines = files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "gz"));
    let first = lines.min().ok_or("no lines")?.clone();
    s.keeper(ADA).disk.damage(&first);
    s.run(RETENTION + HOUR);
    s.write(2);
    s.faults(ADA, |_| {});
    s.start(ADA);
    s.run(HOUR);
    let tally = s.settle()?;
    ensure!(tally.repaired == 0 && tally.missing == 5, "{tally:?}");
    Ok(())
}

/// The time to drain is over before the open batch was sealed: it is sealed all the same.
pub fn who_is_abandoned_seals_what_is_open(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1 && sealed(driver, ADA) == 0)?;
    s.write(2);
    s.run(3 * MINUTE);
    ensure!(sealed(&s.driver, ADA) == 0, "it is sealed already");
    s.keeper(ADA).stop();
    s.keeper(ADA).abandon();
    s.until("the end", |driver| driver.keepers[ADA].process.is_none())?;
    ensure!(sealed(&s.driver, ADA) == 1, "what was open is not on the disk");
    // A keeper on another disk is no trouble later.
    s.kill(ADA);
    s.keeper(ADA).replace_disk(Snapshot::default());
    s.start(ADA);
    let tally = s.settle()?;
    ensure!(tally.missing == 0, "{tally:?}");
    Ok(())
}
