//! The thread that tells the hours; it is stopped and joined when dropped.

use std::io;
use std::thread::{self, JoinHandle};

use super::HourTeller;
use crate::shard::setup::Next;
use crate::stop::{Stop, StopReason};

pub(in crate::supervisor) struct HourThread {
    stop: Stop,
    handle: Option<JoinHandle<()>>,
}

impl HourThread {
    /// `make` is given the token that ends the thread.
    pub(in crate::supervisor) fn start(make: impl FnOnce(Stop) -> HourTeller) -> io::Result<Self> {
        let stop = Stop::new();
        let mut teller = make(stop.clone());
        let own = stop.clone();
        let handle = thread::Builder::new().name("hours".to_owned()).spawn(move || {
            loop {
                let seen = own.seen();
                if own.reason().is_some() {
                    return;
                }
                if let Next::Wait(time) = teller.step() {
                    own.wait(seen, time);
                }
            }
        })?;
        Ok(Self { stop, handle: Some(handle) })
    }
}

impl Drop for HourThread {
    fn drop(&mut self) {
        // Nothing that it does needs to be finished: the next start goes on from the bucket.
        self.stop.stop(StopReason::Abandoned);
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!("the thread that tells the hours died");
        }
    }
}
