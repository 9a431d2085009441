//! What a shard is handed when it is opened.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::board::HourBoard;
use super::budget::{Budget, SpoolQuota};
use super::pacing::StartGate;
use super::put_room::PutRoom;
use super::retention::Retention;
use super::turns::{RENDERINGS, SEALS, Turns};
use crate::codec::writer::MEMBER_TEXT;
use crate::model::batch::{Compression, Form, Level, Limits};
use crate::model::expiry::Expiry;
use crate::model::key::{Keys, Layout};
use crate::model::ledger::Begin;
use crate::model::rules::Rules;
use crate::model::shard::{Shard, ShardId, StreamIdentity};
use crate::model::timestamp::Timestamp;
use crate::ports::{CheckpointStore, Clock, Cores, Disk, Meter, Notifier, ObjectStore, Probe, Stream};
use crate::stop::Stop;

/// What there is to do for a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read it and archive it.
    Read,
    /// It is not listed any more and has no `end`: deliver what is sealed, then record an
    /// uncertain gap and its end.
    Unlisted,
    /// Its stream was deleted and made again: deliver what is sealed, nothing else.
    Drain,
    /// Its stream cannot be found now and may come back: deliver what is sealed as far as it
    /// follows the ledger. Nothing is called missing.
    Deliver,
}

/// Which shard, what to do for it, and how.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The stream, this creation of it.
    pub stream: StreamIdentity,
    /// The shard.
    pub shard: Shard,
    /// What to do.
    pub mode: Mode,
    /// The name of its folders under `spool/` and `outbox/` and of its checkpoint: the shard's id,
    /// or, of an earlier creation of the stream, `{shard}@{creation}`.
    pub folder: String,
    /// How.
    pub settings: Settings,
}

/// The settings of the configuration file that a shard needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a batch is sealed.
    pub limits: Limits,
    /// How keys are written.
    pub layout: Layout,
    /// The form of objects.
    pub form: Form,
    /// The level of its compressor.
    pub level: Level,
    /// Whether KPL aggregates are split.
    pub deaggregate: bool,
    /// The bucket, for notices.
    pub bucket: String,
    /// Where everything lies in it.
    pub keys: Keys,
    /// Whether archived batches stay on this disk as well.
    pub keep_copies: bool,
    /// Who writes: host name and the state directory's identifier.
    pub host: String,
    /// The protocol's rules: all, outside of tests.
    pub rules: Rules,
    /// How often a shard is asked.
    pub pacing: Pacing,
    /// What of the open batch is in memory.
    pub members: Members,
}

/// The members of the open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    /// Bytes of text at which one is closed: a mebibyte, outside of tests.
    pub text: usize,
    /// So many bytes of closed ones are worth a write to the spool.
    pub spill: u64,
}

impl Default for Members {
    fn default() -> Self {
        // About one member of text.
        Self { text: MEMBER_TEXT, spill: 64 << 10 }
    }
}

impl Settings {
    /// The gzip level of the spool, where [`Level::Auto`] chose so for the batch: what is only rendered from
    /// need not be small.
    pub fn spool_level(&self, chosen: Option<u32>) -> u32 {
        let level = if self.form == Form::SPOOLED { self.level.with(chosen) } else { Level::FAST };
        Compression::Gzip.nearest_level(level)
    }
}

/// How often a shard is asked for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Between two calls while behind: Kinesis allows five a second and shard.
    pub behind: Duration,
    /// Between two calls when caught up: AWS advises a second, and leaves room for others.
    pub caught_up: Duration,
    /// After a throttled call, at least.
    pub throttled: Duration,
    /// What a shard gives out in a second; a reply is paid for before the next is asked for.
    pub bytes_per_second: u64,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            behind: Duration::from_millis(200),
            caught_up: Duration::from_secs(1),
            throttled: Duration::from_secs(1),
            bytes_per_second: 2 << 20,
        }
    }
}

