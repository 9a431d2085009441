//! Traces that random seeds seldom meet, each written down: what happens, and what must come of it.

use std::path::Path;

use kinesis_keeper::ledger::start::ConfiguredStart;
use kinesis_keeper::model::ledger::Body;
use kinesis_keeper::model::rules::Rules;
use kinesis_keeper::testing::{Snapshot, StoredObject, World};

use crate::check::ensure;
use crate::driver::Driver;
use crate::keeper::keys;
use crate::plan::{HOUR, MINUTE, SECOND};
use crate::reader::sha256;
use crate::script::{ADA, BOB, RETENTION, Script, batches, ledger, objects, quiet, sealed};

/// A trace: fails with what went wrong.
pub type Trace = fn(Rules) -> Result<(), String>;

/// Every trace, by name.
pub const ALL: &[(&str, Trace)] = &[
    ("sealed_records_outlive_a_long_outage", sealed_records_outlive_a_long_outage),
    ("an_empty_reply_hides_nothing", an_empty_reply_hides_nothing),
    ("latest_and_a_reshard_in_the_first_minute", latest_and_a_reshard_in_the_first_minute),
    ("another_completes_an_entry", another_completes_an_entry),
    ("an_entry_nobody_can_render_is_void", an_entry_nobody_can_render_is_void),
    ("a_delayed_entry_lands_after_a_restart", a_delayed_entry_lands_after_a_restart),
    ("a_delayed_object_lands_after_a_restart", a_delayed_object_lands_after_a_restart),
    ("an_older_disk_is_restored", an_older_disk_is_restored),
    ("an_expired_object_is_never_put_again", an_expired_object_is_never_put_again),
    ("covered_records_are_kept_until_seen", covered_records_are_kept_until_seen),
    ("an_entry_that_matches_nothing_stops_the_shard", an_entry_that_matches_nothing_stops_the_shard),
    ("a_lost_disk_asks_whether_anything_was_trimmed", a_lost_disk_asks_whether_anything_was_trimmed),
    ("a_hole_in_the_spool_is_read_first", a_hole_in_the_spool_is_read_first),
    ("records_under_anothers_gap_are_kept_aside", records_under_anothers_gap_are_kept_aside),
    ("what_another_archived_is_cut_off", what_another_archived_is_cut_off),
    ("a_blind_keeper_looks_before_it_tells_of_a_gap", a_blind_keeper_looks_before_it_tells_of_a_gap),
    ("whoever_comes_back_announces_what_he_missed", whoever_comes_back_announces_what_he_missed),
    ("records_in_memory_prove_nothing", records_in_memory_prove_nothing),
];

