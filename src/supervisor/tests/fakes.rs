//! A stream, a bucket and state machines that do as they are told.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::ledger::start::ConfiguredStart;
use crate::metrics::Registry;
use crate::model::batch::{Form, Level, Limits};
use crate::model::key::{Layout, Prefix};
use crate::model::metric::Service;
use crate::model::rules::Rules;
use crate::model::shard::{HashKeyRange, Shard, ShardId, StreamDescription, StreamIdentity, StreamStatus};
use crate::model::timestamp::Timestamp;
use crate::ports::{
    Attributes, Body, Head, IteratorStart, Meter, NoProbe, ObjectStore, Put, Reply, Served, StoreError,
    StoreErrorKind, Stored, Stream, StreamError, StreamErrorKind,
};
use crate::shard::setup::{Next, Outcome, Pacing, Ports, Setup, Shared};
use crate::spool::copies::Keep;
use crate::spool::{LocalDisk, MemoryCheckpoints};
use crate::stop::{Stop, StopReason};
use crate::supervisor::{MeterSource, Options, Overdue, Services, Supervisor, SystemClock, Worker, Workers};
use crate::testing::ManualCores;

const PATIENCE: Duration = Duration::from_secs(60);
const ARN: &str = "arn:aws:kinesis:eu-central-1:1:stream/stream";

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
        if does != Does::Panic {
            let created = setup.stream.created.as_seconds();
            self.log.say(format!("{folder} opened {:?} {created}", setup.mode));
        }
        let (log, scripts, seals) = (self.log.clone(), self.scripts.clone(), shared.seal_requests());
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

pub struct FakeStream {
    state: Mutex<StreamState>,
}

struct StreamState {
    created: i64,
    status: StreamStatus,
    shards: Vec<Shard>,
    fails: Option<StreamErrorKind>,
    looks: usize,
}

impl FakeStream {
    fn new(shards: u128) -> Self {
        let width = u128::MAX / shards;
        let shard = |number| {
            let end = if number + 1 == shards { u128::MAX } else { (number + 1) * width - 1 };
            Shard {
                id: ShardId::new(format!("s-{number}")),
                parents: vec![],
                range: HashKeyRange { start: number * width, end },
                closed: false,
            }
        };
        let shards = (0..shards).map(shard).collect();
        let status = StreamStatus::Active;
        Self { state: Mutex::new(StreamState { created: 1000, status, shards, fails: None, looks: 0 }) }
    }

    pub fn fail(&self, kind: Option<StreamErrorKind>) {
        self.state.lock().unwrap().fails = kind;
    }

    pub fn set_status(&self, status: StreamStatus) {
        self.state.lock().unwrap().status = status;
    }

    pub fn make_again(&self) {
        self.state.lock().unwrap().created = 2000;
    }

    pub fn looks(&self) -> usize {
        self.state.lock().unwrap().looks
    }

    pub fn split(&self, parent: &str, children: [&str; 2]) {
        let mut state = self.state.lock().unwrap();
        let parent = state.shards.iter_mut().find(|shard| shard.id.as_str() == parent).unwrap();
        parent.closed = true;
        let HashKeyRange { start, end } = parent.range;
        let middle = start + (end - start) / 2;
        let ranges = [HashKeyRange { start, end: middle }, HashKeyRange { start: middle + 1, end }];
        let parents = vec![parent.id.clone()];
        for (child, range) in children.into_iter().zip(ranges) {
            let (id, parents) = (ShardId::new(child), parents.clone());
            state.shards.push(Shard { id, parents, range, closed: false });
        }
    }

    pub fn forget(&self, shard: &str) {
        self.state.lock().unwrap().shards.retain(|listed| listed.id.as_str() != shard);
    }

    fn check(&self, call: &'static str) -> Result<(), StreamError> {
        match self.state.lock().unwrap().fails {
            Some(kind) => Err(StreamError { call, kind, message: "as told".into() }),
            None => Ok(()),
        }
    }
}

