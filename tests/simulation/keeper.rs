//! One keeper: its process, that runs the real state machine, and what survives the process.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kinesis_keeper::ledger::start::{StartOutcome, settle_start};
use kinesis_keeper::model::key::{Keys, Prefix};
use kinesis_keeper::model::shard::{HashKeyRange, Shard, ShardId, StreamIdentity};
use kinesis_keeper::model::timestamp::Timestamp;
use kinesis_keeper::ports::{Disk, NoProbe, ObjectStore, Stream};
use kinesis_keeper::shard::ShardWorker;
use kinesis_keeper::shard::budget::{Budget, SpoolQuota};
use kinesis_keeper::shard::setup::{Mode, Next, Outcome, Ports, Settings, Setup, Shared};
use kinesis_keeper::spool::checkpoints::DiskCheckpoints;
use kinesis_keeper::spool::identity::{Identity, OldFolder, Settled, settle};
use kinesis_keeper::stop::{Seen, Stop, StopReason};
use kinesis_keeper::testing::{
    Crashed, ManualClock, MemoryBucket, MemoryDisk, MemoryStore, MemoryStream, Recorder, SilentMeter,
    Snapshot, StreamOf, Trouble, When, World,
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
    /// When each shard was first opened, as an event.
    pub opened: Vec<(Timestamp, ShardId, u64)>,
    pub snapshot: Option<Snapshot>,
    /// No more trouble comes.
    pub calm: bool,
    /// Its host is gone for good.
    pub retired: bool,
    /// When a process that is not running is started.
    pub starts_at: Timestamp,
    pub process: Option<Process>,
    run: Plan,
    stream: Arc<StreamOf>,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    random: fastrand::Rng,
}

/// What a process holds in memory.
pub struct Process {
    pub shared: Arc<Shared>,
    workers: Vec<Worker>,
    settled: Option<(StreamIdentity, Settled)>,
    refresh_due: Timestamp,
    done: BTreeSet<String>,
    stopping: bool,
}

