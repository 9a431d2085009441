//! The batch dispatcher: puts records into a stream, many to a request.
//!
//! Owns how records become requests, how fast each shard is written to, and what becomes of each record:
//! acknowledged once, sent again by its own identity, or given up with the reason. Reads no input and
//! keeps nothing on disk; the stream is reached through [`RecordSink`].
//!
//! A record that the service acknowledged is never sent again. Where a request had no answer at all, its
//! records are sent again and may be stored twice: these are counted as *ambiguous*.

mod beginning;
mod bucket;
mod core;
mod driver;
mod entry;
mod lane;
mod line;
mod options;
mod order;
mod packing;
mod refresh;
mod reply;
mod report;
mod request;
mod shard_map;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use self::beginning::ask;
pub use self::entry::{Stored, Undelivered, Why};
pub use self::options::{MOST_BYTES, MOST_RECORDS, Options, ShardLimits};
pub use self::report::{Nobody, Sent, Totals, Watch};
pub use crate::ports::put::{Distribution, PutError, PutFault, PutOutcome, Record, RecordSink, StreamFacts};

use self::core::{Core, NotTaken};
use self::driver::{Shared, drive};
use self::shard_map::ShardMap;
use crate::ports::Clock;

/// A record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full; here is the record again.
    Full(Record),
    /// It can never be delivered.
    Never(Box<Undelivered>),
}

