//! The threads of the shards: started, told to stop, and joined when they have ended.
//!
//! Owns every handle: no thread outlives it. Does not decide what runs: [`plan`](super::plan) does.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::worker::Workers;
use crate::error::Failure;
use crate::model::shard::{Shard, ShardId};
use crate::shard::setup::{Mode, Next, Outcome, Ports, Setup, Shared};
use crate::spool::refusal::newer;
use crate::stop::{Stop, StopReason};

/// A shard's own frames are shallow; compression and JSON keep their buffers on the heap.
const STACK: usize = 1 << 20;

/// What threads report to the loop, which is nudged after each.
#[derive(Debug)]
pub(super) enum News {
    /// The stream's start is known: shards may commit.
    Begun,
    /// The shards that have a ledger of this creation in the bucket.
    Ledgers(Vec<ShardId>),
    /// The bucket may not be written to, or what lies on this disk not be read.
    Refused(Failure),
    /// A shard's thread is about to end.
    Finished(String, Finish),
}

/// How a shard's thread ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// As its state machine said.
    Done(Outcome),
    /// It could not be opened: the disk.
    NotOpened(String),
    /// It panicked.
    Died(String),
}

/// Sends news and wakes the loop.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) news: Sender<News>,
    pub(super) wake: Stop,
}

impl Reporter {
    pub(super) fn tell(&self, news: News) {
        // Nobody listens any more only once all threads are joined.
        let _ = self.news.send(news);
        self.wake.nudge();
    }
}

/// A running thread.
pub(super) struct Thread {
    pub(super) shard: Shard,
    pub(super) mode: Mode,
    pub(super) stop: Stop,
    pub(super) stopping: bool,
    pub(super) started: Duration,
    /// Taken when it is joined.
    handle: Option<JoinHandle<()>>,
}

/// All running threads, by folder.
#[derive(Default)]
pub(super) struct Threads {
    by_folder: BTreeMap<String, Thread>,
}

/// What a new thread is handed.
pub(super) struct Task {
    pub(super) workers: Arc<dyn Workers>,
    pub(super) setup: Setup,
    pub(super) ports: Ports,
    pub(super) shared: Arc<Shared>,
    pub(super) random: fastrand::Rng,
    /// How long it waits first, so that many do not all ask for iterators at once.
    pub(super) delay: Duration,
    /// The monotonic time.
    pub(super) now: Duration,
}

impl Threads {
    pub(super) fn start(&mut self, task: Task, reporter: Reporter) -> io::Result<()> {
        let (folder, shard, mode) = (task.setup.folder.clone(), task.setup.shard.clone(), task.setup.mode);
        let (stop, started) = (Stop::new(), task.now);
        // The system shows 15 characters of a name: the number says more than `shardId-`.
        let name = folder.strip_prefix("shardId-").unwrap_or(&folder).to_owned();
        let (own_stop, own_folder) = (stop.clone(), folder.clone());
        let handle = thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
            let turned = catch_unwind(AssertUnwindSafe(|| turn(task, &own_stop)));
            let finish = match turned {
                Ok(Ok(outcome)) => Finish::Done(outcome),
                Ok(Err(error)) => match newer(&error) {
                    // No later try opens it: the keeper ends.
                    Some(failure) => {
                        reporter.tell(News::Refused(failure));
                        Finish::Done(Outcome::Stopped)
                    }
                    None => Finish::NotOpened(error.to_string()),
                },
                Err(panic) => Finish::Died(message(&*panic)),
            };
            reporter.tell(News::Finished(own_folder, finish));
        })?;
        let thread = Thread { shard, mode, stop, stopping: false, started, handle: Some(handle) };
        self.by_folder.insert(folder, thread);
        Ok(())
    }

    /// Joins a thread that said it has finished.
    pub(super) fn join(&mut self, folder: &str) -> Option<Thread> {
        let mut thread = self.by_folder.remove(folder)?;
        // It caught its own panic; joining only waits for its last instruction.
        if let Some(handle) = thread.handle.take() {
            let _ = handle.join();
        }
        Some(thread)
    }

    pub(super) fn stop(&mut self, folder: &str, reason: StopReason) {
        if let Some(thread) = self.by_folder.get_mut(folder) {
            thread.stopping = true;
            thread.stop.stop(reason);
        }
    }

    pub(super) fn stop_all(&mut self, reason: StopReason) {
        for thread in self.by_folder.values_mut() {
            thread.stopping = true;
            thread.stop.stop(reason);
        }
    }

    /// There is something new to look at.
    pub(super) fn nudge_all(&self) {
        self.by_folder.values().for_each(|thread| thread.stop.nudge());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Thread)> {
        self.by_folder.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_folder.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_folder.len()
    }
}

/// The body of a shard's thread.
fn turn(task: Task, stop: &Stop) -> io::Result<Outcome> {
    let seen = stop.seen();
    if stop.reason().is_none() && !task.delay.is_zero() {
        stop.wait(seen, task.delay);
    }
    let Task { workers, setup, ports, shared, random, .. } = task;
    let mut worker = workers.open(setup, ports, shared, stop.clone(), random)?;
    loop {
        let seen = stop.seen();
        match worker.step() {
            Next::Again => {}
            Next::Wait(time) => stop.wait(seen, time),
            Next::Done(outcome) => return Ok(outcome),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
