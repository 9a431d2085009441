//! Traces of trimmed records, outages, reshards, and lost, restored or damaged disks.

use std::path::{Path, PathBuf};

use kinesis_keeper::archive::fault::FaultKind;
use kinesis_keeper::ledger::start::ConfiguredStart;
use kinesis_keeper::model::ledger::Body;
use kinesis_keeper::model::rules::Rules;
use kinesis_keeper::shard::setup::Members;
use kinesis_keeper::testing::Snapshot;

use crate::check::ensure;
use crate::driver::Driver;
use crate::plan::{HOUR, MINUTE, SECOND};
use crate::script::{ADA, BOB, RETENTION, Script, ledger, objects, quiet, sealed};

/// The store goes away for longer than retention; the keeper reads on, and is killed meanwhile.
pub fn sealed_records_outlive_a_long_outage(rules: Rules) -> Result<(), String> {
    for killed in [false, true] {
        let mut s = Script::new(quiet(rules));
        s.start(ADA);
        s.write(3);
        s.until("the first batch", |driver| objects(driver) == 1)?;
        s.faults(ADA, |faults| faults.store_down = true);
        s.write(3);
        s.run(HOUR);
        s.write(3);
        s.until("two sealed", |driver| sealed(driver, ADA) == 2)?;
        if killed {
            s.kill(ADA);
            s.run(2 * RETENTION);
            s.start(ADA);
            s.run(HOUR);
        } else {
            s.run(2 * RETENTION);
        }
        s.write(2);
        let tally = s.settle()?;
        ensure!(tally.missing == 0, "{tally:?}");
    }
    Ok(())
}

/// Records are in memory, empty replies follow, the process is killed; it comes back when the
/// records are trimmed, and the empty replies are younger than retention.
pub fn an_empty_reply_hides_nothing(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.keepers[ADA].limits.max_age = 100 * HOUR;
    let mut s = Script::new(plan);
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.run(30 * MINUTE);
    s.write(2);
    s.run(50 * MINUTE);
    s.kill(ADA);
    s.run(RETENTION - 40 * MINUTE);
    s.start(ADA);
    s.run(10 * MINUTE);
    s.write(3);
    let tally = s.settle()?;
    ensure!(tally.missing == 2, "{tally:?}");
    Ok(())
}

/// The disk is lost, and records were trimmed between what is archived and what can be read.
pub fn a_lost_disk_asks_whether_anything_was_trimmed(rules: Rules) -> Result<(), String> {
    for silent in [true, false] {
        let mut plan = quiet(rules);
        plan.stream.silent_trim = silent;
        let mut s = Script::new(plan);
        s.start(ADA);
        s.write(3);
        s.until("the first batch", |driver| objects(driver) == 1)?;
        s.run(HOUR);
        s.kill(ADA);
        s.keeper(ADA).replace_disk(Snapshot::default());
        s.write(2);
        s.run(RETENTION - HOUR);
        s.write(2);
        s.run(2 * HOUR);
        s.start(ADA);
        let tally = s.settle()?;
        ensure!(tally.missing == 2 && tally.trimmed_gaps == 1, "{tally:?}");
    }
    Ok(())
}

/// Records are in memory when reading stops for longer than retention; what was sealed last is gone.
pub fn records_in_memory_prove_nothing(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.keepers[ADA].limits.max_age = 100 * HOUR;
    let mut s = Script::new(plan);
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.run(HOUR);
    s.write(1);
    s.run(10 * MINUTE);
    s.faults(ADA, |faults| faults.stream_down = true);
    s.write(2);
    s.run(RETENTION - MINUTE);
    s.write(2);
    s.run(HOUR);
    s.faults(ADA, |_| {});
    s.run(HOUR);
    let tally = s.settle()?;
    ensure!(tally.missing <= 2, "{tally:?}");
    Ok(())
}