impl Stream for FakeStream {
    fn describe(&self, _: &Stop) -> Result<Served<StreamDescription>, StreamError> {
        self.check("DescribeStreamSummary")?;
        let state = self.state.lock().unwrap();
        let identity = StreamIdentity {
            name: "stream".into(),
            arn: ARN.into(),
            created: Timestamp::from_seconds(state.created),
        };
        let retention = Duration::from_secs(24 * 3600);
        let value = StreamDescription { identity, status: state.status, retention };
        Ok(Served { at: Timestamp::from_seconds(5000), value })
    }

    fn list_shards(&self, _: &Stop) -> Result<Vec<Shard>, StreamError> {
        self.check("ListShards")?;
        let mut state = self.state.lock().unwrap();
        state.looks += 1;
        Ok(state.shards.clone())
    }

    fn iterator(&self, _: &ShardId, _: &IteratorStart, _: &Stop) -> Result<Served<String>, StreamError> {
        panic!("only shards read")
    }

    fn records(&self, _: &ShardId, _: &str, _: &Stop) -> Result<Served<Reply>, StreamError> {
        panic!("only shards read")
    }
}

#[derive(Default)]
pub struct FakeStore {
    state: Mutex<StoreState>,
}

#[derive(Default)]
struct StoreState {
    objects: BTreeMap<String, Vec<u8>>,
    folders: BTreeSet<String>,
    ignores_conditions: bool,
    away: bool,
}

impl FakeStore {
    pub fn lay(&self, key: &str, text: &str) {
        self.state.lock().unwrap().objects.insert(key.to_owned(), text.as_bytes().to_vec());
    }

    pub fn lay_folder(&self, folder: &str) {
        self.state.lock().unwrap().folders.insert(folder.to_owned());
    }

    pub fn ignore_conditions(&self) {
        self.state.lock().unwrap().ignores_conditions = true;
    }

    pub fn set_away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
    }

    fn check(&self, call: &'static str) -> Result<(), StoreError> {
        if self.state.lock().unwrap().away {
            let (key, kind) = (String::new(), StoreErrorKind::NoAnswer);
            return Err(StoreError { call, key, kind, message: "away".into() });
        }
        Ok(())
    }
}

impl ObjectStore for FakeStore {
    fn put_if_absent(&self, key: &str, body: Body<'_>, _: &Attributes, _: &Stop) -> Result<Put, StoreError> {
        self.check("PutObject")?;
        let Body::Bytes(bytes) = body else { panic!("a file") };
        let mut state = self.state.lock().unwrap();
        if state.objects.contains_key(key) && !state.ignores_conditions {
            return Ok(Put::Taken);
        }
        state.objects.insert(key.to_owned(), bytes.to_vec());
        Ok(Put::Stored(Stored::default()))
    }

    fn head(&self, _: &str, _: &Stop) -> Result<Option<Head>, StoreError> {
        panic!("not asked for")
    }

    fn get(&self, key: &str, _: &Stop) -> Result<Option<Vec<u8>>, StoreError> {
        self.check("GetObject")?;
        Ok(self.state.lock().unwrap().objects.get(key).cloned())
    }

    fn open(&self, _: &str, _: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        panic!("not asked for")
    }

    fn list(&self, prefix: &str, _: Option<&str>, _: &Stop) -> Result<Vec<String>, StoreError> {
        self.check("ListObjectsV2")?;
        let state = self.state.lock().unwrap();
        Ok(state.objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    fn folders(&self, prefix: &str, _: &Stop) -> Result<Vec<String>, StoreError> {
        self.check("ListObjectsV2")?;
        let state = self.state.lock().unwrap();
        Ok(state.folders.iter().filter(|folder| folder.starts_with(prefix)).cloned().collect())
    }

    fn shortest_expiry(&self, _: &str, _: &Stop) -> Result<Option<Duration>, StoreError> {
        self.check("GetBucketLifecycleConfiguration")?;
        Ok(None)
    }

    fn service_time(&self, _: &Stop) -> Result<Timestamp, StoreError> {
        self.check("HeadBucket")?;
        Ok(Timestamp::from_seconds(5000))
    }
}