/// The store goes away for longer than retention; the keeper reads on, and is killed meanwhile.
fn sealed_records_outlive_a_long_outage(rules: Rules) -> Result<(), String> {
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
fn an_empty_reply_hides_nothing(rules: Rules) -> Result<(), String> {
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

/// The stream starts at `latest` and its only shard is split before anybody has listed it twice.
fn latest_and_a_reshard_in_the_first_minute(rules: Rules) -> Result<(), String> {
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

/// Runs a keeper until it has put an entry whose object is not there, and kills it.
fn entry_without_object(s: &mut Script) -> Result<(), String> {
    s.until("an entry without its object", |driver| batches(driver) > objects(driver))?;
    s.kill(ADA);
    ensure!(objects(&s.driver) < batches(&s.driver), "the object is there");
    Ok(())
}

/// The writer of an entry dies before its object; another reads the records again and puts it.
fn another_completes_an_entry(rules: Rules) -> Result<(), String> {
    for gone_for_good in [true, false] {
        let mut s = Script::new(quiet(rules));
        s.start(ADA);
        s.write(3);
        entry_without_object(&mut s)?;
        if gone_for_good {
            s.keeper(ADA).retire();
        }
        s.start(BOB);
        s.write(4);
        s.run(HOUR);
        let tally = s.settle()?;
        ensure!(tally.completed_by_another == 1 && tally.missing == 0, "{tally:?}");
    }
    Ok(())
}

/// The same, but the records are trimmed: a void, a gap; and the writer's bytes beside the archive.
fn an_entry_nobody_can_render_is_void(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    entry_without_object(&mut s)?;
    s.run(RETENTION + HOUR);
    s.write(2);
    s.start(BOB);
    s.until("the gap", |driver| ledger(driver).iter().any(|lain| lain.gap().is_some()))?;
    s.start(ADA);
    s.run(HOUR);
    s.write(2);
    let tally = s.settle()?;
    ensure!(tally.lost_gaps == 1 && tally.missing == 3 && tally.repaired == 3, "{tally:?}");
    Ok(())
}

/// A put hangs in the network while its sender is started again; it lands an hour later.
fn a_delayed_entry_lands_after_a_restart(rules: Rules) -> Result<(), String> {
    for other_is_faster in [false, true] {
        let mut s = Script::new(quiet(rules));
        s.start(ADA);
        s.until("the ledger", |driver| !ledger(driver).is_empty())?;
        s.write(3);
        s.faults(ADA, |faults| (faults.put_delayed, faults.longest_delay) = (1.0, 2 * HOUR));
        s.until("a put in flight", |driver| driver.bucket.in_flight() > 0)?;
        s.kill(ADA);
        s.faults(ADA, |_| {});
        if other_is_faster {
            s.write(1);
            s.start(BOB);
        }
        s.start(ADA);
        s.run(3 * HOUR);
        s.write(2);
        let tally = s.settle()?;
        ensure!(tally.missing == 0, "{tally:?}");
    }
    Ok(())
}

/// The same with the object's put; and the sender is restarted without its disk.
fn a_delayed_object_lands_after_a_restart(rules: Rules) -> Result<(), String> {
    for lost in [false, true] {
        let mut s = Script::new(quiet(rules));
        s.start(ADA);
        s.write(3);
        s.until("an entry without its object", |driver| batches(driver) > objects(driver))?;
        s.faults(ADA, |faults| (faults.put_delayed, faults.longest_delay) = (1.0, 2 * HOUR));
        s.until("a put in flight", |driver| driver.bucket.in_flight() > 0)?;
        s.kill(ADA);
        s.faults(ADA, |_| {});
        if lost {
            s.keeper(ADA).replace_disk(Snapshot::default());
        }
        s.write(2);
        s.start(ADA);
        s.run(3 * HOUR);
        let tally = s.settle()?;
        ensure!(tally.missing == 0, "{tally:?}");
    }
    Ok(())
}

/// A copy of the disk, with sealed records on it, is put back when they have long been archived.
fn an_older_disk_is_restored(rules: Rules) -> Result<(), String> {
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

/// A keeper holds sealed what another archived, and comes back when the objects have expired.
fn an_expired_object_is_never_put_again(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.lifecycle = Some(HOUR);
    let mut s = Script::new(plan);
    s.start(ADA);
    s.start(BOB);
    s.until("the ledger", |driver| !ledger(driver).is_empty())?;
    s.run(10 * MINUTE);
    s.faults(BOB, |faults| faults.store_down = true);
    s.write(3);
    s.until("one archived, one sealed", |driver| objects(driver) == 1 && sealed(driver, BOB) == 1)?;
    let copy = s.keeper(ADA).disk.snapshot();
    s.write(3);
    s.run(2 * HOUR);
    s.faults(BOB, |_| {});
    s.kill(ADA);
    s.keeper(ADA).replace_disk(copy);
    s.start(ADA);
    s.run(HOUR);
    s.write(1);
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && s.gaps() == 0 && tally.expired > 0, "{tally:?}");
    Ok(())
}

/// One holds sealed, cut otherwise, what another claimed and never put; the stream has trimmed it.
fn covered_records_are_kept_until_seen(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.keepers[BOB].limits.max_records = 2;
    let mut s = Script::new(plan);
    s.start(ADA);
    s.start(BOB);
    s.until("the ledger", |driver| !ledger(driver).is_empty())?;
    s.run(10 * MINUTE);
    s.faults(BOB, |faults| faults.store_down = true);
    s.write(3);
    entry_without_object(&mut s)?;
    s.keeper(ADA).retire();
    s.until("sealed by the other", |driver| sealed(driver, BOB) == 2)?;
    s.run(RETENTION + HOUR);
    s.faults(BOB, |_| {});
    s.write(2);
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && tally.completed_by_another == 1, "{tally:?}");
    Ok(())
}

/// An entry claims readable records with a content that they do not have.
fn an_entry_that_matches_nothing_stops_the_shard(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    entry_without_object(&mut s)?;
    s.keeper(ADA).retire();
    let claim = ledger(&s.driver).pop().ok_or("no entry")?;
    let mut forged = claim.entry.clone();
    if let Body::Batch(batch) = &mut forged.body {
        batch.content_sha256 = sha256(b"something else");
    }
    let mut other = Script::new(quiet(rules));
    other.write(3);
    for entry in [&ledger(&s.driver)[0].entry, &forged] {
        lay(&other.driver, entry);
    }
    other.start(BOB);
    other.run(2 * HOUR);
    other.write(2);
    other.run(2 * RETENTION);
    let troubles = other.driver.keepers[BOB].meter.last_state().troubles;
    ensure!(!troubles.is_empty(), "it says nothing");
    ensure!(other.ledger().len() == 2, "the ledger went on: {:?}", other.ledger());
    ensure!(objects(&other.driver) == 0, "an object was put");
    ensure!(sealed(&other.driver, BOB) > 0, "reading did not go on");
    Ok(())
}

/// Lays an entry into the bucket by hand.
fn lay(driver: &Driver, entry: &kinesis_keeper::model::ledger::Entry) {
    let mut entry = entry.clone();
    let before = ledger(driver);
    entry.previous_entry_sha256 = before.last().map_or(String::new(), |before| before.sha256.clone());
    let bytes = serde_json::to_vec(&entry).unwrap();
    let object = StoredObject {
        bytes: bytes.into(),
        metadata: vec![],
        content_type: "application/json".into(),
        writer: "nobody".into(),
        sent: World::now(&driver.world),
    };
    let key = keys().entry(&entry.shard, entry.stream_created, entry.serial);
    assert!(driver.bucket.put(&key, object));
}

/// The disk is lost, and records were trimmed between what is archived and what can be read.
fn a_lost_disk_asks_whether_anything_was_trimmed(rules: Rules) -> Result<(), String> {
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

/// Of two sealed batches the first is damaged: its records are read again before the second is put.
fn a_hole_in_the_spool_is_read_first(rules: Rules) -> Result<(), String> {
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

/// One is cut off from the store with sealed records; the other begins when they are trimmed.
fn records_under_anothers_gap_are_kept_aside(rules: Rules) -> Result<(), String> {
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
    s.run(HOUR);
    s.faults(ADA, |_| {});
    s.write(2);
    let tally = s.settle()?;
    ensure!(tally.missing == 3 && tally.repaired == 3, "{tally:?}");
    Ok(())
}

/// One sealed four records, the other archived the first two of them and died.
fn what_another_archived_is_cut_off(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.keepers[BOB].limits.max_records = 4;
    plan.keepers[BOB].limits.max_age = 3 * HOUR;
    plan.keepers[ADA].limits.max_records = 2;
    let mut s = Script::new(plan);
    s.start(ADA);
    s.start(BOB);
    s.until("the ledger", |driver| !ledger(driver).is_empty())?;
    s.run(10 * MINUTE);
    s.faults(BOB, |faults| faults.store_down = true);
    s.write(2);
    s.until("archived", |driver| objects(driver) == 1)?;
    s.keeper(ADA).retire();
    s.write(2);
    s.until("sealed by the other", |driver| sealed(driver, BOB) == 1)?;
    s.faults(BOB, |_| {});
    let tally = s.settle()?;
    ensure!(tally.batches == 2 && tally.missing == 0, "{tally:?}");
    Ok(())
}

/// One cannot read for longer than retention, while the other archives everything.
fn a_blind_keeper_looks_before_it_tells_of_a_gap(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.start(BOB);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.run(10 * MINUTE);
    s.faults(BOB, |faults| faults.stream_down = true);
    for _ in 0..6 {
        s.write(3);
        s.run(HOUR);
    }
    s.faults(BOB, |_| {});
    s.run(HOUR);
    s.write(1);
    // A false alarm would be dropped when the ledger is seen; it must not be given at all.
    ensure!(s.keeper(BOB).disk.gaps_sealed() == 0, "a gap was sealed over what the other archived");
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && s.gaps() == 0, "{tally:?}");
    Ok(())
}

/// One archives and cannot announce, then burns down; the other had announced before, and was away.
fn whoever_comes_back_announces_what_he_missed(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.start(BOB);
    s.write(3);
    s.until("heard from both", |driver| driver.keepers.iter().all(|one| !one.recorder.arrived().is_empty()))?;
    s.run(10 * MINUTE);
    s.kill(BOB);
    s.faults(ADA, |faults| faults.notice_error = 1.0);
    s.write(9);
    s.until("archived", |driver| objects(driver) == 4)?;
    s.keeper(ADA).retire();
    s.start(BOB);
    let tally = s.settle()?;
    ensure!(tally.missing == 0, "{tally:?}");
    Ok(())
}

/// Records are in memory when reading stops for longer than retention; what was sealed last is gone.
fn records_in_memory_prove_nothing(rules: Rules) -> Result<(), String> {
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

#[test]
fn every_trace_ends_well() {
    let mut failed = Vec::new();
    let only = std::env::var("SIMULATION_TRACE").unwrap_or_default();
    for (name, trace) in ALL.iter().filter(|(name, _)| name.contains(&only)) {
        let result = std::panic::catch_unwind(|| trace(Rules::default()));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(told)) => failed.push(format!("{name}: {told}")),
            Err(_) => failed.push(format!("{name}: panicked")),
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}
