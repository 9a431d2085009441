//! Kills a simulated process at a chosen call of a port.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What unwinds out of a port when the simulated process is killed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

/// On which side of the call's effect the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing happened.
    Before,
    /// It happened, and nobody learned of it.
    After,
}

/// Counts the port calls of one process and kills it at the one that was chosen.
#[derive(Debug, Default)]
pub struct CrashPlan {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    due: Option<(u64, When)>,
    dead: bool,
    calls_after_death: u64,
}

impl CrashPlan {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the process at the `nth` call from now (0: the next).
    pub fn arm(&self, nth: u64, when: When) {
        let mut state = self.state();
        state.due = Some((state.calls + nth, when));
    }

    /// The process lives on.
    pub fn disarm(&self) {
        self.state().due = None;
    }

    /// A new process is started.
    pub fn revive(&self) {
        let mut state = self.state();
        state.dead = false;
        state.due = None;
    }

    /// Port calls so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Port calls between a crash and the next start: a killed process makes none, so whatever
    /// runs while it is torn down (a `Drop`) must not either.
    pub fn calls_after_death(&self) -> u64 {
        self.state().calls_after_death
    }

    /// Makes the call, unless the process is killed before it; or kills it after.
    pub fn around<T>(&self, call: impl FnOnce() -> T) -> T {
        let due = {
            let mut state = self.state();
            if state.dead {
                state.calls_after_death += 1;
            }
            let due = state.due.filter(|(at, _)| *at == state.calls).map(|(_, when)| when);
            state.calls += 1;
            if due.is_some() {
                state.dead = true;
                state.due = None;
            }
            due
        };
        match due {
            None => call(),
            Some(When::Before) => raise(),
            Some(When::After) => {
                drop(call());
                raise()
            }
        }
    }
}

/// Unwinds without the panic hook: a planned crash is no news.
fn raise() -> ! {
    std::panic::resume_unwind(Box::new(Crashed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_kills_at_the_chosen_call_on_the_chosen_side() {
        for (when, happened) in [(When::Before, 1), (When::After, 2)] {
            let plan = CrashPlan::default();
            let done = Mutex::new(0);
            plan.arm(1, when);
            let run = || plan.around(|| *done.lock().unwrap() += 1);
            run();
            let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            assert_eq!(killed.unwrap_err().downcast_ref::<Crashed>(), Some(&Crashed));
            assert_eq!(*done.lock().unwrap(), happened);
            assert_eq!(plan.calls_after_death(), 0);
        }
    }
}
