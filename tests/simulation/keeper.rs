//! One keeper: its process, that runs the real state machine, and what survives the process.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kinesis_keeper::model::key::{Keys, Prefix};
use kinesis_keeper::model::shard::{ShardId, StreamIdentity};
use kinesis_keeper::model::timestamp::Timestamp;
use kinesis_keeper::shard::budget::{Budget, SpoolQuota};
use kinesis_keeper::shard::setup::{Mode, Next, Outcome, Shared};
use kinesis_keeper::spool::identity::Settled;
use kinesis_keeper::stop::{Seen, Stop, StopReason};
use kinesis_keeper::testing::{
    Crashed, ManualClock, ManualCores, MemoryBucket, MemoryDisk, MemoryStore, MemoryStream, Recorder,
    SilentMeter, Snapshot, StreamOf, Trouble, When, World,
};

use crate::plan::{KeeperPlan, MINUTE, Plan, SECOND, between};

pub const BUCKET: &str = "my-archive";
pub const STREAM: &str = "clickstream";

/// Where everything lies.
pub fn keys() -> Keys {
    Keys::new(&Prefix::new("raw/").unwrap(), STREAM)
}

/// A keeper.
pub struct Keeper {
    pub plan: KeeperPlan,
    pub world: Arc<World>,
    pub trouble: Arc<Trouble>,
    pub disk: Arc<MemoryDisk>,
    pub recorder: Arc<Recorder>,
    pub meter: Arc<SilentMeter>,
    /// Events at which its disk was lost, restored or damaged.
    pub disk_events: Vec<u64>,
    /// Whether a file of it was ever damaged.
    pub damaged: bool,
    /// When each shard was first opened, as an event.
    pub opened: Vec<(Timestamp, ShardId, u64)>,
    pub snapshot: Option<Snapshot>,
    /// How many times it was started.
    pub starts: usize,
    /// No more trouble comes.
    pub calm: bool,
    /// Its host is gone for good.
    pub retired: bool,
    /// When a process that is not running is started.
    pub starts_at: Timestamp,
    pub process: Option<Process>,
    pub run: Plan,
    pub stream: Arc<StreamOf>,
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ManualClock>,
    pub cores: Arc<ManualCores>,
    pub random: fastrand::Rng,
}

/// What a process holds in memory.
pub struct Process {
    pub shared: Arc<Shared>,
    pub workers: Vec<Worker>,
    pub settled: Option<(StreamIdentity, Settled)>,
    pub refresh_due: Timestamp,
    pub done: BTreeSet<String>,
    pub stopping: bool,
    /// The real teller of the hours, once the stream is known.
    pub hours: Option<Hours>,
}

/// The real teller of the hours, and when it is to step.
pub struct Hours {
    pub due: Timestamp,
    pub step: Box<dyn FnMut() -> Next>,
}

/// The real state machine of one shard, and when it is to step.
pub struct Worker {
    pub folder: String,
    pub created: Timestamp,
    pub mode: Mode,
    pub shard: ShardId,
    pub stop: Stop,
    pub seen: Seen,
    pub due: Timestamp,
    pub step: Box<dyn FnMut() -> Next>,
}

impl Keeper {
    pub fn new(
        run: &Plan,
        plan: KeeperPlan,
        world: &Arc<World>,
        stream: &Arc<MemoryStream>,
        bucket: &Arc<MemoryBucket>,
        random: &mut fastrand::Rng,
    ) -> Self {
        let trouble = Trouble::new(Arc::clone(world), plan.name, random.fork());
        trouble.set_faults(plan.faults.clone());
        let disk = MemoryDisk::new(Arc::clone(&trouble));
        Self {
            world: Arc::clone(world),
            stream: StreamOf::new(Arc::clone(stream), Arc::clone(&trouble)),
            store: MemoryStore::new(Arc::clone(bucket), Arc::clone(&disk), Arc::clone(&trouble)),
            recorder: Recorder::new(Arc::clone(&trouble)),
            meter: Arc::new(SilentMeter::default()),
            clock: Arc::new(ManualClock::new(Arc::clone(world), plan.skew_millis)),
            cores: Arc::default(),
            disk_events: Vec::new(),
            damaged: false,
            opened: Vec::new(),
            snapshot: None,
            starts: 0,
            calm: false,
            retired: false,
            starts_at: world.now() + plan.starts_after,
            process: None,
            random: random.fork(),
            run: run.clone(),
            trouble,
            disk,
            plan,
        }
    }

