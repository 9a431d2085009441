//! Simulated time, the order of events, and a log of what happened.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::timestamp::Timestamp;
use crate::ports::{Clock, Cores};

/// What all fakes of one run share: the true time, a counter of events, and the log.
#[derive(Debug, Default)]
pub struct World {
    millis: AtomicI64,
    events: AtomicU64,
    logging: AtomicBool,
    log: Mutex<Vec<String>>,
}

impl World {
    /// A world whose time begins at `start`.
    pub fn new(start: Timestamp) -> Arc<Self> {
        let world = Self::default();
        world.millis.store(start.as_millis(), Ordering::Relaxed);
        Arc::new(world)
    }

    /// The true time, which the services' clocks show.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::Relaxed))
    }

    /// The services' `Date`: whole seconds, rounded down.
    pub fn date(&self) -> Timestamp {
        Timestamp::from_seconds(self.now().as_seconds())
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.advance_to(self.now() + by);
    }

    /// Lets time pass until `then`; does nothing if it has passed.
    pub fn advance_to(&self, then: Timestamp) {
        self.millis.fetch_max(then.as_millis(), Ordering::Relaxed);
    }

    /// The number of the event that happens now: later events have larger numbers.
    pub fn event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps a log from now on.
    pub fn keep_log(&self) {
        self.logging.store(true, Ordering::Relaxed);
    }

    /// Adds a line to the log, if one is kept; the line is made only then.
    pub fn note<T: Display>(&self, line: impl FnOnce() -> T) {
        if self.logging.load(Ordering::Relaxed) {
            let line = format!("{} {}", self.now(), line());
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    /// Takes the log's lines so far.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One machine's clock: simulated time, its wall clock set wrong by a constant.
#[derive(Debug)]
pub struct ManualClock {
    world: Arc<World>,
    skew_millis: i64,
    booted: Timestamp,
}

impl ManualClock {
    /// A clock whose wall time is `skew_millis` ahead of the true time.
    pub fn new(world: Arc<World>, skew_millis: i64) -> Self {
        let booted = world.now() - Duration::from_secs(1000);
        Self { world, skew_millis, booted }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.world.now().as_millis() + self.skew_millis)
    }

    fn monotonic(&self) -> Duration {
        self.world.now().since(self.booted)
    }
}

/// One machine's cores, as busy as a test says; nothing is known of them at first.
#[derive(Debug, Default)]
pub struct ManualCores {
    in_use: Mutex<Option<f64>>,
    asked: AtomicU64,
}

impl ManualCores {
    /// So much of them is in use from now on.
    pub fn use_up(&self, share: Option<f64>) {
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner) = share;
    }

    /// How many times somebody wanted to know.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Cores for ManualCores {
    fn in_use(&self) -> Option<f64> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
