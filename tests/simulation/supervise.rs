//! What the supervisor does for the shards of a simulated keeper, in short.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use kinesis_keeper::ledger::start::{StartOutcome, settle_start};
use kinesis_keeper::model::shard::{HashKeyRange, Shard, ShardId, StreamIdentity};
use kinesis_keeper::model::timestamp::Timestamp;
use kinesis_keeper::ports::{Clock, Disk, NoProbe, ObjectStore, Stream};
use kinesis_keeper::shard::ShardWorker;
use kinesis_keeper::shard::budget::{Budget, SpoolQuota};
use kinesis_keeper::shard::setup::{Mode, Ports, Settings, Setup, Shared};
use kinesis_keeper::spool::checkpoints::DiskCheckpoints;
use kinesis_keeper::spool::identity::{Identity, OldFolder, settle};
use kinesis_keeper::stop::{Stop, StopReason};
use kinesis_keeper::supervisor::hours::{HourPorts, HourSettings, HourTeller};
use kinesis_keeper::testing::{
    ManualClock, ManualCores, MemoryDisk, MemoryStore, Recorder, SilentMeter, StreamOf,
};

use crate::keeper::{BUCKET, Hours, Keeper, Worker, keys};
use crate::plan::{MINUTE, SECOND};

impl Keeper {
    /// What the supervisor does: who is the stream, where does it begin, which shards has it.
    pub fn supervise(&mut self) {
        let now = self.world.now();
        let process = self.process.as_mut().unwrap();
        process.refresh_due = now + 2 * MINUTE + self.plan.pacing.caught_up * 4;
        let soon = now + 20 * SECOND;
        let stop = Stop::new();
        let Ok(described) = self.stream.describe(&stop) else {
            process.refresh_due = soon;
            return;
        };
        let (at, identity) = (described.at, described.value.identity);
        if process.settled.as_ref().is_none_or(|(known, _)| !known.is(&identity)) {
            process.workers.clear();
            process.done.clear();
            // Where this creation begins is not where the last one did.
            let shared =
                Shared::new(Budget::new(1 << 30, 2), SpoolQuota::new(1 << 30), self.run.stream.retention);
            process.shared = Arc::new(shared);
            let wanted = Identity::new(&identity, BUCKET, "raw/", &mut self.random);
            let Ok(settled) = settle(&*self.disk, wanted) else {
                process.refresh_due = soon;
                return;
            };
            self.trouble.set_identity(format!("{}-{}", self.plan.name, settled.identity.keeper));
            settled.old.iter().for_each(|old| process.shared.board.drains(&old.folder));
            process.settled = Some((identity.clone(), settled));
            self.start_telling(&identity);
        }
        if !self.decide_start(&identity, &stop) {
            self.process.as_mut().unwrap().refresh_due = soon;
        }
        self.open_shards(&identity, at, &stop);
    }

    /// The thread that tells the hours, whose steps the driver takes.
    fn start_telling(&mut self, identity: &StreamIdentity) {
        let ports = HourPorts {
            clock: Arc::<ManualClock>::clone(&self.clock),
            store: Arc::<MemoryStore>::clone(&self.store),
            disk: Arc::<MemoryDisk>::clone(&self.disk),
            notifier: Some(Arc::<Recorder>::clone(&self.recorder)),
            errors: Arc::new(|_, _| ()),
            waiting: Arc::new(|_, _| ()),
        };
        let settings = HourSettings {
            stream: identity.clone(),
            bucket: BUCKET.into(),
            keys: keys(),
            layout: self.plan.layout,
            rules: self.run.rules,
        };
        let process = self.process.as_mut().unwrap();
        let shared = Arc::clone(&process.shared);
        let mut teller = HourTeller::new(ports, settings, shared, Stop::new(), self.random.fork());
        process.hours = Some(Hours { due: self.world.now(), step: Box::new(move || teller.step()) });
    }

    /// Whether the stream's start is known, and how long objects live.
    fn decide_start(&mut self, identity: &StreamIdentity, stop: &Stop) -> bool {
        let shared = &self.process.as_ref().unwrap().shared;
        if shared.expiry.get().is_none()
            && let Ok(expiry) = self.store.expiry(stop)
        {
            let _ = shared.expiry.set(expiry);
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
        shared.expiry.get().is_some()
    }

    fn open_shards(&mut self, identity: &StreamIdentity, at: Timestamp, stop: &Stop) {
        let Ok(listing) = self.stream.list_shards(stop) else { return };
        let shared = &self.process.as_ref().unwrap().shared;
        shared.set_listing(&listing);
        shared.board.saw_date(at, self.clock.monotonic());
        shared.board.listed(at, &listing);
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
            form: self.plan.forms[self.starts % self.plan.forms.len()],
            level: self.plan.level,
            deaggregate: self.plan.deaggregate,
            bucket: BUCKET.into(),
            keys: keys(),
            keep_copies: self.plan.keep_copies,
            host: self.trouble.identity(),
            rules: self.run.rules,
            pacing: self.plan.pacing,
            members: self.plan.members,
        }
    }

    fn ports(&self) -> Ports {
        let disk: Arc<dyn Disk> = Arc::<MemoryDisk>::clone(&self.disk);
        Ports {
            clock: Arc::<ManualClock>::clone(&self.clock),
            cores: Arc::<ManualCores>::clone(&self.cores),
            stream: Arc::<StreamOf>::clone(&self.stream),
            store: Arc::<MemoryStore>::clone(&self.store),
            checkpoints: Arc::new(DiskCheckpoints::new(Arc::clone(&disk))),
            disk,
            notifier: Some(Arc::<Recorder>::clone(&self.recorder)),
            meter: Arc::<SilentMeter>::clone(&self.meter),
            probe: Arc::new(NoProbe),
        }
    }
}
