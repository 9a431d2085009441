//! What must be asked of the bucket before anything is committed, on a thread of its own: shards with
//! a checkpoint or spool read on meanwhile.
//!
//! Owns the order: the stream's start, the shards known to the bucket, what the bucket deletes by itself;
//! and trying each again for as long as it takes, also after a fault of the program.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::meters::MeterSource;
use super::reminder::Reminder;
use super::threads::{News, Reporter};
use crate::error::Failure;
use crate::ledger::start::{ConfiguredStart, StartOutcome, settle_start};
use crate::model::expiry::Expiry;
use crate::model::key::Keys;
use crate::model::metric::Service;
use crate::model::shard::{ShardId, StreamIdentity};
use crate::ports::{Clock, ObjectStore, StoreError, StoreErrorKind};
use crate::retry::{Backoff, Pace};
use crate::shard::setup::Shared;
use crate::stop::{Stop, StopReason};

/// What the thread is handed.
pub(super) struct Questions {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) meters: Arc<dyn MeterSource>,
    pub(super) shared: Arc<Shared>,
    pub(super) keys: Keys,
    pub(super) bucket: String,
    pub(super) stream: StreamIdentity,
    pub(super) start: ConfiguredStart,
    pub(super) random: fastrand::Rng,
}

/// A pause before it begins anew after a panic.
const ANEW: Duration = Duration::from_secs(60);

/// The running thread; it is stopped and joined when dropped.
pub(super) struct Background {
    stop: Stop,
    handle: Option<JoinHandle<()>>,
}

impl Background {
    pub(super) fn start(questions: Questions, reporter: Reporter) -> io::Result<Self> {
        let stop = Stop::new();
        let own = stop.clone();
        let mut asker = Asker { questions, reporter, stop: own, reminder: Reminder::default() };
        let handle = thread::Builder::new().name("bucket".to_owned()).spawn(move || {
            // What was answered before it panicked is asked once more, and changes nothing.
            while catch_unwind(AssertUnwindSafe(|| asker.run())).is_err() {
                tracing::error!("asking about the bucket panicked; it begins anew");
                asker.stop.wait(asker.stop.seen(), ANEW);
            }
        })?;
        Ok(Self { stop, handle: Some(handle) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Nothing that it does needs to be finished: the next start asks again.
        self.stop.stop(StopReason::Abandoned);
        if let Some(handle) = self.handle.take() {
            // A panic was told when it happened.
            let _ = handle.join();
        }
    }
}

struct Asker {
    questions: Questions,
    reporter: Reporter,
    stop: Stop,
    reminder: Reminder,
}

impl Asker {
    fn run(&mut self) {
        let begins = |asked: &Questions, stop: &Stop| {
            let settled = settle_start(&*asked.store, &asked.keys, &asked.stream, asked.start, stop);
            settled.inspect_err(|error| {
                if error.kind != StoreErrorKind::Stopped {
                    asked
                        .shared
                        .set_bucket_trouble(format!("nothing is archived until the bucket answers: {error}"));
                }
            })
        };
        let Some(outcome) = self.insist("nothing is committed until it does", begins) else { return };
        match self.judge(outcome) {
            Ok(()) => self.reporter.tell(News::Begun),
            Err(refused) => return self.reporter.tell(News::Refused(refused)),
        }
        let ledgers = |asked: &Questions, stop: &Stop| asked.store.folders(&asked.keys.ledgers(), stop);
        let unlisted = "shards that the stream no longer lists are not looked after until it does";
        let Some(folders) = self.insist(unlisted, ledgers) else { return };
        self.reporter.tell(News::Ledgers(self.of_this_creation(&folders)));
        let unknown = "until it does, no missing object counts as expired";
        let expiry = self.insist(unknown, |asked, stop| {
            match asked.store.expiry(stop) {
                // It only makes the keeper surer that a missing object has expired; so the
                // permission is not insisted on.
                Err(error) if error.kind == StoreErrorKind::AccessDenied => {
                    tracing::warn!(%error, "the bucket's lifecycle rules may not be read: expiry is not known");
                    Ok(Expiry::default())
                }
                answer => answer,
            }
        });
        if let Some(expiry) = expiry {
            let _ = self.questions.shared.expiry.set(expiry);
        }
    }

    /// Asks until there is an answer; `None` when stopped. Until then, `meanwhile` holds.
    fn insist<T>(
        &mut self,
        meanwhile: &str,
        ask: impl Fn(&Questions, &Stop) -> Result<T, StoreError>,
    ) -> Option<T> {
        let mut backoff = Backoff::new(Pace::REMOTE);
        loop {
            let seen = self.stop.seen();
            if self.stop.reason().is_some() {
                return None;
            }
            match ask(&self.questions, &self.stop) {
                Ok(answer) => return Some(answer),
                Err(error) if error.kind == StoreErrorKind::Stopped => {}
                Err(error) => {
                    self.questions.meters.error(Service::S3, error.kind.as_str());
                    if self.reminder.is_due(&error.to_string(), self.questions.clock.monotonic()) {
                        tracing::warn!(%error, meanwhile, "the bucket does not answer as it should");
                    }
                }
            }
            let wait = backoff.next(&mut self.questions.random);
            self.stop.wait(seen, wait.max(Duration::from_millis(1)));
        }
    }

    fn judge(&self, outcome: StartOutcome) -> Result<(), Failure> {
        let Questions { bucket, keys, stream, shared, .. } = &self.questions;
        let place = format!("s3://{bucket}/{}", keys.root());
        match outcome {
            StartOutcome::Ready(begin) => {
                let _ = shared.begin.set(begin);
                Ok(())
            }
            StartOutcome::OtherStream { key, arn } => Err(Failure::usage(format!(
                "{place} holds the archive of {arn} (says {key}), not of {}\n\
                 give each stream an archive.prefix or archive.bucket of its own",
                stream.arn
            ))),
            StartOutcome::ConditionsIgnored => Err(Failure::failed(format!(
                "the store of s3://{bucket} ignores `If-None-Match: *`: two writers could overwrite each other's objects\n\
                 use a store that keeps conditional writes, as Amazon S3 does"
            ))),
            StartOutcome::Unreadable { key, problem } => Err(Failure::failed(format!(
                "s3://{bucket}/{key} cannot be read: {problem}\n\
                 it says where the archive begins; restore it, or run the version of kinesis-keeper that wrote it"
            ))),
        }
    }

    /// The shards in the names of ledger folders, `…/_ledger/{shard}-{creation}/`.
    fn of_this_creation(&self, folders: &[String]) -> Vec<ShardId> {
        let created = self.questions.stream.created.as_seconds().to_string();
        let shard = |folder: &String| {
            let name = folder.strip_prefix(&self.questions.keys.ledgers())?.strip_suffix('/')?;
            let (shard, seconds) = name.rsplit_once('-')?;
            (seconds == created).then(|| ShardId::new(shard))
        };
        folders.iter().filter_map(shard).collect()
    }
}
