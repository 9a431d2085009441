//! Everything that a supervisor needs, with state machines that do as they are told.

use std::collections::{HashMap, VecDeque};
use std::io::{self};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::remote::{ARN, FakeStore, FakeStream};
use crate::ledger::start::ConfiguredStart;
use crate::metrics::Registry;
use crate::model::batch::{Form, Level, Limits};
use crate::model::key::{Layout, Prefix};
use crate::model::metric::Service;
use crate::model::rules::Rules;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::{Meter, NoProbe};
use crate::shard::setup::{Next, Outcome, Pacing, Ports, Setup, Shared};
use crate::spool::copies::Keep;
use crate::spool::refusal::refuse_newer;
use crate::spool::{LocalDisk, MemoryCheckpoints};
use crate::stop::{Stop, StopReason};
use crate::supervisor::{MeterSource, Options, Overdue, Services, Supervisor, SystemClock, Worker, Workers};
use crate::testing::ManualCores;

const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that a supervisor needs, and what it did with it.
pub struct Bench {
    folder: tempfile::TempDir,
    pub disk: Arc<LocalDisk>,
    pub stream: Arc<FakeStream>,
    pub store: Arc<FakeStore>,
    pub meters: Arc<Recording>,
    pub options: Options,
    crew: Arc<FakeWorkers>,
}

impl Bench {
    pub fn new(shards: u128) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(LocalDisk::new(folder.path()));
        let clock = Arc::new(SystemClock::new());
        let options = Options {
            stream: "stream".into(),
            start: ConfiguredStart::TrimHorizon,
            refresh: Duration::from_millis(20),
            deaggregate: true,
            limits: Limits { max_age: PATIENCE, max_records: 10, max_bytes: 1 << 20 },
            memory: 1 << 30,
            bucket: "bucket".into(),
            prefix: Prefix::default(),
            layout: Layout::Hive,
            form: Form::SPOOLED,
            level: Level::Fixed(6),
            keep: Keep { age: PATIENCE, bytes: 1 << 30 },
            spool_bytes: 1 << 30,
            host: "host".into(),
            pacing: Pacing::default(),
            rules: Rules::default(),
            drain: PATIENCE,
            seed: 7,
        };
        Self {
            folder,
            disk,
            stream: Arc::new(FakeStream::new(shards)),
            store: Arc::default(),
            meters: Arc::new(Recording {
                registry: Registry::new("stream".into(), true, clock),
                seen: Mutex::default(),
            }),
            options,
            crew: Arc::default(),
        }
    }

    pub fn supervisor(&self) -> Supervisor {
        let services = Services {
            clock: Arc::new(SystemClock::new()),
            cores: Arc::new(ManualCores::default()),
            disk: self.disk.clone(),
            checkpoints: Arc::new(MemoryCheckpoints::default()),
            stream: self.stream.clone(),
            store: self.store.clone(),
            notifier: None,
            meters: self.meters.clone(),
            probe: Arc::new(NoProbe),
            workers: self.crew.clone(),
        };
        Supervisor::new(services, self.options.clone())
    }

    pub fn state_dir(&self) -> &Path {
        self.folder.path()
    }

    pub fn manifest(&self, shard: &str) -> String {
        let created = Timestamp::from_seconds(1000);
        format!(r#"{{"stream_arn":"{ARN}","stream_created":"{created}","shard":"{shard}"}}"#)
    }

    /// What the next state machines of a folder do, one after the other; a running one takes the
    /// first of them at once.
    pub fn script(&self, folder: &str, does: &[Does]) {
        self.crew.scripts.lock().unwrap().insert(folder.to_owned(), does.iter().copied().collect());
    }

    pub fn wait(&self, event: &str) {
        self.wait_count(event, 1);
    }

    pub fn wait_count(&self, event: &str, count: usize) {
        let log = &self.crew.log;
        let seen =
            |events: &mut Vec<String>| events.iter().filter(|said| said.starts_with(event)).count() < count;
        let (events, timeout) =
            log.changed.wait_timeout_while(log.events.lock().unwrap(), PATIENCE, seen).unwrap();
        assert!(!timeout.timed_out(), "waited for {count} × {event:?}, saw {events:?}");
    }

    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let (stop, clock) = (Stop::new(), SystemClock::new());
        while !condition() {
            assert!(crate::ports::Clock::monotonic(&clock) < PATIENCE, "waited for: {what}");
            stop.wait(stop.seen(), Duration::from_millis(5));
        }
    }

    pub fn count(&self, part: &str) -> usize {
        self.crew.log.events.lock().unwrap().iter().filter(|said| said.contains(part)).count()
    }

    pub fn saw(&self, part: &str) -> bool {
        self.count(part) > 0
    }
}

/// The real registry, and what it was told last.
pub struct Recording {
    pub registry: Registry,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    pub restarts: u32,
    pub running: usize,
    pub covered: f64,
}

