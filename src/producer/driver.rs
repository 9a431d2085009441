//! Carries out what the core decides: sends requests, lists shards, waits, and tells of it.
//!
//! Owns the one task that asks the core what to do next, and a task for each request under way. Decides
//! nothing about records.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::core::{Core, Step};
use super::entry::Stored;
use super::reply::{Answered, Outcome};
use super::report::{Sent, Watch};
use super::request::{Flight, Request};
use super::shard_map::ShardMap;
use crate::ports::Clock;
use crate::ports::put::{PutError, PutFault, PutOutcome, Record, RecordSink};

/// Without anything to do the driver looks again after this time at the latest.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What the producer's handles, its driver and its requests share.
pub(super) struct Shared {
    pub(super) core: Mutex<Core>,
    pub(super) sink: Arc<dyn RecordSink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) watch: Arc<dyn Watch>,
    /// There is something new for the driver to look at.
    pub(super) wake: Notify,
    /// Records left: there is room, and perhaps a flush is over.
    pub(super) progress: Notify,
    /// Raised to give up what is under way.
    pub(super) abandoned: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the core take note of something, and tells of what it decided after it was let go of: there is
    /// room at once, while flushes wait until all is told.
    fn settle(&self, take_note: impl FnOnce(&mut Core) -> Answered) {
        let (answered, telling) = {
            let mut core = self.core();
            let answered = take_note(&mut core);
            (answered, core.tells())
        };
        self.notify();
        self.tell(&answered);
        self.core().told(telling);
        self.progress.notify_waiters();
    }

    fn tell(&self, answered: &Answered) {
        for outcome in &answered.outcomes {
            match outcome {
                Outcome::Undelivered(undelivered) => self.watch.undelivered(undelivered),
                Outcome::Delivered { flight, shard, sequence_number } => {
                    let many = matches!(flight, Flight::Many { .. });
                    for (index, entry) in (0..).zip(flight.entries()) {
                        let sub_sequence_number = many.then_some(index);
                        let stored = Stored { shard, sequence_number, sub_sequence_number };
                        self.watch.delivered(&entry.record, &stored);
                    }
                }
            }
        }
        // A listing that settled nothing is no answer.
        if !answered.outcomes.is_empty() || answered.sent != Sent::default() {
            self.watch.sent(&answered.sent);
        }
    }

    /// After anything that may have made room or something to do.
    pub(super) fn notify(&self) {
        self.progress.notify_waiters();
        self.wake.notify_one();
    }
}

/// Runs until the core has ended and nothing is under way.
pub(super) async fn drive(shared: Arc<Shared>) {
    loop {
        let now = shared.clock.monotonic();
        let step = shared.core().next(now);
        match step {
            Step::Done => return,
            Step::Send(request) => {
                tokio::spawn(send(Arc::clone(&shared), request));
            }
            Step::Refresh => {
                tokio::spawn(refresh(Arc::clone(&shared)));
            }
            Step::Wait(until) => {
                let wait = until.map_or(LONGEST_SLEEP, |at| at.saturating_sub(now).min(LONGEST_SLEEP));
                // Woken or not: what is to be done is decided anew.
                let _ = timeout(wait, shared.wake.notified()).await;
            }
        }
    }
}

/// One request to its answer. A task that is dropped on the way would take its records along: it isn't.
async fn send(shared: Arc<Shared>, request: Request) {
    let answer = {
        let records = request.records();
        let mut abandoned = shared.abandoned.subscribe();
        let cut = Box::pin(async move {
            // The sender lives as long as `shared`, so waiting cannot fail.
            let _ = abandoned.wait_for(|abandoned| *abandoned).await;
        });
        match first(shared.sink.put(&records), cut).await {
            Some(answer) => answer,
            None => Err(PutError {
                call: "PutRecords",
                fault: PutFault::Unknown,
                message: "interrupted at the end".to_owned(),
            }),
        }
    };
    let stored = stored(&request, &answer);
    if !stored.is_empty() {
        shared.watch.stored(&stored);
    }
    drop(stored);
    let now = shared.clock.monotonic();
    shared.settle(|core| core.answered(request, answer, now));
}

/// The records that the stream certainly has, where they belong.
fn stored<'a>(request: &'a Request, answer: &Result<Vec<PutOutcome>, PutError>) -> Vec<&'a Record> {
    let outcomes = answer.as_deref().unwrap_or_default();
    if outcomes.len() != request.flights.len() {
        return Vec::new();
    }
    let record = |(flight, outcome): (&'a Flight, &PutOutcome)| match (flight, outcome) {
        (Flight::One(entry), PutOutcome::Stored { .. }) => Some(&entry.record),
        _ => None,
    };
    request.flights.iter().zip(outcomes).filter_map(record).collect()
}

async fn refresh(shared: Arc<Shared>) {
    let listed = shared.sink.shards().await;
    let map = match listed {
        Ok(shards) => ShardMap::new(shards),
        Err(error) => {
            tracing::warn!(%error, "the shards could not be listed; putting goes on as they were");
            None
        }
    };
    let now = shared.clock.monotonic();
    shared.settle(|core| core.refreshed(map, now));
}

/// The call's output, or `None` if the cut came first; an answer that is there wins.
async fn first<F, C>(mut call: F, mut cut: C) -> Option<F::Output>
where
    F: Future + Unpin,
    C: Future<Output = ()> + Unpin,
{
    use std::pin::Pin;
    use std::task::Poll;
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = Pin::new(&mut call).poll(context) {
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut cut).poll(context).map(|()| None)
    })
    .await
}
