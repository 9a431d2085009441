//! Drives a run: producers write, keepers step one at a time, trouble comes; then all is calm and must settle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kinesis_keeper::model::ledger::Body;
use kinesis_keeper::model::shard::ShardId;
use kinesis_keeper::model::timestamp::Timestamp;
use kinesis_keeper::testing::{
    Faults, Logged, MemoryBucket, MemoryStream, ShardHistory, Snapshot, When, World,
};

use crate::archive::Archive;
use crate::keeper::Keeper;
use crate::plan::{HOUR, MINUTE, Plan, SECOND, between};
use crate::records::is_before_the_beginning;

/// The first instant of every run: close before midnight.
pub const BEGINNING: Timestamp = Timestamp::from_seconds(1_795_300_000);

/// Steps after which a run that is still in trouble is cut short.
const MOST_STEPS: u32 = 6_000;
/// Reading twice a second and delivering as fast is less.
const MOST_STEPS_A_MINUTE: u32 = 500;
/// Steps in which everything must have settled once all faults are over.
const SETTLING_STEPS: u32 = 8_000;

/// A run.
pub struct Driver {
    pub plan: Plan,
    pub world: Arc<World>,
    pub stream: Arc<MemoryStream>,
    pub bucket: Arc<MemoryBucket>,
    pub keepers: Vec<Keeper>,
    pub random: fastrand::Rng,
    written: u64,
    ends: Timestamp,
    next_write: Timestamp,
    next_trouble: Timestamp,
    /// When an outage of a keeper's store or stream ends.
    outages: Vec<(Timestamp, usize)>,
    /// Steps of each keeper in the current minute.
    busy: Vec<(i64, u32)>,
    pub steps: u32,
    pub calm_at: u32,
    /// When all faults were over.
    pub calm_since: Timestamp,
}

impl Driver {
    /// Ready to run.
    pub fn new(plan: Plan, log: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(plan.seed ^ 0x9e37_79b9_7f4a_7c15);
        let world = World::new(BEGINNING + between(&mut random, Duration::ZERO, 3 * HOUR));
        if log {
            world.keep_log();
        }
        let stream = MemoryStream::new(Arc::clone(&world), plan.stream, plan.shards, random.fork());
        let bucket = MemoryBucket::new(Arc::clone(&world), plan.lifecycle);
        let keepers = plan.keepers.iter();
        let keepers = keepers
            .map(|keeper| Keeper::new(&plan, keeper.clone(), &world, &stream, &bucket, &mut random))
            .collect();
        let now = world.now();
        Self {
            ends: now + plan.duration,
            next_write: now,
            next_trouble: now + between(&mut random, Duration::ZERO, 2 * plan.trouble_every),
            outages: Vec::new(),
            written: 0,
            busy: vec![(0, 0); plan.keepers.len()],
            steps: 0,
            calm_at: 0,
            calm_since: now,
            plan,
            world,
            stream,
            bucket,
            keepers,
            random,
        }
    }

    /// Runs to the end, then lets everything settle.
    pub fn run(&mut self) -> Result<(), String> {
        while self.world.now() < self.ends && self.steps < MOST_STEPS {
            self.turn();
        }
        self.settle()
    }

    /// One step of whoever is due next; time passes until then.
    pub fn turn(&mut self) {
        self.steps += 1;
        let soonest = self.keepers.iter().map(Keeper::due).min().unwrap_or(self.ends);
        self.pass_to(soonest.min(self.ends));
        self.world.advance(Duration::from_millis(self.random.u64(0..40)));
        let now = self.world.now();
        let due: Vec<usize> =
            (0..self.keepers.len()).filter(|index| self.keepers[*index].due() <= now).collect();
        if let Some(index) = self.random.choice(due) {
            self.keepers[index].act();
            self.must_not_spin(index);
            self.maybe_die_after_entry(index);
        }
    }

    /// A thread that has nothing to do must wait.
    fn must_not_spin(&mut self, index: usize) {
        let minute = self.world.now().as_seconds() / 60;
        let (of, steps) = &mut self.busy[index];
        (*of, *steps) = if *of == minute { (minute, *steps + 1) } else { (minute, 1) };
        assert!(*steps < MOST_STEPS_A_MINUTE, "{} spins", self.plan.keepers[index].name);
    }

    /// The worst moment for a power cut: a batch is claimed, and its object is not there.
    fn maybe_die_after_entry(&mut self, index: usize) {
        if self.keepers[index].calm || self.random.f64() >= self.plan.dies_after_entry {
            return;
        }
        let Some(newest) = self.bucket.newest().filter(|newest| newest.key.contains("/_ledger/shardId"))
        else {
            return;
        };
        let fresh = newest.object.sent + 5 * SECOND > self.world.now();
        let batch = newest.object.bytes.windows(14).any(|window| window == b"\"type\":\"batch\"");
        if fresh && batch && newest.object.writer == self.keepers[index].trouble.identity() {
            self.power_cut(index);
        }
    }

