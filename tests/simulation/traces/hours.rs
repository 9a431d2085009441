//! Traces of hours: told late, told by another, told of a stream that was made again.

use kinesis_keeper::model::rules::Rules;
use kinesis_keeper::testing::Snapshot;

use crate::archive::Archive;
use crate::check::ensure;
use crate::driver::Driver;
use crate::plan::{HOUR, MINUTE};
use crate::script::{ADA, BOB, Script, objects, quiet, sealed};

fn told(driver: &Driver) -> usize {
    Archive::of(&driver.bucket).stored.keys().filter(|key| key.ends_with("/_hour.json")).count()
}

/// The store is away for the keeper that reads when the hour ends; what it sealed of that hour comes later.
pub fn an_hour_waits_for_what_is_sealed(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.until("its hour", |driver| told(driver) == 1)?;
    s.write(1);
    s.run(10 * MINUTE);
    // The batch is claimed and its object is not there; then the hour ends.
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(2);
    s.until("a sealed batch", |driver| sealed(driver, ADA) == 1)?;
    s.start(BOB);
    s.faults(BOB, |faults| faults.stream_down = true);
    s.run(2 * HOUR);
    s.faults(BOB, |faults| faults.stream_error = 0.9);
    s.run(HOUR);
    s.faults(ADA, |_| {});
    s.faults(BOB, |_| {});
    s.run(2 * HOUR);
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && tally.hours >= 4, "{tally:?}");
    Ok(())
}

/// A keeper holds sealed records of a stream that was made again; its store is back when their hour was
/// told long ago.
pub fn what_comes_after_its_hour_lies_in_the_next_open(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1 && sealed(driver, ADA) == 0)?;
    s.faults(ADA, |faults| faults.store_down = true);
    s.write(3);
    s.until("a sealed batch", |driver| sealed(driver, ADA) == 1)?;
    s.driver.stream.recreate(1);
    s.start(BOB);
    s.write(2);
    s.run(3 * HOUR);
    ensure!(told(&s.driver) >= 2, "{} hours are told", told(&s.driver));
    s.faults(ADA, |_| {});
    s.run(HOUR);
    let tally = s.settle()?;
    ensure!(tally.moved == 1, "{tally:?}");
    Ok(())
}

/// Nothing is written for hours; disks are lost, keepers with other layouts take turns.
pub fn idle_hours_are_told_through_lost_disks(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first hour", |driver| told(driver) == 1)?;
    s.run(3 * HOUR);
    s.kill(ADA);
    s.keeper(ADA).replace_disk(Snapshot::default());
    s.start(BOB);
    s.until("hours by another", |driver| told(driver) >= 5)?;
    s.kill(BOB);
    s.run(5 * HOUR);
    s.start(ADA);
    s.start(BOB);
    s.until("all hours", |driver| told(driver) >= 11)?;
    s.write(2);
    let tally = s.settle()?;
    ensure!(tally.missing == 0 && tally.hours >= 11, "{tally:?}");
    Ok(())
}

/// The stream is deleted and made again within an hour: the hour tells of both.
pub fn a_stream_made_again_goes_on_with_the_hours(rules: Rules) -> Result<(), String> {
    let mut s = Script::new(quiet(rules));
    s.start(ADA);
    s.write(3);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    s.driver.stream.recreate(2);
    s.write(4);
    s.run(4 * HOUR);
    s.write(2);
    let tally = s.settle()?;
    ensure!(tally.hours >= 4, "{tally:?}");
    Ok(())
}