/// The stream starts at `latest` and its only shard is split before anybody has listed it twice.
pub fn latest_and_a_reshard_in_the_first_minute(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.start = ConfiguredStart::Latest;
    let mut s = Script::new(plan);
    s.write(3);
    s.run(MINUTE);
    s.start(ADA);
    s.start(BOB);
    s.run(15 * SECOND);
    s.write(1);
    let parent = s.driver.stream.open_shards().remove(0);
    s.driver.stream.split(&parent);
    for shard in s.driver.stream.open_shards() {
        s.driver.write(&shard);
    }
    s.run(3 * HOUR);
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && tally.ends == 1, "{tally:?}");
    Ok(())
}

/// The stream began at `latest`, longer ago than it keeps a record, when its shard is split: nothing was missed.
pub fn latest_and_a_reshard_much_later(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.start = ConfiguredStart::Latest;
    let mut s = Script::new(plan);
    s.write(3);
    s.run(MINUTE);
    s.start(ADA);
    for _ in 0..RETENTION.as_secs() / HOUR.as_secs() + 3 {
        s.run(HOUR);
        s.write(1);
    }
    let parent = s.driver.stream.open_shards().remove(0);
    s.driver.stream.split(&parent);
    // One of the two stays idle.
    s.write(2);
    s.run(3 * HOUR);
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && tally.trimmed_gaps == 0 && tally.ends == 1, "{tally:?}");
    Ok(())
}

/// Both children of a shard come and go before a keeper's first entry of them, and its disk is lost: no ledger can
/// say so, the keeper and `verify` do.
pub fn a_child_that_nobody_began_is_told(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    let parent = s.driver.stream.open_shards().remove(0);
    s.driver.stream.split(&parent);
    s.until("its end", |driver| ledger(driver).iter().any(|lain| matches!(lain.entry.body, Body::End(_))))?;
    s.kill(ADA);
    s.keeper(ADA).replace_disk(Snapshot::default());
    s.write(2);
    let children = s.driver.stream.open_shards();
    s.driver.stream.merge(&children[0], &children[1]);
    s.run(RETENTION + 2 * HOUR);
    s.write(1);
    s.start(ADA);
    s.run(10 * MINUTE);
    let told = s.driver.keepers[ADA].meter.errors("never_begun");
    ensure!(told == 2, "told {told} times");
    s.settle()?;
    let faults = crate::proof::faults(&s.driver)?;
    ensure!(faults.iter().any(|fault| fault.kind == FaultKind::LineageBroken), "{faults:?}");
    Ok(())
}

/// A sealed batch turns out to be damaged while reading is far ahead of it.
pub fn what_is_found_damaged_far_behind_is_read_again(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(9);
    s.until("three sealed", |driver| sealed(driver, ADA) == 3)?;
    s.kill(ADA);
    s.start(ADA);
    s.write(2);
    s.run(3 * MINUTE);
    let files = s.keeper(ADA).disk.files("spool");
    let lines = files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "gz"));
    // The first of the three; the open batch is behind the last.
    let first = lines.min().ok_or("no lines")?.clone();
    s.keeper(ADA).disk.damage(&first);
    s.faults(ADA, |_| {});
    s.until("all archived", |driver| objects(driver) >= 5 && sealed(driver, ADA) == 0)?;
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && s.gaps() == 0, "{tally:?}");
    Ok(())
}

/// A shard was read to its end into the spool; its first sealed batch is damaged, and it is gone.
pub fn a_gone_shard_with_a_hole_is_closed(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(6);
    let parent = s.driver.stream.open_shards().remove(0);
    s.driver.stream.split(&parent);
    s.until("two batches and the end", |driver| sealed(driver, ADA) == 3)?;
    s.kill(ADA);
    let files = s.keeper(ADA).disk.files("spool");
    let first = files.iter().find(|path| path.extension().is_some_and(|ext| ext == "json"));
    let first = first.ok_or("no manifest")?.clone();
    s.keeper(ADA).disk.damage(&first);
    s.run(RETENTION + HOUR);
    s.faults(ADA, |_| {});
    s.start(ADA);
    let tally = s.settle()?;
    ensure!(tally.missing == 3 && tally.ends == 1, "{tally:?}");
    Ok(())
}

