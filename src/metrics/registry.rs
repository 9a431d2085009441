//! What was counted since the start of the process, and what every shard is doing.
//!
//! Owns the meters of all shards, running and ended. Does not publish: it hands out a [`Snapshot`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::families::StreamGauge;
use super::health::{self, Health};
use super::history::{History, Totals};
use super::meter::{LastBatches, ShardMeter};
use super::snapshot::{ShardNumbers, Snapshot};
use super::status::{self, MinuteStatus, ShardStatus, Status, Sums};
use super::tally::{Errors, Tally};
use crate::model::metric::{Counter, Gauge, Service};
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::{Clock, Meter, ShardState};

/// How long the counters of an ended shard are still shown as its own, so that every sink has seen
/// the last of them. After that they live on in the totals only: an on-demand stream reshards for
/// years, and each shard's numbers take memory here and series in every sink.
const SHOWN_AFTER_END: Duration = Duration::from_secs(3600);

/// All numbers of one stream; clones share them.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    stream: String,
    per_shard: bool,
    clock: Arc<dyn Clock>,
    shards: Mutex<Shards>,
    /// Failed calls about the stream as a whole, or of the sinks.
    errors: Mutex<Errors>,
    state: Mutex<Option<String>>,
    hours: Mutex<HourNotices>,
    batch_memory: AtomicU64,
    shards_running: AtomicU64,
    /// The bits of an `f64`.
    key_space_covered: AtomicU64,
    /// When counting began.
    since: Timestamp,
    /// `s3://bucket/prefix`.
    archive: OnceLock<String>,
    last_batches: LastBatches,
    history: Mutex<History>,
}

/// Notices of hours, which are of no shard.
#[derive(Default)]
struct HourNotices {
    /// How many wait; `None` where nobody has looked yet.
    waiting: Option<usize>,
    /// What keeps them from going out.
    trouble: Option<String>,
}

#[derive(Default)]
struct Shards {
    known: BTreeMap<ShardId, Known>,
    /// What was counted for shards that are not known any more.
    gone: Tally,
}

struct Known {
    meter: Arc<ShardMeter>,
    /// When it was retired, on the monotonic clock.
    retired: Option<Duration>,
}