impl Recording {
    pub fn seen(&self) -> Seen {
        *self.seen.lock().unwrap()
    }
}

impl MeterSource for Recording {
    fn shard(&self, shard: &ShardId) -> Arc<dyn Meter> {
        self.registry.shard(shard)
    }

    fn retire(&self, shard: &ShardId) {
        self.registry.retire(shard);
    }

    fn shard_restarted(&self, shard: &ShardId) {
        self.seen.lock().unwrap().restarts += 1;
        self.registry.shard_restarted(shard);
    }

    fn shards_running(&self, shards: usize) {
        self.seen.lock().unwrap().running = shards;
        self.registry.shards_running(shards);
    }

    fn key_space_covered(&self, share: f64) {
        self.seen.lock().unwrap().covered = share;
        self.registry.key_space_covered(share);
    }

    fn batch_memory(&self, bytes: u64) {
        self.registry.batch_memory(bytes);
    }

    fn stream_state(&self, state: Option<String>) {
        self.registry.stream_state(state);
    }

    fn error(&self, service: Service, kind: &'static str) {
        self.registry.error(service, kind);
    }

    fn hour_notices(&self, waiting: usize, trouble: Option<&str>) {
        self.registry.hour_notices(waiting, trouble);
    }

    fn overdue(&self) -> Vec<Overdue> {
        MeterSource::overdue(&self.registry)
    }
}

/// What a state machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Run,
    Panic,
    FailToOpen,
    MeetNewer,
    End,
    Drain,
    Hang,
}

#[derive(Default)]
struct Log {
    events: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Log {
    fn say(&self, event: String) {
        self.events.lock().unwrap().push(event);
        self.changed.notify_all();
    }
}

#[derive(Default)]
struct FakeWorkers {
    log: Arc<Log>,
    scripts: Arc<Mutex<HashMap<String, VecDeque<Does>>>>,
}

struct FakeWorker {
    log: Arc<Log>,
    scripts: Arc<Mutex<HashMap<String, VecDeque<Does>>>>,
    folder: String,
    does: Does,
    shared: Arc<Shared>,
    stop: Stop,
    seals: u64,
    begun: bool,
}

impl Workers for FakeWorkers {
    fn open(
        &self,
        setup: Setup,
        _ports: Ports,
        shared: Arc<Shared>,
        stop: Stop,
        _random: fastrand::Rng,
    ) -> io::Result<Box<dyn Worker>> {
        let folder = setup.folder;
        let script = self.scripts.lock().unwrap().get_mut(&folder).and_then(VecDeque::pop_front);
        let does = script.unwrap_or(Does::Run);
        if does == Does::FailToOpen {
            self.log.say(format!("{folder} fails to open"));
            return Err(io::Error::other("no"));
        }
        if does == Does::MeetNewer {
            refuse_newer(Path::new("spool/s/1.json"), br#"{"version":2}"#)?;
        }
        // Before the test hears of it and asks for one.
        let seals = shared.seal_requests();
        if does != Does::Panic {
            let created = setup.stream.created.as_seconds();
            self.log.say(format!("{folder} opened {:?} {created}", setup.mode));
        }
        let (log, scripts) = (self.log.clone(), self.scripts.clone());
        Ok(Box::new(FakeWorker { log, scripts, folder, does, shared, stop, seals, begun: false }))
    }
}

impl FakeWorker {
    fn say(&self, what: &str) {
        self.log.say(format!("{} {what}", self.folder));
    }
}

impl Worker for FakeWorker {
    fn step(&mut self) -> Next {
        if self.does == Does::Run
            && let Some(next) =
                self.scripts.lock().unwrap().get_mut(&self.folder).and_then(VecDeque::pop_front)
        {
            self.does = next;
        }
        if self.shared.begin.get().is_some() && !self.begun {
            self.begun = true;
            self.say("begun");
        }
        if self.shared.seal_requests() != self.seals {
            self.seals = self.shared.seal_requests();
            self.say(&format!("seal {}", self.seals));
        }
        match (self.does, self.stop.reason()) {
            (Does::Panic, _) => {
                self.say("panics");
                panic!("told to");
            }
            (Does::End, _) => {
                self.say("closed end");
                Next::Done(Outcome::Ended)
            }
            (Does::Drain, _) => {
                self.say("drained");
                Next::Done(Outcome::Drained)
            }
            (Does::Hang, Some(StopReason::Abandoned)) => {
                self.say("closed Abandoned");
                Next::Done(Outcome::Stopped)
            }
            (Does::Hang, _) | (_, None) => Next::Wait(Duration::from_millis(10)),
            (_, Some(reason)) => {
                self.say(&format!("closed {reason:?}"));
                let replaced = reason == StopReason::StreamReplaced;
                Next::Done(if replaced { Outcome::StreamReplaced } else { Outcome::Stopped })
            }
        }
    }
}
