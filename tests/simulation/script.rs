//! A run by hand: whoever writes the script says who steps, who dies, and what the disks and services do.

use std::time::Duration;

use kinesis_keeper::ledger::start::ConfiguredStart;
use kinesis_keeper::model::batch::{Form, Level, Limits};
use kinesis_keeper::model::key::Layout;
use kinesis_keeper::model::ledger::{Body, Entry};
use kinesis_keeper::model::rules::Rules;
use kinesis_keeper::shard::setup::{Members, Pacing};
use kinesis_keeper::testing::{Faults, StreamSetup};

use crate::archive::{Archive, Lain};
use crate::check::{Tally, check};
use crate::driver::Driver;
use crate::keeper::Keeper;
use crate::plan::{HOUR, KeeperPlan, MINUTE, Plan, SECOND};

/// The first keeper.
pub const ADA: usize = 0;
/// The second keeper: other level, other layout.
pub const BOB: usize = 1;
/// How long the scripts' stream keeps a record.
pub const RETENTION: Duration = Duration::from_secs(4 * 3600);

/// A run by hand.
pub struct Script {
    pub driver: Driver,
}

fn keeper(name: &'static str, layout: Layout, level: u32) -> KeeperPlan {
    KeeperPlan {
        name,
        limits: Limits { max_age: 5 * MINUTE, max_records: 3, max_bytes: 1 << 20 },
        layout,
        forms: vec![Form::SPOOLED],
        level: Level::Fixed(level),
        deaggregate: true,
        keep_copies: false,
        pacing: Pacing {
            behind: 5 * SECOND,
            caught_up: 2 * MINUTE,
            throttled: 5 * SECOND,
            bytes_per_second: 2 << 20,
        },
        members: Members::default(),
        skew_millis: 0,
        faults: Faults::default(),
        starts_after: 1_000_000 * HOUR,
    }
}

/// One shard, two keepers that are not started, no trouble.
pub fn quiet(rules: Rules) -> Plan {
    Plan {
        seed: 1,
        shards: 1,
        stream: StreamSetup {
            retention: RETENTION,
            silent_trim: true,
            reply_limit: 100,
            arrival_jitter: Duration::ZERO,
        },
        lifecycle: None,
        start: ConfiguredStart::TrimHorizon,
        keepers: vec![keeper("ada", Layout::Hive, 1), keeper("bob", Layout::Firehose, 2)],
        duration: 1_000_000 * HOUR,
        write_every: 1_000_000 * HOUR,
        trouble_every: 1_000_000 * HOUR,
        dies_after_entry: 0.0,
        crashes_again: 0,
        oversleeps: 0.0,
        longest_away: HOUR,
        reshards: false,
        recreates: false,
        rules,
    }
}

impl Script {
    pub fn new(plan: Plan) -> Self {
        let log = std::env::var("SIMULATION_LOG").is_ok();
        Self { driver: Driver::new(plan, log) }
    }

    pub fn keeper(&mut self, who: usize) -> &mut Keeper {
        &mut self.driver.keepers[who]
    }

    /// Writes so many records to the first open shard, a second apart.
    pub fn write(&mut self, records: u32) {
        for _ in 0..records {
            let shard = self.driver.stream.open_shards().remove(0);
            self.driver.write(&shard);
            self.driver.world.advance(SECOND);
        }
    }

    /// Starts a keeper that is not running.
    pub fn start(&mut self, who: usize) {
        let now = self.driver.world.now();
        self.keeper(who).starts_at = now;
        self.keeper(who).act();
    }

    /// Kills a keeper; it stays down.
    pub fn kill(&mut self, who: usize) {
        let far = self.driver.world.now() + 1_000_000 * HOUR;
        self.keeper(who).kill();
        self.keeper(who).starts_at = far;
    }

    /// Changes what goes wrong for a keeper from now on.
    pub fn faults(&mut self, who: usize, change: impl FnOnce(&mut Faults)) {
        let mut faults = Faults::default();
        change(&mut faults);
        self.keeper(who).trouble.set_faults(faults);
    }

    /// Lets whoever runs step until so much time has passed.
    pub fn run(&mut self, time: Duration) {
        let end = self.driver.world.now() + time;
        self.run_until(end, |_| false);
        self.driver.world.advance_to(end);
    }

    /// Lets whoever runs step until this is so; it must be within a day.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Driver) -> bool) -> Result<(), String> {
        let end = self.driver.world.now() + 24 * HOUR;
        if self.run_until(end, is_so) { Ok(()) } else { Err(format!("it never came to this: {what}")) }
    }

    fn run_until(
        &mut self,
        end: kinesis_keeper::model::timestamp::Timestamp,
        is_so: impl Fn(&Driver) -> bool,
    ) -> bool {
        for _ in 0..100_000 {
            if is_so(&self.driver) {
                return true;
            }
            let soonest = (0..self.driver.keepers.len()).min_by_key(|who| self.driver.keepers[*who].due());
            let Some(who) = soonest.filter(|who| self.driver.keepers[*who].due() <= end) else {
                return false;
            };
            let due = self.driver.keepers[who].due();
            self.driver.world.advance_to(due);
            self.driver.world.advance(Duration::from_millis(20));
            self.keeper(who).act();
        }
        let log = self.driver.world.take_log();
        log.iter().rev().take(40).rev().for_each(|line| eprintln!("{line}"));
        panic!("a hundred thousand steps until {end}");
    }

    /// The first shard's ledger.
    pub fn ledger(&self) -> Vec<Entry> {
        ledger(&self.driver).into_iter().map(|lain| lain.entry).collect()
    }

    /// The gaps in it.
    pub fn gaps(&self) -> usize {
        self.ledger().iter().filter(|entry| matches!(entry.body, Body::Gap(_))).count()
    }

    /// Lets everything settle without trouble, and checks everything.
    pub fn settle(&mut self) -> Result<Tally, String> {
        let result = self.driver.settle().and_then(|()| check(&self.driver));
        let result = result.and_then(|tally| crate::proof::check(&self.driver).map(|()| tally));
        for line in self.driver.world.take_log() {
            eprintln!("{line}");
        }
        result
    }
}

impl Drop for Script {
    /// What was kept of the run by `SIMULATION_LOG`, also where it failed before it was settled.
    fn drop(&mut self) {
        for line in self.driver.world.take_log() {
            eprintln!("{line}");
        }
    }
}

/// The first shard's ledger.
pub fn ledger(driver: &Driver) -> Vec<Lain> {
    Archive::of(&driver.bucket).ledger(&driver.stream.history()[0]).unwrap()
}

/// How many batch entries the first shard's ledger has.
pub fn batches(driver: &Driver) -> usize {
    ledger(driver).iter().filter(|lain| lain.batch().is_some()).count()
}

/// How many of them have an object.
pub fn objects(driver: &Driver) -> usize {
    let archive = Archive::of(&driver.bucket);
    ledger(driver).iter().filter_map(Lain::batch).filter(|batch| archive.object_of(batch).is_some()).count()
}

/// How many sealed items lie in a keeper's spool.
pub fn sealed(driver: &Driver, who: usize) -> usize {
    let files = driver.keepers[who].disk.files("spool");
    files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "json")).count()
}
