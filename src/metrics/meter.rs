//! One shard's numbers, as its thread reports them.
//!
//! Owns what a shard counted and last said of itself. Who reads it is the registry's business.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::registry::lock;
use super::status::BatchStatus;
use super::tally::{Errors, Tally};
use super::uploads::Histogram;
use crate::model::batch::SealReason;
use crate::model::manifest::BatchNotice;
use crate::model::metric::{Counter, Gauge, Service};
use crate::ports::{Clock, Meter, ShardState};

/// A thread that has just been started has not said what it does; it must within this time.
pub(super) const START_GRACE: Duration = Duration::from_secs(60);

/// How many of the batches archived last are shown.
const LAST_BATCHES: usize = 20;

/// The batches of all shards that were archived last, newest first.
pub(super) type LastBatches = Arc<Mutex<VecDeque<BatchStatus>>>;

/// The bits of a gauge that was never set, or not to a number: no finite value has them.
const UNSET: u64 = f64::NAN.to_bits();

/// One shard's numbers. Counting takes no lock; what is rare (errors, a changed state) may.
pub(super) struct ShardMeter {
    counters: [AtomicU64; Counter::ALL.len()],
    sealed: [AtomicU64; SealReason::ALL.len()],
    gauges: [AtomicU64; Gauge::ALL.len()],
    uploads: Histogram,
    errors: Mutex<Errors>,
    state: Mutex<ShardState>,
    clock: Arc<dyn Clock>,
    last_batch: Mutex<Option<BatchStatus>>,
    last_batches: LastBatches,
}

impl ShardMeter {
    pub(super) fn new(
        now: Duration,
        clock: Arc<dyn Clock>,
        last_batches: Arc<Mutex<VecDeque<BatchStatus>>>,
    ) -> Self {
        let meter = Self {
            counters: Default::default(),
            sealed: Default::default(),
            gauges: Default::default(),
            uploads: Histogram::default(),
            errors: Mutex::default(),
            state: Mutex::default(),
            clock,
            last_batch: Mutex::default(),
            last_batches,
        };
        meter.start(now);
        meter
    }

    /// A thread is about to run.
    pub(super) fn start(&self, now: Duration) {
        for gauge in &self.gauges {
            gauge.store(UNSET, Ordering::Relaxed);
        }
        let mut state = lock(&self.state);
        let standing = std::mem::take(&mut state.standing);
        let due = Some(now + START_GRACE);
        *state = ShardState { activity: "starting", due, standing, ..ShardState::default() };
    }

    pub(super) fn current_state(&self) -> ShardState {
        lock(&self.state).clone()
    }

    /// The batch that was archived last.
    pub(super) fn last_batch(&self) -> Option<BatchStatus> {
        lock(&self.last_batch).clone()
    }

    /// One counter.
    pub(super) fn count_of(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// Everything counted.
    pub(super) fn read(&self) -> Tally {
        let value = |gauge: &AtomicU64| {
            let value = f64::from_bits(gauge.load(Ordering::Relaxed));
            value.is_finite().then_some(value)
        };
        Tally {
            counters: self.counters.each_ref().map(|counter| counter.load(Ordering::Relaxed)),
            sealed: self.sealed.each_ref().map(|counter| counter.load(Ordering::Relaxed)),
            gauges: self.gauges.each_ref().map(value),
            errors: lock(&self.errors).clone(),
            uploads: self.uploads.read(),
        }
    }
}

impl Meter for ShardMeter {
    fn count(&self, counter: Counter, more: u64) {
        self.counters[counter as usize].fetch_add(more, Ordering::Relaxed);
    }

    fn set(&self, gauge: Gauge, value: f64) {
        self.gauges[gauge as usize].store(value.to_bits(), Ordering::Relaxed);
    }

    fn sealed(&self, reason: SealReason) {
        self.sealed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn upload(&self, took: Duration) {
        self.uploads.add(took);
    }

    fn error(&self, service: Service, kind: &'static str) {
        *lock(&self.errors).entry((service.as_str(), kind)).or_default() += 1;
    }

    fn state(&self, state: ShardState) {
        *lock(&self.state) = state;
    }

    fn archived(&self, batch: &BatchNotice) {
        let batch = BatchStatus::new(batch, self.clock.now());
        *lock(&self.last_batch) = Some(batch.clone());
        let mut last = lock(&self.last_batches);
        last.truncate(LAST_BATCHES - 1);
        last.push_front(batch);
    }
}