    /// When it next has something to do.
    pub fn due(&self) -> Timestamp {
        if self.retired {
            return Timestamp::from_millis(i64::MAX / 2);
        }
        let Some(process) = &self.process else { return self.starts_at };
        let nudged = |worker: &&Worker| worker.stop.seen() != worker.seen;
        if process.workers.iter().any(|worker| nudged(&worker)) {
            return self.world.now();
        }
        let workers = process.workers.iter().map(|worker| worker.due).min();
        let refresh = (!process.stopping).then_some(process.refresh_due);
        let hours = process.hours.as_ref().map(|hours| hours.due);
        workers.into_iter().chain(refresh).chain(hours).min().unwrap_or(process.refresh_due)
    }

    /// Does one thing that is due, or would be next. A planned crash ends the process.
    pub fn act(&mut self) {
        if self.process.is_none() {
            self.start();
            return;
        }
        let acted = catch_unwind(AssertUnwindSafe(|| self.act_alive()));
        if let Err(panic) = acted {
            if !panic.is::<Crashed>() {
                resume_unwind(panic);
            }
            self.kill();
        }
    }

    /// The process is gone, with all that it held in memory.
    pub fn kill(&mut self) {
        self.world.note(|| format!("{} CRASHED", self.plan.name));
        self.process = None;
        let pause = if self.random.bool() { SECOND } else { 8 * MINUTE };
        self.starts_at = self.world.now() + between(&mut self.random, SECOND, pause);
        assert_eq!(self.trouble.crash.calls_after_death(), 0, "a dropped worker called a port");
    }

    /// The host burns down with its disk.
    pub fn retire(&mut self) {
        self.kill();
        self.replace_disk(Snapshot::default());
        self.retired = true;
    }

    fn start(&mut self) {
        self.world.note(|| format!("{} starts", self.plan.name));
        self.trouble.crash.revive();
        self.starts += 1;
        if self.run.crashes_again > 0 && !self.calm {
            self.trouble.crash.arm(self.random.u64(0..self.run.crashes_again), When::Before);
        }
        let shared =
            Shared::new(Budget::new(1 << 30, 2), SpoolQuota::new(1 << 30), self.run.stream.retention);
        self.process = Some(Process {
            shared: Arc::new(shared),
            workers: Vec::new(),
            settled: None,
            refresh_due: self.world.now(),
            done: BTreeSet::new(),
            stopping: false,
            hours: None,
        });
    }

    fn act_alive(&mut self) {
        let now = self.world.now();
        let process = self.process.as_mut().unwrap();
        if process.refresh_due <= now && !process.stopping {
            self.supervise();
            return;
        }
        let due: Vec<usize> = (0..process.workers.len())
            .filter(|index| {
                let worker = &process.workers[*index];
                worker.due <= now || worker.stop.seen() != worker.seen
            })
            .collect();
        let hours_due = process.hours.as_ref().is_some_and(|hours| hours.due <= now);
        if hours_due && (due.is_empty() || self.random.bool()) {
            self.tell_hours();
            return;
        }
        let Some(index) = self.random.choice(due) else { return };
        self.step(index);
    }

    fn tell_hours(&mut self) {
        let Some(hours) = self.process.as_mut().and_then(|process| process.hours.as_mut()) else { return };
        let next = (hours.step)();
        self.world.note(|| format!("{} told hours: {next:?}", self.plan.name));
        hours.due = match next {
            Next::Wait(wait) => self.world.now() + wait.max(Duration::from_millis(1)),
            Next::Again | Next::Done(_) => self.world.now(),
        };
    }