impl Registry {
    /// Nothing counted yet; the stream is waited for. `per_shard`: whether sinks get the numbers of
    /// each shard, or of all together.
    pub fn new(stream: String, per_shard: bool, clock: Arc<dyn Clock>) -> Self {
        let inner = Inner {
            stream,
            per_shard,
            since: clock.now(),
            clock,
            shards: Mutex::default(),
            errors: Mutex::default(),
            state: Mutex::new(Some("waiting for stream".to_owned())),
            hours: Mutex::default(),
            batch_memory: AtomicU64::new(0),
            shards_running: AtomicU64::new(0),
            key_space_covered: AtomicU64::new(0),
            archive: OnceLock::new(),
            last_batches: Arc::default(),
            history: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.inner.stream
    }

    /// The time, for those who publish.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    /// The meter of a shard whose thread is about to run: the same one after a restart, so that its
    /// counters never go back.
    pub fn shard(&self, shard: &ShardId) -> Arc<dyn Meter> {
        let now = self.inner.clock.monotonic();
        let mut shards = lock(&self.inner.shards);
        let known = shards
            .known
            .entry(shard.clone())
            .or_insert_with(|| Known { meter: Arc::new(self.new_meter(now)), retired: None });
        if known.retired.take().is_some() {
            known.meter.start(now);
        }
        Arc::clone(&known.meter) as Arc<dyn Meter>
    }

    fn new_meter(&self, now: Duration) -> ShardMeter {
        ShardMeter::new(now, Arc::clone(&self.inner.clock), Arc::clone(&self.inner.last_batches))
    }

    /// No thread runs for the shard any more, and none will: its gauges vanish, what it counted
    /// stays in the totals.
    pub fn retire(&self, shard: &ShardId) {
        let now = self.inner.clock.monotonic();
        if let Some(known) = lock(&self.inner.shards).known.get_mut(shard) {
            known.retired.get_or_insert(now);
        }
    }

    /// A shard's thread had died and was started again.
    pub fn shard_restarted(&self, shard: &ShardId) {
        self.shard(shard).count(Counter::ShardRestarts, 1);
    }

    /// How many shards have a running thread.
    pub fn shards_running(&self, shards: usize) {
        self.inner.shards_running.store(shards as u64, Ordering::Relaxed);
        self.remember();
    }

    /// The share of the hash key space that running shards cover; 1 is healthy.
    pub fn key_space_covered(&self, share: f64) {
        self.inner.key_space_covered.store(share.to_bits(), Ordering::Relaxed);
    }

    /// Bytes of open batches and replies in flight, all shards.
    pub fn batch_memory(&self, bytes: u64) {
        self.inner.batch_memory.store(bytes, Ordering::Relaxed);
    }

    /// Why the stream as a whole is not being archived, such as "waiting for stream" (which it says
    /// from the start); `None`: it is.
    pub fn stream_state(&self, state: Option<String>) {
        *lock(&self.inner.state) = state;
    }

    /// How many notices of hours wait on this disk, and what keeps them from going out.
    pub fn hour_notices(&self, waiting: usize, trouble: Option<&str>) {
        let mut hours = lock(&self.inner.hours);
        hours.waiting = Some(waiting);
        if hours.trouble.as_deref() != trouble {
            hours.trouble = trouble.map(str::to_owned);
        }
    }

    /// Whether the stream was reached, and is.
    pub fn is_stream_reached(&self) -> bool {
        lock(&self.inner.state).is_none()
    }

    /// Where the archive lies, for the status page.
    pub fn set_archive(&self, bucket: &str, prefix: &str) {
        // A registry is of one archive: a second call would say the same.
        let _ = self.inner.archive.set(format!("s3://{bucket}/{prefix}"));
    }

    /// A call that belongs to no shard failed.
    pub fn error(&self, service: Service, kind: &'static str) {
        self.failed(service.as_str(), kind);
    }

    /// A call to `service`, perhaps a sink, failed.
    pub(super) fn failed(&self, service: &'static str, kind: &'static str) {
        *lock(&self.inner.errors).entry((service, kind)).or_default() += 1;
    }

    /// All numbers as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let mut shards = lock(&self.inner.shards);
        shards.forget(self.inner.clock.monotonic());
        let mut total = shards.gone.clone();
        let mut numbers = Vec::with_capacity(shards.known.len());
        for (id, known) in &shards.known {
            let mut tally = known.meter.read();
            if known.retired.is_some() {
                tally.gauges = Default::default();
            }
            total.add_counts(&tally);
            total.add_gauges(&tally);
            numbers.push(ShardNumbers { id: id.clone(), tally });
        }
        drop(shards);
        let mut of_no_shard = Tally::default();
        of_no_shard.errors.clone_from(&lock(&self.inner.errors));
        of_no_shard.gauges[Gauge::OutboxNotices as usize] =
            lock(&self.inner.hours).waiting.map(|waiting| waiting as f64);
        total.add_counts(&of_no_shard);
        total.add_gauges(&of_no_shard);
        Snapshot {
            stream: self.inner.stream.clone(),
            per_shard: self.inner.per_shard,
            shards: numbers,
            of_no_shard,
            total,
            stream_gauges: self.stream_gauges(),
        }
    }

    fn stream_gauges(&self) -> Vec<(StreamGauge, f64)> {
        let covered = f64::from_bits(self.inner.key_space_covered.load(Ordering::Relaxed));
        vec![
            (StreamGauge::BatchMemory, self.inner.batch_memory.load(Ordering::Relaxed) as f64),
            (StreamGauge::ShardsRunning, self.inner.shards_running.load(Ordering::Relaxed) as f64),
            (StreamGauge::KeySpaceCovered, if covered.is_finite() { covered } else { 0.0 }),
        ]
    }

