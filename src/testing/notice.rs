//! A subscriber that remembers, and a meter that only counts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::trouble::Trouble;
use crate::model::batch::SealReason;
use crate::model::manifest::Notice;
use crate::model::metric::{Counter, Gauge, Service};
use crate::ports::{Meter, Notifier, NotifyError, ShardState};
use crate::stop::Stop;

/// A notice that arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When, among all events of the run.
    pub event: u64,
    /// Who sent it.
    pub sender: String,
    /// What it said.
    pub notice: Notice,
}

/// A [`Notifier`] that keeps what arrived.
#[derive(Debug)]
pub struct Recorder {
    trouble: Arc<Trouble>,
    arrived: Mutex<Vec<Recorded>>,
}

impl Recorder {
    /// Nothing arrived yet.
    pub fn new(trouble: Arc<Trouble>) -> Arc<Self> {
        Arc::new(Self { trouble, arrived: Mutex::default() })
    }

    /// All that arrived, in order.
    pub fn arrived(&self) -> Vec<Recorded> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Notifier for Recorder {
    fn publish(&self, notice: &Notice, _stop: &Stop) -> Result<(), NotifyError> {
        self.trouble.crash.around(|| {
            let fails = self.trouble.happens(|faults| faults.notice_error);
            let arrives = !fails || self.trouble.draw(|random| random.bool());
            let sender = self.trouble.identity();
            let shard = notice.origin().map_or("", |origin| origin.shard.as_str());
            self.trouble.world.note(|| {
                let what = notice.type_name();
                format!(
                    "{sender} notice {what} {shard} {}: arrives {arrives}, fails {fails}",
                    notice.serial()
                )
            });
            if arrives {
                let recorded = Recorded { event: self.trouble.world.event(), sender, notice: notice.clone() };
                self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
            }
            if fails {
                return Err(NotifyError { kind: "no_answer", message: "simulated".into() });
            }
            Ok(())
        })
    }
}

/// A [`Meter`] that counts what only grows, and forgets the rest.
#[derive(Debug, Default)]
pub struct SilentMeter {
    counted: Mutex<Vec<(Counter, u64)>>,
    errors: Mutex<Vec<&'static str>>,
    state: Mutex<ShardState>,
}

impl SilentMeter {
    /// How many errors of this kind there were.
    pub fn errors(&self, kind: &str) -> usize {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.iter().filter(|told| **told == kind).count()
    }

    /// How much was counted.
    pub fn counted(&self, counter: Counter) -> u64 {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.iter().find(|(name, _)| *name == counter).map_or(0, |(_, count)| *count)
    }

    /// What the shard last said of itself.
    pub fn last_state(&self) -> ShardState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Meter for SilentMeter {
    fn count(&self, counter: Counter, more: u64) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match counted.iter_mut().find(|(name, _)| *name == counter) {
            Some((_, count)) => *count += more,
            None => counted.push((counter, more)),
        }
    }

    fn set(&self, _gauge: Gauge, _value: f64) {}

    fn sealed(&self, _reason: SealReason) {}

    fn upload(&self, _took: Duration) {}

    fn error(&self, _service: Service, kind: &'static str) {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(kind);
    }

    fn state(&self, state: ShardState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