struct Worker {
    folder: String,
    created: Timestamp,
    mode: Mode,
    shard: ShardId,
    stop: Stop,
    seen: Seen,
    due: Timestamp,
    step: Box<dyn FnMut() -> Next>,
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
            disk_events: Vec::new(),
            opened: Vec::new(),
            snapshot: None,
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
        workers.into_iter().chain(refresh).min().unwrap_or(process.refresh_due)
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
        if self.run.crashes_again > 0 && !self.calm {
            self.trouble.crash.arm(self.random.u64(0..self.run.crashes_again), When::Before);
        }
        let shared = Shared::new(Budget::new(1 << 30), SpoolQuota::new(1 << 30), self.run.stream.retention);
        self.process = Some(Process {
            shared: Arc::new(shared),
            workers: Vec::new(),
            settled: None,
            refresh_due: self.world.now(),
            done: BTreeSet::new(),
            stopping: false,
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
        let Some(index) = self.random.choice(due) else { return };
        self.step(index);
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
                    Outcome::Ended | Outcome::Drained => drop(process.done.insert(worker.folder)),
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

    /// What the supervisor does: who is the stream, where does it begin, which shards has it.
    fn supervise(&mut self) {
        let now = self.world.now();
        let process = self.process.as_mut().unwrap();
        process.refresh_due = now + 2 * MINUTE + self.plan.pacing.caught_up * 4;
        let soon = now + 20 * SECOND;
        let stop = Stop::new();
        let Ok(described) = self.stream.describe(&stop) else {
            process.refresh_due = soon;
            return;
        };
        let identity = described.value.identity;
        if process.settled.as_ref().is_none_or(|(known, _)| !known.is(&identity)) {
            process.workers.clear();
            process.done.clear();
            // Where this creation begins is not where the last one did.
            let shared =
                Shared::new(Budget::new(1 << 30), SpoolQuota::new(1 << 30), self.run.stream.retention);
            process.shared = Arc::new(shared);
            let wanted = Identity::new(&identity, BUCKET, "raw/", &mut self.random);
            let Ok(settled) = settle(&*self.disk, wanted) else {
                process.refresh_due = soon;
                return;
            };
            self.trouble.set_identity(format!("{}-{}", self.plan.name, settled.identity.keeper));
            process.settled = Some((identity.clone(), settled));
        }
        if !self.decide_start(&identity, &stop) {
            self.process.as_mut().unwrap().refresh_due = soon;
        }
        self.open_shards(&identity, &stop);
    }

    /// Whether the stream's start is known, and how long objects live.
    fn decide_start(&mut self, identity: &StreamIdentity, stop: &Stop) -> bool {
        let shared = &self.process.as_ref().unwrap().shared;
        if shared.shortest_expiry.get().is_none()
            && let Ok(expiry) = self.store.shortest_expiry(keys().root(), stop)
        {
            let _ = shared.shortest_expiry.set(expiry);
        }
        if shared.begin.get().is_none() {
            match settle_start(&*self.store, &keys(), identity, self.run.start, stop) {
                Ok(StartOutcome::Ready(begin)) => drop(shared.begin.set(begin)),
                // A put of ours that was answered with an error may land late: the store is asked again.
                Ok(StartOutcome::ConditionsIgnored) => panic!("the start object was overwritten"),
                Ok(other) => panic!("the start was refused: {other:?}"),
                Err(_) => return false,
            }
        }
        shared.shortest_expiry.get().is_some()
    }

    fn open_shards(&mut self, identity: &StreamIdentity, stop: &Stop) {
        let Ok(listing) = self.stream.list_shards(stop) else { return };
        self.process.as_ref().unwrap().shared.set_listing(&listing);
        for shard in &listing {
            self.open(identity, shard.clone(), Mode::Read, shard.id.to_string());
        }
        for id in self.unlisted(identity, &listing, stop) {
            let shard = Shard { id: id.clone(), parents: vec![], range: HashKeyRange::WHOLE, closed: true };
            self.open(identity, shard, Mode::Unlisted, id.to_string());
        }
        let old = self.process.as_ref().unwrap().settled.as_ref().map(|(_, settled)| settled.old.clone());
        for OldFolder { folder, shard, created } in old.unwrap_or_default() {
            let identity = StreamIdentity { created, ..identity.clone() };
            let shard = Shard { id: shard, parents: vec![], range: HashKeyRange::WHOLE, closed: true };
            self.open(&identity, shard, Mode::Drain, folder);
        }
    }

    /// Shards that have a ledger or something on this disk and are not listed any more.
    fn unlisted(&self, identity: &StreamIdentity, listing: &[Shard], stop: &Stop) -> BTreeSet<ShardId> {
        let mut known = BTreeSet::new();
        let suffix = format!("-{}/", identity.created.as_seconds());
        for folder in self.store.folders(&keys().ledgers(), stop).unwrap_or_default() {
            let name = folder.strip_prefix(&keys().ledgers()).unwrap();
            if let Some(shard) = name.strip_suffix(&suffix) {
                known.insert(ShardId::new(shard));
            }
        }
        for found in self.disk.list(Path::new("spool")).unwrap_or_default() {
            if !found.name.contains('@') {
                known.insert(ShardId::new(found.name));
            }
        }
        known.retain(|id| listing.iter().all(|shard| &shard.id != id));
        known
    }

    fn open(&mut self, identity: &StreamIdentity, shard: Shard, mode: Mode, folder: String) {
        let process = self.process.as_mut().unwrap();
        if process.done.contains(&folder) {
            return;
        }
        if let Some(index) = process.workers.iter().position(|worker| worker.folder == folder) {
            if process.workers[index].mode == mode {
                return;
            }
            // It is not listed any more: what it holds in memory it seals, and hands the shard back.
            let worker = &mut process.workers[index];
            worker.stop.stop(StopReason::StreamReplaced);
            return;
        }
        let stop = Stop::new();
        let (id, created) = (shard.id.clone(), identity.created);
        let setup = Setup {
            stream: identity.clone(),
            shard,
            mode,
            folder: folder.clone(),
            settings: self.settings(),
        };
        let shared = Arc::clone(&self.process.as_ref().unwrap().shared);
        let opened = ShardWorker::open(setup, self.ports(), shared, stop.clone(), self.random.fork());
        let process = self.process.as_mut().unwrap();
        let Ok(mut worker) = opened else {
            process.refresh_due = self.world.now() + 20 * SECOND;
            return;
        };
        self.world.note(|| format!("{} opens {folder} as {mode:?}", self.plan.name));
        if self.opened.iter().all(|(when, shard, _)| *when != created || *shard != id) {
            self.opened.push((created, id.clone(), self.world.event()));
        }
        process.workers.push(Worker {
            folder,
            created,
            mode,
            shard: id,
            seen: stop.seen(),
            stop,
            due: self.world.now(),
            step: Box::new(move || worker.step()),
        });
    }

    fn settings(&self) -> Settings {
        Settings {
            limits: self.plan.limits,
            layout: self.plan.layout,
            level: self.plan.level,
            deaggregate: self.plan.deaggregate,
            bucket: BUCKET.into(),
            keys: keys(),
            keep_copies: self.plan.keep_copies,
            host: self.trouble.identity(),
            rules: self.run.rules,
            pacing: self.plan.pacing,
        }
    }

    fn ports(&self) -> Ports {
        let disk: Arc<dyn Disk> = Arc::<MemoryDisk>::clone(&self.disk);
        Ports {
            clock: Arc::<ManualClock>::clone(&self.clock),
            stream: Arc::<StreamOf>::clone(&self.stream),
            store: Arc::<MemoryStore>::clone(&self.store),
            checkpoints: Arc::new(DiskCheckpoints::new(Arc::clone(&disk))),
            disk,
            notifier: Some(Arc::<Recorder>::clone(&self.recorder)),
            meter: Arc::<SilentMeter>::clone(&self.meter),
            probe: Arc::new(NoProbe),
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
            self.disk_events.push(self.world.event());
        }
    }
}

fn between_starts(random: &mut fastrand::Rng) -> Duration {
    between(random, SECOND, 2 * MINUTE)
}
