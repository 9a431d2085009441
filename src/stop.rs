//! Stopping: a token with a reason, which every wait and every remote call watches.
#![allow(clippy::disallowed_methods, reason = "waiting with a deadline is what this module is for")]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Why a thread should stop; decides whether it may seal and archive what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A signal: seal, archive, announce, then end.
    Requested,
    /// The stream was deleted and made again: this ledger is over; nothing more is read.
    StreamReplaced,
    /// Give up at once: the time to drain is over.
    Abandoned,
}

/// A stop token, cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    announced: watch::Sender<Option<StopReason>>,
}

#[derive(Debug, Default)]
struct State {
    reason: Option<StopReason>,
    changes: u64,
}

/// What a waiter has taken note of; anything after it ends its wait at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u64);

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// A token that nothing has stopped yet.
    pub fn new() -> Self {
        let inner =
            Inner { state: Mutex::default(), changed: Condvar::new(), announced: watch::Sender::new(None) };
        Self { inner: Arc::new(inner) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops for `reason`; a later, harder reason takes the place of an earlier one.
    pub fn stop(&self, reason: StopReason) {
        let mut state = self.state();
        if state.reason.is_none() || reason == StopReason::Abandoned {
            state.reason = Some(reason);
            state.changes += 1;
            self.inner.announced.send_replace(Some(reason));
        }
        drop(state);
        self.inner.changed.notify_all();
    }

    /// Why it stopped, if it did.
    pub fn reason(&self) -> Option<StopReason> {
        self.state().reason
    }

    /// Wakes whoever waits, without stopping: there is something new to look at.
    pub fn nudge(&self) {
        self.state().changes += 1;
        self.inner.changed.notify_all();
    }

    /// What there is to take note of now; ask before looking at what may change.
    pub fn seen(&self) -> Seen {
        Seen(self.state().changes)
    }

    /// Waits until `timeout` is over, or the token was stopped, stopped harder or nudged since
    /// `seen`. (A token that had stopped before waits all the same: draining needs its pauses too.)
    pub fn wait(&self, seen: Seen, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        while state.changes == seen.0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.inner.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Resolves once the token has stopped for any reason.
    pub async fn stopped(&self) {
        let mut announced = self.inner.announced.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = announced.wait_for(Option::is_some).await;
    }

    /// Resolves once the token was abandoned: what may finish while draining watches this.
    pub async fn abandoned(&self) {
        let mut announced = self.inner.announced.subscribe();
        let _ = announced.wait_for(|reason| *reason == Some(StopReason::Abandoned)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_a_wait_and_keeps_its_first_reason() {
        let stop = Stop::new();
        let (waiter, seen) = (stop.clone(), stop.seen());
        let thread = std::thread::spawn(move || waiter.wait(seen, Duration::from_secs(3600)));
        stop.stop(StopReason::Requested);
        thread.join().unwrap();
        stop.stop(StopReason::StreamReplaced);
        assert_eq!(stop.reason(), Some(StopReason::Requested));
        stop.stop(StopReason::Abandoned);
        assert_eq!(stop.reason(), Some(StopReason::Abandoned));
    }
}