    /// Lets time pass, with all that happens meanwhile.
    fn pass_to(&mut self, then: Timestamp) {
        loop {
            let never = Timestamp::from_millis(i64::MAX);
            let outage = self.outages.iter().map(|(over, _)| *over).min().unwrap_or(never);
            let next = self.next_write.min(self.next_trouble).min(outage);
            if next > then {
                break;
            }
            self.world.advance_to(next);
            if next == self.next_write {
                self.produce();
                self.next_write = next + between(&mut self.random, Duration::ZERO, 2 * self.plan.write_every);
            } else if next == self.next_trouble {
                self.make_trouble();
                let pause = between(&mut self.random, SECOND, 2 * self.plan.trouble_every);
                self.next_trouble = self.world.now() + pause;
            } else {
                self.end_outages();
            }
        }
        self.world.advance_to(then);
    }

    fn end_outages(&mut self) {
        let now = self.world.now();
        let over: Vec<usize> =
            self.outages.iter().filter(|(over, _)| *over <= now).map(|(_, index)| *index).collect();
        self.outages.retain(|(over, _)| *over > now);
        for index in over {
            self.keepers[index].trouble.set_faults(self.plan.keepers[index].faults.clone());
            self.world.note(|| format!("{} outage over", self.plan.keepers[index].name));
        }
    }

    /// A producer writes a few records.
    pub fn produce(&mut self) {
        let count = if self.random.u8(0..4) == 0 { self.random.u32(2..6) } else { 1 };
        for _ in 0..count {
            let shards = self.stream.open_shards();
            let Some(shard) = self.random.choice(shards) else { return };
            self.write(&shard);
        }
    }

    /// Writes one record, of a content that no other has.
    pub fn write(&mut self, shard: &ShardId) {
        let number = self.written;
        self.written += 1;
        let data = match number % 5 {
            0 => vec![0xff, 0xfe, (number % 251) as u8, (number / 251) as u8],
            1 => format!("line \"{number}\"\n\u{1F980}").into_bytes(),
            _ => format!("{{\"event\":{number}}}").into_bytes(),
        };
        let key = (number % 7 != 6).then(|| format!("user-{}", number % 3));
        self.stream.write(shard, key, Bytes::from(data));
    }

    fn make_trouble(&mut self) {
        let index = self.random.usize(0..self.keepers.len());
        match self.random.u32(0..100) {
            0..35 => {
                let when = if self.random.bool() { When::Before } else { When::After };
                let calls = self.random.u64(0..40);
                self.world.note(|| format!("{} will crash in {calls} calls", self.plan.keepers[index].name));
                self.keepers[index].trouble.crash.arm(calls, when);
            }
            35..55 => self.power_cut(index),
            55..68 => self.outage(index),
            68..76 => self.restart(index),
            76..84 => self.keepers[index].snapshot = Some(self.keepers[index].disk.snapshot()),
            84..88 => self.keepers[index].request_seal(),
            88..94 => self.reshard(),
            94..96 if self.plan.recreates => {
                self.plan.recreates = false;
                self.stream.recreate(self.plan.shards);
            }
            _ => {
                // Both at once: nobody reads for a while.
                for index in 0..self.keepers.len() {
                    self.power_cut(index);
                }
            }
        }
    }

    /// The process is gone for a while, perhaps the disk too.
    fn power_cut(&mut self, index: usize) {
        let most = if self.random.u8(0..5) < 2 { self.plan.longest_away } else { 5 * MINUTE };
        let down = between(&mut self.random, SECOND, most);
        let fate = self.random.u32(0..100);
        let keeper = &mut self.keepers[index];
        keeper.kill();
        keeper.starts_at = self.world.now() + down;
        self.world.note(|| format!("    down for {down:?}, fate of its disk {fate}"));
        match fate {
            0..15 => keeper.replace_disk(Snapshot::default()),
            15..30 => {
                if let Some(snapshot) = keeper.snapshot.take() {
                    keeper.replace_disk(snapshot);
                }
            }
            30..40 => keeper.damage_disk(&mut self.random),
            _ => {}
        }
    }

    fn outage(&mut self, index: usize) {
        let store = self.random.u8(0..4) > 0;
        let most = if self.random.bool() { self.plan.longest_away } else { 30 * MINUTE };
        let lasts = between(&mut self.random, SECOND, most);
        let mut faults = self.plan.keepers[index].faults.clone();
        (faults.store_down, faults.stream_down) = (store, !store);
        self.world.note(|| format!("{} outage, store {store}, {lasts:?}", self.plan.keepers[index].name));
        self.keepers[index].trouble.set_faults(faults);
        self.outages.push((self.world.now() + lasts, index));
    }