/// Puts records into one stream. Clones are handles of the same producer; dropping them does not end it: what
/// was put is still sent while the runtime lives.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    driver: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Producer {
    /// Asks for the stream's limits and shards (again while it is busy), and starts; must be called within a Tokio
    /// runtime.
    pub async fn start(
        sink: Arc<dyn RecordSink>,
        options: Options,
        clock: Arc<dyn Clock>,
        watch: Arc<dyn Watch>,
    ) -> Result<Self, PutError> {
        let facts = ask(&options, || sink.facts()).await?;
        let shards = ask(&options, || sink.shards()).await?;
        let map = ShardMap::new(shards).ok_or_else(|| PutError {
            call: "ListShards",
            fault: PutFault::Later,
            message: "the stream has no open shard".to_owned(),
        })?;
        let core = Core::new(options, facts, map, clock.monotonic());
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            sink,
            clock,
            watch,
            wake: Notify::new(),
            progress: Notify::new(),
            abandoned: watch::Sender::new(false),
        });
        let driver = tokio::spawn(drive(Arc::clone(&shared)));
        Ok(Self { shared, driver: Arc::new(Mutex::new(Some(driver))) })
    }

    /// Takes a record if there is room for it now.
    pub fn offer(&self, record: Record) -> Result<(), Refused> {
        let now = self.shared.clock.monotonic();
        let admitted = self.shared.core().admit(record, now);
        match admitted {
            Ok(wake) => {
                if wake {
                    self.shared.wake.notify_one();
                }
                Ok(())
            }
            Err(NotTaken::Full(record)) => Err(Refused::Full(record)),
            Err(NotTaken::Never(undelivered)) => Err(Refused::Never(undelivered)),
        }
    }

    /// Takes a record, and waits for room if need be. What becomes of it is told to the [`Watch`], and by
    /// [`Self::flush`] if it can't be delivered.
    pub async fn put(&self, record: Record) -> Result<(), Undelivered> {
        let mut record = record;
        loop {
            let mut progress = std::pin::pin!(self.shared.progress.notified());
            progress.as_mut().enable();
            match self.offer(record) {
                Ok(()) => return Ok(()),
                Err(Refused::Never(undelivered)) => return Err(*undelivered),
                Err(Refused::Full(back)) => record = back,
            }
            // The driver may be waiting for company that the full queue keeps out.
            self.shared.wake.notify_one();
            progress.await;
        }
    }

    /// Waits until a record that was [`Refused::Full`] may have room.
    pub async fn room(&self) {
        let mut progress = std::pin::pin!(self.shared.progress.notified());
        progress.as_mut().enable();
        if self.shared.core().is_full() {
            // The driver may be waiting for company that the full queue keeps out.
            self.shared.wake.notify_one();
            progress.await;
        }
    }

    /// Sends all that was put before, and waits until each record is delivered or given up; gives the
    /// latter, those since the last flush.
    pub async fn flush(&self) -> Vec<Undelivered> {
        let flushing = Flushing::begin(&self.shared);
        let epoch = flushing.epoch;
        self.until(|core| core.is_flushed(epoch)).await;
        drop(flushing);
        let tellings = self.shared.core().tellings();
        self.until(|core| core.has_told(tellings)).await;
        self.take_undelivered()
    }

    async fn until(&self, condition: impl Fn(&Core) -> bool) {
        loop {
            let mut progress = std::pin::pin!(self.shared.progress.notified());
            progress.as_mut().enable();
            if condition(&self.shared.core()) {
                return;
            }
            progress.await;
        }
    }

    /// What was given up since this or a flush was last asked.
    pub fn take_undelivered(&self) -> Vec<Undelivered> {
        std::mem::take(&mut self.shared.core().undelivered)
    }

    /// Records that wait or are under way.
    pub fn pending(&self) -> usize {
        self.shared.core().held()
    }

    /// Whether nothing is taken or sent any more: it was ended, or the stream refuses everything.
    pub fn has_ended(&self) -> bool {
        self.shared.core().ended.is_some()
    }

    /// Why nothing is taken or sent any more, if so.
    pub fn ended(&self) -> Option<Why> {
        self.shared.core().ended.clone()
    }

    /// Who decides which shard a record comes to, as the stream's description said at the start, or as an
    /// aggregate that came to a shard not asked for has shown since.
    pub fn distribution(&self) -> Distribution {
        self.shared.core().distribution
    }

    /// What happened since the start.
    pub fn totals(&self) -> Totals {
        self.shared.core().totals
    }

    /// Flushes, and ends; nothing is taken afterwards.
    pub async fn close(&self) -> Vec<Undelivered> {
        let mut undelivered = self.flush().await;
        undelivered.extend(self.give_up().await);
        undelivered
    }

    /// As [`Self::close`], but what is not delivered within `limit` is given up.
    pub async fn close_within(&self, limit: Duration) -> Vec<Undelivered> {
        let flushed = timeout(limit, self.flush()).await;
        let mut undelivered = flushed.unwrap_or_default();
        undelivered.extend(self.give_up().await);
        undelivered
    }

    /// Ends at once; gives all that was not delivered. What is under way is cut, and may be stored.
    pub async fn give_up(&self) -> Vec<Undelivered> {
        self.wind_up(Duration::ZERO).await
    }

    /// Sends nothing more, and waits for the answers to what is under way, no longer than `limit`; what is
    /// under way then is cut, and may be stored. Gives all that was not delivered.
    pub async fn wind_up(&self, limit: Duration) -> Vec<Undelivered> {
        let given_up = self.shared.core().end(Why::Ended { maybe_stored: false });
        for undelivered in &given_up {
            self.shared.watch.undelivered(undelivered);
        }
        self.shared.notify();
        let driver = self.driver.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(mut driver) = driver
            && timeout(limit, &mut driver).await.is_err()
        {
            self.shared.abandoned.send_replace(true);
            self.shared.notify();
            // A panic in it was printed; what it left is given up all the same.
            let _ = driver.await;
        }
        self.take_undelivered()
    }
}

/// A flush under way; one that is dropped (a time-out) no longer hurries anybody.
struct Flushing<'a> {
    shared: &'a Shared,
    epoch: u64,
}

impl<'a> Flushing<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let epoch = shared.core().begin_flush();
        shared.wake.notify_one();
        Self { shared, epoch }
    }
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.shared.core().end_flush();
    }
}

#[cfg(test)]
mod tests;