/// Of two sealed batches the first is damaged: its records are read again before the second is put.
pub fn a_hole_in_the_spool_is_read_first(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(6);
    s.until("two sealed", |driver| sealed(driver, ADA) == 2)?;
    s.kill(ADA);
    let files = s.keeper(ADA).disk.files("spool");
    let first = files.iter().find(|path| path.extension().is_some_and(|ext| ext == "json"));
    let first = first.ok_or("no manifest")?.clone();
    s.keeper(ADA).disk.damage(Path::new(&first));
    s.faults(ADA, |_| {});
    s.start(ADA);
    s.run(HOUR);
    let tally = s.settle()?;
    ensure!(tally.missing == 0, "{tally:?}");
    Ok(())
}

/// A copy of the disk, with sealed records on it, is put back when they have long been archived.
pub fn an_older_disk_is_restored(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(5);
    s.until("two sealed", |driver| sealed(driver, ADA) == 2)?;
    let copy = s.keeper(ADA).disk.snapshot();
    s.faults(ADA, |_| {});
    s.write(4);
    s.until("all archived", |driver| objects(driver) >= 4 && sealed(driver, ADA) == 0)?;
    s.kill(ADA);
    s.keeper(ADA).replace_disk(copy);
    s.start(ADA);
    s.write(2);
    s.run(HOUR);
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && s.gaps() == 0, "{tally:?}");
    Ok(())
}

/// What was spilled of the open batch is gone, once before the next member is spilled and once before the batch is
/// sealed.
pub fn what_was_spilled_and_lost_is_read_again(rules: Rules) -> Result<(), String> {
    let spilled = |driver: &Driver| -> Option<PathBuf> {
        let files = driver.keepers[ADA].disk.files("spool");
        files.into_iter().find(|path| path.ends_with("open.ndjson.gz"))
    };
    for grows in [true, false] {
        let mut plan = quiet(rules);
        plan.keepers[ADA].limits.max_records = 100;
        plan.keepers[ADA].members = Members { text: 400, spill: 1 };
        let mut s = Script::new(plan);
        s.start(ADA);
        s.write(10);
        s.until("a spilled member", |driver| spilled(driver).is_some())?;
        let Some(file) = spilled(&s.driver) else { return Err("it went".to_owned()) };
        s.keeper(ADA).disk.shift(&file, Path::new("lost"));
        if grows {
            s.write(10);
        }
        s.until("the batch", |driver| objects(driver) == 1)?;
        let tally = s.settle()?;
        ensure!(tally.records == if grows { 20 } else { 10 } && tally.missing == 0, "{tally:?}");
    }
    Ok(())
}

/// Another's gap covers what one holds sealed, while the disk does not give it back; or not all of it any more.
pub fn what_a_gap_covers_waits_for_the_disk(rules: Rules) -> Result<(), String> {
    for damaged in [false, true] {
        let mut s = Script::new(quiet(rules));
        s.start(ADA);
        s.write(3);
        s.until("the first batch", |driver| objects(driver) == 1)?;
        s.faults(ADA, |faults| faults.store_down = true);
        s.write(3);
        s.until("sealed", |driver| sealed(driver, ADA) == 1)?;
        s.run(RETENTION + HOUR);
        s.write(2);
        s.start(BOB);
        s.until("the gap", |driver| ledger(driver).iter().any(|lain| lain.gap().is_some()))?;
        if damaged {
            let disk = &s.keeper(ADA).disk;
            let lines =
                disk.files("spool").into_iter().find(|path| path.extension().is_some_and(|ext| ext == "gz"));
            disk.damage(&lines.ok_or("no lines")?);
        }
        s.faults(ADA, |faults| faults.disk_unread = if damaged { 0.0 } else { 1.0 });
        s.run(HOUR);
        s.faults(ADA, |_| {});
        s.write(2);
        let tally = s.settle()?;
        let aside = s.keeper(ADA).disk.files("damaged/spool").len();
        ensure!(tally.missing == 3 && (tally.repaired == 3) != damaged, "{tally:?}");
        ensure!((aside > 0) == damaged, "{aside} files were set aside");
    }
    Ok(())
}
