//! Traces of when a shard does what: nobody is kept from reading by what others do at the same time.

use std::sync::Arc;

use kinesis_keeper::model::rules::Rules;
use kinesis_keeper::model::shard::ShardId;
use kinesis_keeper::stop::Stop;

use crate::archive::Lain;
use crate::check::ensure;
use crate::plan::{HOUR, MINUTE};
use crate::script::{ADA, Script, ledger, objects, quiet};

/// A batch's time is over while as many others seal as may at once: its shard reads on, and what it read
/// meanwhile is in the batch when its turn has come.
pub fn who_waits_for_a_turn_to_seal_reads_on(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.keepers[ADA].limits.max_age = 10 * MINUTE;
    plan.keepers[ADA].limits.max_records = 100;
    let mut s = Script::new(plan);
    s.start(ADA);
    s.write(1);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    let shared = Arc::clone(&s.keeper(ADA).process.as_ref().unwrap().shared);
    let (others, stop) = (ShardId::new("others"), Stop::new());
    let all_turns = || std::iter::from_fn(|| shared.seal_turns.take(&others, &stop)).collect::<Vec<_>>();
    let turns = all_turns();
    s.write(2);
    s.run(20 * MINUTE);
    ensure!(objects(&s.driver) == 1, "it sealed without a turn");
    s.write(3);
    s.run(10 * MINUTE);
    drop(turns);
    s.until("the second batch", |driver| objects(driver) == 2)?;
    let found: Vec<u64> =
        ledger(&s.driver).iter().filter_map(Lain::batch).map(|batch| batch.records).collect();
    ensure!(found == [1, 5], "{found:?}");
    // What is asked for waits for nobody.
    let turns = all_turns();
    s.write(1);
    s.run(5 * MINUTE);
    shared.request_seal();
    s.until("the batch that was asked for", |driver| objects(driver) == 3)?;
    drop(turns);
    s.run(HOUR);
    s.settle().map(drop)
}

/// An object is due while others take all room on the line: its shard reads and seals on, and both objects are put once
/// there is room.
pub fn who_waits_for_room_to_put_reads_on(rules: Rules) -> Result<(), String> {
    let mut plan = quiet(rules);
    plan.keepers[ADA].limits.max_age = 10 * MINUTE;
    let mut s = Script::new(plan);
    s.start(ADA);
    s.write(1);
    s.until("the first batch", |driver| objects(driver) == 1)?;
    let shared = Arc::clone(&s.keeper(ADA).process.as_ref().unwrap().shared);
    let room = shared.put_room.take("others", u64::MAX / 2, &Stop::new());
    ensure!(room.is_some(), "nothing was under way");
    let (shard, mut random) = (s.driver.stream.open_shards().remove(0), fastrand::Rng::with_seed(1));
    for _ in 0..2 {
        let data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(900 << 10).collect();
        s.driver.stream.write(&shard, None, data.into());
    }
    s.run(20 * MINUTE);
    s.write(3);
    s.run(20 * MINUTE);
    ensure!(objects(&s.driver) == 1, "it was put without room");
    drop(room);
    s.run(MINUTE);
    let found: Vec<u64> =
        ledger(&s.driver).iter().filter_map(Lain::batch).map(|batch| batch.records).collect();
    ensure!(found == [1, 1, 1, 3] && objects(&s.driver) == 4, "{found:?}");
    s.run(HOUR);
    s.settle().map(drop)
}