/// The ports of one shard.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How busy the machine is.
    pub cores: Arc<dyn Cores>,
    /// The stream.
    pub stream: Arc<dyn Stream>,
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The state directory.
    pub disk: Arc<dyn Disk>,
    /// The checkpoints.
    pub checkpoints: Arc<dyn CheckpointStore>,
    /// Who tells subscribers; `None`: no notices.
    pub notifier: Option<Arc<dyn Notifier>>,
    /// This shard's numbers.
    pub meter: Arc<dyn Meter>,
    /// Where a crash test kills the process.
    pub probe: Arc<dyn Probe>,
}

/// What all shards of a stream share, and the supervisor keeps up to date.
#[derive(Debug)]
pub struct Shared {
    /// Memory of open batches and replies.
    pub budget: Budget,
    /// Disk of the spools.
    pub quota: SpoolQuota,
    /// Where shards of this stream begin, once the stream's start object was read and the store
    /// was seen to keep conditions. Until then nothing is committed.
    pub begin: OnceLock<Begin>,
    /// Why that is not known yet, in the bucket's words: told with every shard, which cannot archive until then.
    bucket_trouble: Mutex<Option<String>>,
    /// Who may seal because its batch is old enough.
    pub seal_turns: Turns,
    /// Who may render an object in another form than that of the spool.
    pub render_turns: Turns,
    /// Who may put an object of some size.
    pub put_room: Arc<PutRoom>,
    /// What is known of the time, the shards and what may still come, for whoever tells the hours.
    pub board: HourBoard,
    /// What the bucket's lifecycle surely deletes, once known.
    pub expiry: OnceLock<Expiry>,
    retention: Mutex<Retention>,
    seal_requests: AtomicU64,
    lineage: Mutex<Lineage>,
    starts: Mutex<StartGate>,
    look_wanted: AtomicBool,
    /// The supervisor's: nudged when it is to look at the stream.
    supervisor: OnceLock<Stop>,
}

/// Who are whose children.
#[derive(Debug, Default)]
struct Lineage {
    /// As the latest complete listing has it.
    listed: HashMap<ShardId, Vec<ShardId>>,
    /// As replies named them; only those that the listing lacks.
    told: HashMap<ShardId, Vec<ShardId>>,
}

impl Lineage {
    fn lists(&self, parent: &ShardId, child: &ShardId) -> bool {
        self.listed.get(parent).is_some_and(|children| children.contains(child))
    }

    fn forget_listed(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        told.retain(|parent, children| children.iter().any(|child| !self.lists(parent, child)));
        self.told = told;
    }
}

impl Shared {
    /// For a stream with this retention.
    pub fn new(budget: Budget, quota: SpoolQuota, retention: Duration) -> Self {
        Self {
            budget,
            quota,
            begin: OnceLock::new(),
            bucket_trouble: Mutex::default(),
            seal_turns: Turns::new(SEALS),
            render_turns: Turns::new(RENDERINGS),
            put_room: Arc::default(),
            board: HourBoard::default(),
            expiry: OnceLock::new(),
            retention: Mutex::new(Retention::new(retention)),
            seal_requests: AtomicU64::new(0),
            lineage: Mutex::default(),
            starts: Mutex::default(),
            look_wanted: AtomicBool::new(false),
            supervisor: OnceLock::new(),
        }
    }