    /// Takes the hour's history on, if a second has passed. (Called often: the supervisor's loop does.)
    fn remember(&self) {
        let now = self.inner.clock.monotonic();
        let mut history = lock(&self.inner.history);
        if history.is_due(now) {
            history.look(now, lock(&self.inner.shards).totals());
        }
    }

    /// How the archiver stands, for the status page.
    pub fn status(&self) -> Status {
        self.remember();
        let (now, wall) = (self.inner.clock.monotonic(), self.inner.clock.now());
        let (health, snapshot) = (self.health(), self.snapshot());
        let last_batches: Vec<_> = lock(&self.inner.last_batches).iter().cloned().collect();
        let shards = lock(&self.inner.shards).statuses(now);
        let covered = f64::from_bits(self.inner.key_space_covered.load(Ordering::Relaxed));
        let totals = Sums {
            shards_running: self.inner.shards_running.load(Ordering::Relaxed),
            key_space_covered: if covered.is_finite() { covered } else { 0.0 },
            batch_memory_bytes: self.inner.batch_memory.load(Ordering::Relaxed),
            ..Sums::new(&snapshot.total)
        };
        let history = lock(&self.inner.history);
        let last_hour = history.minutes(now).map(|(ago, more)| MinuteStatus::new(wall - ago, more)).collect();
        Status {
            version: status::VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            stream: self.inner.stream.clone(),
            archive: self.inner.archive.get().cloned().unwrap_or_default(),
            now: wall,
            since: self.inner.since,
            healthy: health.is_good(),
            troubles: status::troubles(&health, &totals),
            totals,
            shards,
            last_batches,
            last_hour,
        }
    }

    fn states(&self) -> Vec<(ShardId, ShardState)> {
        let shards = lock(&self.inner.shards);
        let running = shards.known.iter().filter(|(_, known)| known.retired.is_none());
        running.map(|(id, known)| (id.clone(), known.meter.current_state())).collect()
    }

    /// The shards that should have made progress by now, and how long ago.
    pub fn overdue(&self) -> Vec<(ShardId, ShardState, Duration)> {
        let now = self.inner.clock.monotonic();
        let late =
            |(id, state): (ShardId, ShardState)| health::lateness(&state, now).map(|late| (id, state, late));
        self.states().into_iter().filter_map(late).collect()
    }

    /// Whether every shard makes progress.
    pub fn health(&self) -> Health {
        let states = self.states();
        let stream = lock(&self.inner.state).clone();
        let mut health = health::judge(self.inner.clock.monotonic(), stream, &states);
        let trouble = lock(&self.inner.hours).trouble.clone();
        health.troubles.extend(trouble.map(|trouble| format!("notices of hours wait: {trouble}")));
        health
    }
}

impl Shards {
    /// What the history follows.
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let mut add = |counters: &dyn Fn(Counter) -> u64| {
            totals.records_read += counters(Counter::RecordsRead);
            totals.bytes_read += counters(Counter::BytesRead);
            totals.bytes_archived += counters(Counter::BytesArchived);
        };
        add(&|counter| self.gone.counters[counter as usize]);
        for known in self.known.values() {
            add(&|counter| known.meter.count_of(counter));
        }
        totals
    }

    fn statuses(&self, now: Duration) -> Vec<ShardStatus> {
        let status = |(id, known): (&ShardId, &Known)| {
            let mut tally = known.meter.read();
            let ended = known.retired.is_some();
            if ended {
                tally.gauges = Default::default();
            }
            let last = known.meter.last_batch();
            ShardStatus::new(id.clone(), &tally, known.meter.current_state(), ended, last, now)
        };
        self.known.iter().map(status).collect()
    }

    /// Moves what was counted for shards long ended to `gone`. A meter that somebody still holds
    /// may still count: it stays.
    fn forget(&mut self, now: Duration) {
        let gone = &mut self.gone;
        self.known.retain(|_, known| {
            let over = known.retired.is_some_and(|at| now.saturating_sub(at) >= SHOWN_AFTER_END);
            let forget = over && Arc::strong_count(&known.meter) == 1;
            if forget {
                gone.add_counts(&known.meter.read());
            }
            !forget
        });
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
