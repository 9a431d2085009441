//! What may be asked of a running supervisor: to stop, to end for a reload, to seal.
//!
//! The signal thread and the demo hold the one end, the loop the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::stop::{Stop, StopReason};

/// Why [`Supervisor::run`](super::Supervisor::run) came to its end without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to stop.
    Stopped,
    /// It was asked to end so that all starts anew with the file as it is now.
    Reload,
}

/// Asks a supervisor for something; clones ask the same one.
#[derive(Clone, Debug, Default)]
pub struct Control {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    end: Option<End>,
    seal_requests: u64,
    stop: Stop,
}

impl Control {
    /// Nothing was asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A graceful stop: all is sealed and, as far as S3 answers in time, archived.
    pub fn stop(&self) {
        self.end(End::Stopped);
    }

    /// A graceful stop after which [`Supervisor::run`](super::Supervisor::run) says [`End::Reload`].
    pub fn reload(&self) {
        self.end(End::Reload);
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        if state.end != Some(End::Stopped) {
            state.end = Some(end);
        }
        state.stop.stop(StopReason::Requested);
    }

    /// Every shard seals what it has.
    pub fn seal_now(&self) {
        let mut state = self.state();
        state.seal_requests += 1;
        state.stop.nudge();
    }

    /// What the run was asked to end with, if it was.
    pub fn requested(&self) -> Option<End> {
        self.state().end
    }

    /// A reload is being carried out: what is asked from now on is asked of the next run. A stop stays a
    /// stop. To be called before the new settings are taken, or whatever comes in between would be lost.
    pub fn anew(&self) {
        let mut state = self.state();
        if state.end == Some(End::Reload) {
            state.end = None;
            state.stop = Stop::new();
        }
    }

    /// Ends the run that begins, also if that was asked before it began.
    pub(super) fn token(&self) -> Stop {
        self.state().stop.clone()
    }

    pub(super) fn seal_requests(&self) -> u64 {
        self.state().seal_requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_over_when_it_is_carried_out_and_a_stop_is_not() {
        let control = Control::new();
        let first = control.token();
        control.reload();
        assert_eq!((first.reason(), control.requested()), (Some(StopReason::Requested), Some(End::Reload)));
        control.anew();
        assert_eq!((control.token().reason(), control.requested()), (None, None));
        control.reload();
        assert!(control.token().reason().is_some(), "asked before the next run began");
        control.anew();
        control.stop();
        control.reload();
        control.anew();
        assert_eq!(control.requested(), Some(End::Stopped));
        assert!(control.token().reason().is_some());
    }
}