    /// The bucket gave no answer that could be used when it was asked where shards begin.
    pub fn set_bucket_trouble(&self, trouble: String) {
        *self.bucket_trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// Why nothing is committed yet, where it is the bucket's fault.
    pub(super) fn bucket_trouble(&self) -> Option<String> {
        if self.begin.get().is_some() {
            return None;
        }
        self.bucket_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the stream keeps records.
    pub fn retention(&self) -> Duration {
        self.retention_known().now()
    }

    /// The stream's description says so, at this time of the service.
    pub fn set_retention(&self, retention: Duration, at: Timestamp) {
        self.retention_known().set(retention, at);
    }

    /// From when on the stream has all of its records, at this time of the service.
    pub(super) fn horizon(&self, at: Timestamp) -> Timestamp {
        self.retention_known().horizon(at)
    }

    pub(super) fn retention_known(&self) -> MutexGuard<'_, Retention> {
        self.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SIGUSR1: every shard seals what it has. (Nudge the shards' stops after this.)
    pub fn request_seal(&self) {
        self.seal_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// How many times a seal was requested.
    pub fn seal_requests(&self) -> u64 {
        self.seal_requests.load(Ordering::Relaxed)
    }

    /// When the next shard that is started may make its first call, monotonic.
    pub(super) fn next_start(&self, now: Duration) -> Duration {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).next(now)
    }

    fn lineage(&self) -> MutexGuard<'_, Lineage> {
        self.lineage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest complete listing, from which children are known.
    pub fn set_listing(&self, shards: &[Shard]) {
        let mut children: HashMap<ShardId, Vec<ShardId>> = HashMap::new();
        for shard in shards {
            for parent in &shard.parents {
                children.entry(parent.clone()).or_default().push(shard.id.clone());
            }
        }
        let mut lineage = self.lineage();
        lineage.listed = children;
        lineage.forget_listed();
    }

    /// `supervisor` is nudged from now on when a shard wants the stream to be looked at.
    pub fn wakes(&self, supervisor: Stop) {
        let _ = self.supervisor.set(supervisor);
    }

    /// A reply named the children of a shard. Those that the listing lacks are to be listed now:
    /// waiting for the next look could lose what they hold, if it is far away.
    pub fn tell_children(&self, parent: &ShardId, children: &[ShardId]) {
        let mut lineage = self.lineage();
        let known = |child: &ShardId| lineage.lists(parent, child);
        if children.iter().all(known) || lineage.told.contains_key(parent) {
            return;
        }
        lineage.told.insert(parent.clone(), children.to_vec());
        drop(lineage);
        self.look_wanted.store(true, Ordering::Relaxed);
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.nudge();
        }
    }

    /// Whether a look was asked for since this was last called.
    pub fn take_look_wanted(&self) -> bool {
        self.look_wanted.swap(false, Ordering::Relaxed)
    }

    /// Whether a reply named children that the latest listing still lacks.
    pub fn misses_children(&self) -> bool {
        !self.lineage().told.is_empty()
    }

    /// The children of a shard, as far as the listing tells.
    pub fn children_of(&self, shard: &ShardId) -> Vec<ShardId> {
        self.lineage().listed.get(shard).cloned().unwrap_or_default()
    }
}

/// What to do after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Step again at once.
    Again,
    /// Nothing is due before this time is over, unless the stop token changes.
    Wait(Duration),
    /// The thread is to end.
    Done(Outcome),
}

/// Why a shard's thread ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its `end` entry is in the ledger, all is archived and announced.
    Ended,
    /// A stop was requested; all is in S3, or sealed on this disk.
    Stopped,
    /// The stream was found deleted and made again, or gone: describe it again.
    StreamReplaced,
    /// [`Mode::Drain`]: nothing is left to deliver.
    Drained,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::shard::HashKeyRange;

    #[test]
    fn children_that_a_reply_names_are_asked_for_until_they_are_listed() {
        let shared = Shared::new(Budget::new(0, 2), SpoolQuota::new(0), Duration::ZERO);
        let [parent, first, second] = ["p", "a", "b"].map(ShardId::new);
        let child = |id: &ShardId| Shard {
            id: id.clone(),
            parents: vec![parent.clone()],
            range: HashKeyRange::WHOLE,
            closed: false,
        };
        shared.tell_children(&parent, &[]);
        assert!(!shared.take_look_wanted());
        shared.tell_children(&parent, &[first.clone(), second.clone()]);
        assert!(shared.take_look_wanted() && !shared.take_look_wanted() && shared.misses_children());
        shared.set_listing(&[child(&first)]);
        assert!(shared.misses_children());
        shared.set_listing(&[child(&first), child(&second)]);
        assert!(!shared.misses_children());
        shared.tell_children(&parent, &[first, second]);
        assert!(!shared.take_look_wanted(), "they are listed");
    }
}
