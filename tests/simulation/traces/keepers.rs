//! Traces of several keepers: adoption, completion, voids, what lies aside, puts that land late.

use kinesis_keeper::model::ledger::Body;
use kinesis_keeper::model::rules::Rules;
use kinesis_keeper::testing::{Snapshot, StoredObject, World};

use crate::check::ensure;
use crate::driver::Driver;
use crate::keeper::keys;
use crate::plan::{HOUR, MINUTE, SECOND};
use crate::reader::sha256;
use crate::script::{ADA, BOB, RETENTION, Script, batches, ledger, objects, quiet, sealed};

/// Runs a keeper until it has put an entry whose object is not there, and kills it.
pub(super) fn entry_without_object(s: &mut Script, who: usize) -> Result<(), String> {
    s.until("an entry without its object", |driver| batches(driver) > objects(driver))?;
    s.kill(who);
    ensure!(objects(&s.driver) < batches(&s.driver), "the object is there");
    Ok(())
}

/// The writer of an entry dies before its object; another reads the records again and puts it.
pub fn another_completes_an_entry(rules: Rules) -> Result<(), String> {
    for gone_for_good in [true, false] {
        let mut s = Script::new(quiet(rules));
        s.start(ADA);
        s.write(3);
        entry_without_object(&mut s, ADA)?;
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
pub fn an_entry_nobody_can_render_is_void(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    entry_without_object(&mut s, ADA)?;
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
pub fn a_delayed_entry_lands_after_a_restart(rules: Rules) -> Result<(), String> {
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
pub fn a_delayed_object_lands_after_a_restart(rules: Rules) -> Result<(), String> {
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

/// A keeper holds sealed what another archived, and comes back when the objects have expired.
pub fn an_expired_object_is_never_put_again(rules: Rules) -> Result<(), String> {
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
pub fn covered_records_are_kept_until_seen(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.keepers[BOB].limits.max_records = 2;
    let mut s = Script::new(plan);
    s.start(ADA);
    s.start(BOB);
    s.until("the ledger", |driver| !ledger(driver).is_empty())?;
    s.run(10 * MINUTE);
    s.faults(BOB, |faults| faults.store_down = true);
    s.write(3);
    entry_without_object(&mut s, ADA)?;
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
pub fn an_entry_that_matches_nothing_stops_the_shard(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    entry_without_object(&mut s, ADA)?;
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

/// One is cut off from the store with sealed records; the other begins when they are trimmed.
pub fn records_under_anothers_gap_are_kept_aside(rules: Rules) -> Result<(), String> {
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
pub fn what_another_archived_is_cut_off(rules: Rules) -> Result<(), String> {
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
pub fn a_blind_keeper_looks_before_it_tells_of_a_gap(rules: Rules) -> Result<(), String> {
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
pub fn whoever_comes_back_announces_what_he_missed(rules: Rules) -> Result<(), String> {
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

/// One has sealed the first record and cannot reach the store; when the other begins it is trimmed.
pub fn another_began_when_our_first_record_was_gone(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.write(1);
    s.run(RETENTION - 10 * MINUTE);
    s.start(ADA);
    s.until("the ledger", |driver| !ledger(driver).is_empty())?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.until("sealed", |driver| sealed(driver, ADA) == 1)?;
    s.run(10 * MINUTE);
    s.write(3);
    s.start(BOB);
    s.until("the other's batch", |driver| objects(driver) == 1)?;
    s.faults(ADA, |_| {});
    s.run(HOUR);
    let tally = s.settle()?;
    ensure!(tally.missing == 1 && tally.repaired == 1, "{tally:?}");
    Ok(())
}

/// One claimed two records and died; the other holds only the first of them, and it is too late.
pub fn what_is_held_of_a_lost_entry_is_archived(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.keepers[ADA].limits.max_records = 1;
    plan.keepers[BOB].limits.max_records = 2;
    // With one layout the two batches of the same first record would have one key.
    plan.keepers[BOB].layout = plan.keepers[ADA].layout;
    let mut s = Script::new(plan);
    s.start(ADA);
    s.until("the ledger", |driver| !ledger(driver).is_empty())?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(1);
    s.until("sealed", |driver| sealed(driver, ADA) == 1)?;
    s.faults(ADA, |faults| (faults.store_down, faults.stream_down) = (true, true));
    s.write(1);
    s.start(BOB);
    entry_without_object(&mut s, BOB)?;
    s.run(RETENTION + HOUR);
    s.faults(ADA, |_| {});
    s.until("the gap", |driver| ledger(driver).iter().any(|lain| lain.gap().is_some()))?;
    s.run(HOUR);
    s.start(BOB);
    s.write(1);
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && tally.lost_gaps == 1 && tally.certain_gaps == 0, "{tally:?}");
    Ok(())
}

/// Two keepers are cut off with different stretches from the same record on; a third tells of a gap.
pub fn two_stretches_from_one_record_lie_aside(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    let mut third = plan.keepers[ADA].clone();
    third.name = "eve";
    plan.keepers.push(third);
    let mut s = Script::new(plan);
    s.start(ADA);
    s.start(BOB);
    s.until("opened", |driver| driver.keepers.iter().take(2).all(|one| !one.opened.is_empty()))?;
    s.until("the ledger", |driver| !ledger(driver).is_empty())?;
    s.run(10 * MINUTE);
    for who in [ADA, BOB] {
        s.faults(who, |faults| faults.store_down = true);
    }
    s.write(1);
    s.until("sealed", |driver| sealed(driver, ADA) == 1)?;
    s.keeper(BOB).replace_disk(Snapshot::default());
    s.kill(BOB);
    s.faults(ADA, |faults| (faults.store_down, faults.stream_down) = (true, true));
    s.write(1);
    s.faults(BOB, |_| {});
    s.start(BOB);
    s.until("placed", |driver| driver.keepers[BOB].opened.len() == 1)?;
    s.run(10 * SECOND);
    s.faults(BOB, |faults| faults.store_down = true);
    s.until("sealed by the other", |driver| sealed(driver, BOB) == 1)?;
    s.run(RETENTION + HOUR);
    s.write(1);
    s.start(2);
    s.until("the third's batch", |driver| objects(driver) == 1)?;
    for who in [ADA, BOB] {
        s.faults(who, |_| {});
    }
    s.run(HOUR);
    let tally = s.settle()?;
    ensure!(tally.missing == 2 && tally.repaired == 2, "{tally:?}");
    Ok(())
}
