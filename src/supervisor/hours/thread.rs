//! The thread that tells the hours; it is stopped and joined when dropped.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::HourTeller;
use crate::shard::setup::Next;
use crate::stop::{Stop, StopReason};

/// A pause before a teller takes the place of one that panicked.
const ANEW: Duration = Duration::from_secs(60);

pub(in crate::supervisor) struct HourThread {
    stop: Stop,
    handle: Option<JoinHandle<()>>,
}

impl HourThread {
    /// `make` is given the token that ends the thread; it is asked again if a teller panics.
    pub(in crate::supervisor) fn start(
        mut make: impl FnMut(Stop) -> HourTeller + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Stop::new();
        let own = stop.clone();
        let handle = thread::Builder::new().name("hours".to_owned()).spawn(move || {
            while own.reason().is_none() {
                // A teller that is gone leaves nothing half done: the next goes on from the bucket.
                if catch_unwind(AssertUnwindSafe(|| tell(make(own.clone()), &own))).is_err() {
                    tracing::error!("telling the hours panicked; it begins anew");
                    own.wait(own.seen(), ANEW);
                }
            }
        })?;
        Ok(Self { stop, handle: Some(handle) })
    }
}

/// Tells hours until it is stopped.
fn tell(mut teller: HourTeller, stop: &Stop) {
    loop {
        let seen = stop.seen();
        if stop.reason().is_some() {
            return;
        }
        if let Next::Wait(time) = teller.step() {
            stop.wait(seen, time);
        }
    }
}

impl Drop for HourThread {
    fn drop(&mut self) {
        // Nothing that it does needs to be finished: the next start goes on from the bucket.
        self.stop.stop(StopReason::Abandoned);
        if let Some(handle) = self.handle.take() {
            // A panic was told when it happened.
            let _ = handle.join();
        }
    }
}