    fn step(&mut self, index: usize) {
        let process = self.process.as_mut().unwrap();
        let worker = &mut process.workers[index];
        worker.seen = worker.stop.seen();
        let next = (worker.step)();
        let now = self.world.now();
        self.world.note(|| format!("{} stepped: {next:?}", self.plan.name));
        match next {
            Next::Again => worker.due = now,
            // Threads may oversleep, and so need fewer steps here.
            Next::Wait(wait) => {
                let late =
                    if wait < 4 * SECOND { 1.0 } else { 1.0 + self.run.oversleeps * self.random.f64() };
                worker.due = now + wait.mul_f64(late).max(Duration::from_millis(1));
            }
            Next::Done(outcome) => {
                let worker = process.workers.remove(index);
                self.world.note(|| format!("{} {} done: {outcome:?}", self.plan.name, worker.folder));
                match outcome {
                    Outcome::Ended | Outcome::Drained => {
                        process.shared.board.drained(&worker.folder);
                        process.done.insert(worker.folder);
                    }
                    Outcome::StreamReplaced => process.refresh_due = now,
                    Outcome::Stopped => {}
                }
                if process.stopping && process.workers.is_empty() {
                    self.process = None;
                    self.starts_at = now + between_starts(&mut self.random);
                }
            }
        }
    }

    /// SIGTERM: seals, puts, announces, ends.
    pub fn stop(&mut self) {
        let Some(process) = &mut self.process else { return };
        self.world.note(|| format!("{} is stopped", self.plan.name));
        process.stopping = true;
        for worker in &process.workers {
            worker.stop.stop(StopReason::Requested);
        }
        if process.workers.is_empty() {
            self.process = None;
            self.starts_at = self.world.now() + MINUTE;
        }
    }

    /// The time to drain is over.
    pub fn abandon(&mut self) {
        let Some(process) = &mut self.process else { return };
        for worker in &process.workers {
            worker.stop.stop(StopReason::Abandoned);
        }
    }

    /// Whether it was stopped and has not ended yet.
    pub fn is_stopping(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.stopping)
    }

    /// SIGUSR1.
    pub fn request_seal(&mut self) {
        let Some(process) = &mut self.process else { return };
        self.world.note(|| format!("{} is asked to seal", self.plan.name));
        process.shared.request_seal();
        for worker in &process.workers {
            worker.stop.nudge();
        }
    }

    /// Everything on its disk that waits to be put or announced.
    pub fn waiting(&self) -> Vec<PathBuf> {
        let mut files = self.disk.files("spool");
        files.extend(self.disk.files("outbox"));
        files
    }

    /// What each worker is doing, for the message about a keeper that is stuck.
    pub fn says(&self) -> String {
        let workers = self.process.iter().flat_map(|process| &process.workers);
        let workers: Vec<_> = workers
            .map(|worker| format!("{}@{} {:?}", worker.shard, worker.created.as_seconds(), worker.mode))
            .collect();
        format!(
            "{}: workers {workers:?}, last state {:?}, on disk {:?}",
            self.plan.name,
            self.meter.last_state(),
            self.waiting()
        )
    }

    /// Whether it reads every one of these shards, or is done with it.
    pub fn has_opened(&self, shards: &[ShardId]) -> bool {
        let Some(process) = &self.process else { return false };
        shards.iter().all(|shard| {
            process.done.contains(shard.as_str())
                || process.workers.iter().any(|worker| worker.folder == shard.as_str())
        })
    }

    /// Its state directory is gone, put back from a copy, or damaged in one file.
    pub fn replace_disk(&mut self, snapshot: Snapshot) {
        self.disk.restore(snapshot);
        self.disk_events.push(self.world.event());
    }

    /// Cuts one file of its spool or its checkpoints short.
    pub fn damage_disk(&mut self, random: &mut fastrand::Rng) {
        let mut files = self.disk.files("spool");
        files.extend(self.disk.files("checkpoints"));
        if let Some(path) = random.choice(files) {
            self.world.note(|| format!("{} damaged: {}", self.plan.name, path.display()));
            self.disk.damage(&path);
            self.damaged = true;
            self.disk_events.push(self.world.event());
        }
    }
}

fn between_starts(random: &mut fastrand::Rng) -> Duration {
    between(random, SECOND, 2 * MINUTE)
}