    /// SIGTERM, a few steps, then started again.
    fn restart(&mut self, index: usize) {
        self.keepers[index].stop();
        for _ in 0..60 {
            if !self.keepers[index].is_stopping() {
                return;
            }
            let due = self.keepers[index].due();
            self.world.advance_to(due);
            self.keepers[index].act();
        }
        self.keepers[index].abandon();
        for _ in 0..10 {
            if !self.keepers[index].is_stopping() {
                return;
            }
            self.keepers[index].act();
        }
        panic!("{} does not end though it was abandoned", self.plan.keepers[index].name);
    }

    fn reshard(&mut self) {
        let open = self.stream.open_shards();
        if !self.plan.reshards || open.len() > 3 {
            return;
        }
        if open.len() > 1 && self.random.bool() {
            self.stream.merge(&open[0], &open[1]);
        } else if let Some(shard) = self.random.choice(open) {
            self.stream.split(&shard);
        }
    }

    /// All faults are over; everything readable must come to lie in the archive, announced.
    pub fn settle(&mut self) -> Result<(), String> {
        self.calm_at = self.steps;
        self.calm_since = self.world.now();
        self.world.note(|| "ALL FAULTS ARE OVER");
        let far = self.world.now() + 1_000_000 * HOUR;
        (self.next_write, self.next_trouble, self.ends) = (far, far, far);
        self.outages.clear();
        let now = self.world.now();
        for keeper in &mut self.keepers {
            keeper.trouble.set_faults(Faults::default());
            keeper.calm = true;
            keeper.trouble.crash.disarm();
            keeper.starts_at = keeper.starts_at.min(now);
            if keeper.is_stopping() {
                keeper.abandon();
            }
        }
        for step in 0..SETTLING_STEPS {
            if step % 16 == 0 {
                for keeper in &mut self.keepers {
                    if step % 256 == 0 {
                        keeper.request_seal();
                    }
                }
                if self.is_settled() {
                    return Ok(());
                }
            }
            self.turn();
        }
        let keepers: Vec<_> = self.keepers.iter().map(Keeper::says).collect();
        Err(format!(
            "stuck: {}{}; puts in flight {}\n{}",
            self.unsettled(),
            crate::hours::untold(self),
            self.bucket.in_flight(),
            keepers.join("\n")
        ))
    }

    fn is_settled(&self) -> bool {
        let listed: Vec<_> = self.stream.listing().into_iter().map(|shard| shard.id).collect();
        // Who has more to do at once may be walking a ledger that others wrote.
        let soon = self.world.now() + SECOND;
        let rests = |keeper: &Keeper| {
            keeper.waiting().is_empty() && keeper.has_opened(&listed) && keeper.due() > soon
        };
        self.bucket.in_flight() == 0
            && self.keepers.iter().all(|keeper| keeper.retired || rests(keeper))
            && self.unsettled().is_empty()
            && crate::hours::untold(self).is_empty()
    }

    /// The first shard whose ledger does not reach to its end, in words.
    fn unsettled(&self) -> String {
        let history = self.stream.history();
        history
            .iter()
            .filter(|shard| shard.deleted.is_none())
            .find_map(|shard| self.lags(shard))
            .unwrap_or_default()
    }

    fn lags(&self, shard: &ShardHistory) -> Option<String> {
        let id = &shard.shard.id;
        let archive = Archive::of(&self.bucket);
        let ledger = archive.ledger(shard).unwrap_or_default();
        let Some((begin, newest)) = ledger.first().zip(ledger.last()) else {
            // Nobody ever saw it, and nobody can any more.
            let gone = shard.closed.is_some_and(|closed| self.stream.is_trimmed(closed));
            return (!gone).then(|| format!("{id} has no ledger"));
        };
        let position = match &newest.entry.body {
            Body::End(_) => return None,
            _ if shard.closed.is_some() => return Some(format!("{id} is closed and has no end")),
            Body::Batch(batch) => Some(&batch.last_sequence_number),
            Body::Gap(gap) => gap.after.as_ref(),
            Body::Begin(_) => None,
        };
        if let Some(batch) = newest.batch()
            && archive.object_of(batch).is_none()
            && self.plan.lifecycle.is_none_or(|life| newest.at + life > self.world.now())
        {
            return Some(format!("{} is missing", batch.key));
        }
        let in_gap = |logged: &Logged| {
            newest.gap().is_some_and(|gap| {
                let number = &logged.record.sequence_number;
                let before_its_end = gap.resumes_at.as_ref().is_none_or(|resumes_at| number < resumes_at);
                before_its_end && self.stream.is_trimmed(logged.written)
            })
        };
        let begins_at = begin.begins_at();
        let retention = self.plan.stream.retention;
        let wanted = shard
            .records
            .iter()
            .skip_while(|logged| begins_at.is_some_and(|begin| logged.record.arrival < begin))
            .filter(|logged| position.is_none_or(|position| logged.record.sequence_number > *position))
            .filter(|logged| position.is_some() || !is_before_the_beginning(retention, begin, logged))
            .find(|logged| !in_gap(logged))?;
        Some(format!("{id} holds {}, neither archived nor in a gap", wanted.record.sequence_number))
    }
}
