//! What goes wrong for one keeper: chances of faults, its randomness, and its crash.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::crash::CrashPlan;
use super::world::World;

/// Chances, each of 0 to 1 a call, and states of one keeper's surroundings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// A call to the stream fails.
    pub stream_error: f64,
    /// A read is throttled.
    pub throttled: f64,
    /// A reply is empty although there is more.
    pub empty_reply: f64,
    /// Reading on finds nothing yet, as by a subscription.
    pub nothing_yet: f64,
    /// The last reply of a closed shard comes without its children.
    pub childless_end: f64,
    /// The stream does not answer at all.
    pub stream_down: bool,
    /// A call to the store fails; a put is not applied.
    pub store_error: f64,
    /// A put is applied and answered with an error.
    pub put_applied_error: f64,
    /// A put is answered with an error and applied later.
    pub put_delayed: f64,
    /// The longest such delay.
    pub longest_delay: Duration,
    /// The store does not answer at all.
    pub store_down: bool,
    /// A notice fails; half of these arrive all the same.
    pub notice_error: f64,
    /// A write to the disk fails for want of room.
    pub disk_full: f64,
    /// A file on the disk is opened and cannot be read, this time.
    pub disk_unread: f64,
}

/// What goes wrong for one keeper; its handles on all fakes share it.
#[derive(Debug)]
pub struct Trouble {
    /// The run's world.
    pub world: Arc<World>,
    /// When its process is killed.
    pub crash: CrashPlan,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    identity: String,
    faults: Faults,
    random: fastrand::Rng,
}

impl Trouble {
    /// None yet, for the keeper called `identity`.
    pub fn new(world: Arc<World>, identity: impl Into<String>, random: fastrand::Rng) -> Arc<Self> {
        let state = State { identity: identity.into(), faults: Faults::default(), random };
        Arc::new(Self { world, crash: CrashPlan::default(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults in force from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        self.state().faults.clone()
    }

    /// Who puts objects, in the bucket's history: host and state directory.
    pub fn identity(&self) -> String {
        self.state().identity.clone()
    }

    /// Names the keeper anew: it has another state directory now.
    pub fn set_identity(&self, identity: impl Into<String>) {
        self.state().identity = identity.into();
    }

    /// Whether something of this chance happens now.
    pub(super) fn happens(&self, chance: impl FnOnce(&Faults) -> f64) -> bool {
        let mut state = self.state();
        let chance = chance(&state.faults);
        chance > 0.0 && state.random.f64() < chance
    }

    /// Draws from the keeper's randomness.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.state().random)
    }
}
