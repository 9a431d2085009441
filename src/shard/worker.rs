//! The worker: what one shard's thread owns, and which of its activities is due.
//!
//! Owns the order of activities and the end of the thread. The activities themselves are in
//! `reading`, `sealing`, `delivery` and `announcing`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::board::Promise;
use super::delivery::Delivery;
use super::level::AutoLevel;
use super::open_batch::OpenBatch;
use super::position::Archived;
use super::put_room::PutPlace;
use super::reading::Reading;
use super::reporting::Troubles;
use super::rereading::Rereading;
use super::sealing::Unsealed;
use super::setup::{Mode, Next, Outcome, Ports, Settings, Setup, Shared};
use crate::codec::writer::BatchWriter;
use crate::ledger::Ledger;
use crate::model::batch::SealReason;
use crate::model::checkpoint::Checkpoint;
use crate::model::metric::Service;
use crate::model::sequence::Position;
use crate::model::shard::{ShardId, StreamIdentity};
use crate::model::timestamp::Timestamp;
use crate::retry::{Backoff, Pace};
use crate::spool::items::SpoolItems;
use crate::spool::outbox::Outbox;
use crate::stop::{Stop, StopReason};

/// What became of an activity that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// Something was done; look again at once.
    Acted,
    /// Nothing before this instant (monotonic).
    NotBefore(Duration),
    /// Nothing until something else changes.
    Idle,
}

/// One shard's state machine; one thread turns it, step by step.
pub struct ShardWorker {
    pub(super) setup: Setup,
    pub(super) ports: Ports,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: Stop,
    pub(super) random: fastrand::Rng,

    pub(super) ledger: Ledger,
    pub(super) spool: SpoolItems,
    pub(super) outbox: Outbox,
    pub(super) checkpoint: Option<Checkpoint>,

    pub(super) writer: BatchWriter,
    pub(super) open: OpenBatch,
    pub(super) auto_level: AutoLevel,
    pub(super) unsealed: Option<Unsealed>,
    /// When the thread began, monotonic.
    pub(super) opened: Duration,
    pub(super) reading: Option<Reading>,
    pub(super) read_due: Duration,
    /// When the last call of reading began.
    pub(super) read_asked: Duration,
    pub(super) read_backoff: Backoff,
    /// When the next answer is overdue; stands still while calls fail.
    pub(super) progress_due: Duration,

    pub(super) archived: Option<Archived>,
    /// What was last promised of the entries to come.
    pub(super) promise: Option<Promise>,
    pub(super) delivery: Delivery,
    /// When the ledger was last seen to have no entry after the archived one.
    pub(super) looked_at: Option<Duration>,
    pub(super) rereading: Option<Rereading>,
    pub(super) put_place: PutPlace,
    pub(super) delivery_due: Duration,
    pub(super) delivery_backoff: Backoff,
    pub(super) publish_due: Duration,
    pub(super) publish_backoff: Backoff,

    /// How often in a row the lines of a sealed item could not be read, by their place.
    pub(super) unreadable: BTreeMap<PathBuf, u32>,
    pub(super) disk_due: Duration,
    pub(super) disk_backoff: Backoff,
    pub(super) troubles: Troubles,
    pub(super) ended: Option<Outcome>,
    seal_requests_seen: u64,
    deliver_first: bool,
}

/// How many tries a drain gives a service that does not answer before it leaves the rest on disk.
const DRAIN_FAILURES: u32 = 3;

/// The wait when nothing has a time of its own; a nudge ends it.
pub(super) const LONG: Duration = Duration::from_secs(60);

impl ShardWorker {
    /// Opens what lies on this disk of the shard. Nothing remote is asked yet.
    pub fn open(
        setup: Setup,
        ports: Ports,
        shared: Arc<Shared>,
        stop: Stop,
        random: fastrand::Rng,
    ) -> io::Result<Self> {
        let (stream, shard) = (setup.stream.clone(), setup.shard.id.clone());
        let is_own = |arn: &str, created: Timestamp| is_of(&stream, arn, created);
        let (spool, damaged) = SpoolItems::open(ports.disk.clone(), &setup.folder, |sealed| {
            sealed.shard == shard && is_own(&sealed.stream_arn, sealed.stream_created)
        })?;
        report_damage(&ports, &shard, &damaged);
        let is_ours =
            |saved: &Checkpoint| saved.shard == shard && is_own(&saved.stream_arn, saved.stream_created);
        let checkpoint = ports.checkpoints.load(&setup.folder)?.filter(is_ours);
        remember_retention(&shared, checkpoint.as_ref());
        let settings = &setup.settings;
        let ledger = ledger_of(&setup, &ports);
        let outbox = Outbox::open(ports.disk.clone(), &setup.folder)?;
        // From here on nothing fails: what is counted is given back when the worker is dropped.
        shared.quota.add(spool.bytes());
        // What drains reads nothing, and has its shard's id in common with today's shard.
        if setup.mode != Mode::Drain {
            shared.budget.join(&shard, stop.clone());
        }
        let remote = || Backoff::new(Pace::REMOTE);
        let opened = ports.clock.monotonic();
        let mut worker = Self {
            writer: BatchWriter::new(settings.spool_level(None)).with_members_of(settings.members.text),
            seal_requests_seen: shared.seal_requests(),
            ledger,
            spool,
            outbox,
            checkpoint,
            open: OpenBatch::default(),
            auto_level: AutoLevel::default(),
            unsealed: None,
            opened,
            reading: None,
            read_due: Duration::ZERO,
            read_asked: Duration::ZERO,
            read_backoff: remote(),
            progress_due: Duration::ZERO,
            archived: None,
            promise: None,
            delivery: Delivery::Locating,
            looked_at: None,
            rereading: None,
            put_place: PutPlace::new(Arc::clone(&shared.put_room), setup.folder.clone(), stop.clone()),
            delivery_due: Duration::ZERO,
            delivery_backoff: remote(),
            publish_due: Duration::ZERO,
            publish_backoff: remote(),
            unreadable: BTreeMap::new(),
            disk_due: Duration::ZERO,
            disk_backoff: remote(),
            troubles: Troubles::default(),
            ended: None,
            deliver_first: true,
            setup,
            ports,
            shared,
            stop,
            random,
        };
        worker.spread_start();
        worker.report_waiting();
        Ok(worker)
    }

    /// Does the most urgent thing that is due, with at most about one remote call that changes something.
    pub fn step(&mut self) -> Next {
        if let Some(outcome) = self.finished() {
            self.seal_what_is_open();
            return Next::Done(outcome);
        }
        self.deliver_first = !self.deliver_first;
        let mut soonest = self.monotonic() + LONG;
        for turn in 0..5 {
            let activity = match (turn, self.deliver_first) {
                (0, _) => self.seal_if_due(),
                (1, true) | (2, false) => self.deliver(),
                (1, false) | (2, true) => self.read(),
                (3, _) => self.announce(),
                _ => self.save_idle_position(),
            };
            match activity {
                Activity::Acted => {
                    self.report();
                    // The next step looks whether it is over, and what is still to be sealed then.
                    return Next::Again;
                }
                Activity::NotBefore(due) => soonest = soonest.min(due),
                Activity::Idle => {}
            }
        }
        self.report();
        Next::Wait(soonest.saturating_sub(self.monotonic()))
    }

    /// The time to drain may be over before the open batch was sealed: a put may take longer than that.
    fn seal_what_is_open(&mut self) {
        if self.stop.reason() == Some(StopReason::Abandoned)
            && !self.writer.is_empty()
            && self.unsealed.is_none()
        {
            self.seal_open(SealReason::Shutdown);
        }
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.ports.clock.monotonic()
    }

    /// Whether a stop was asked for: nothing more is read.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.reason().is_some()
    }

    /// Whether there was a request to seal since it was last asked.
    pub(super) fn take_seal_request(&mut self) -> bool {
        let requests = self.shared.seal_requests();
        std::mem::replace(&mut self.seal_requests_seen, requests) != requests
    }

    /// Whether the thread is to end, and why.
    fn finished(&mut self) -> Option<Outcome> {
        if let Some(outcome) = &self.ended {
            return Some(outcome.clone());
        }
        let held = !self.writer.is_empty() || self.unsealed.is_some();
        let delivered = self.spool.items().is_empty() && self.outbox_is_empty();
        let settled = matches!(self.delivery, Delivery::Ready | Delivery::Stopped);
        match self.stop.reason() {
            Some(StopReason::Abandoned) => return Some(Outcome::Stopped),
            Some(StopReason::StreamReplaced) if !held => return Some(Outcome::StreamReplaced),
            Some(StopReason::Requested) if !held => {
                let hopeless = self.delivery_backoff.failures() >= DRAIN_FAILURES
                    || matches!(self.delivery, Delivery::Stopped | Delivery::Locating)
                    || self.waits_for_another_writer();
                let unannounced = !self.outbox_is_empty() && self.publish_backoff.failures() < DRAIN_FAILURES;
                if (delivered && settled) || (hopeless && !unannounced) || self.archived.is_none() {
                    return Some(Outcome::Stopped);
                }
                let all_put = self.spool.items().is_empty() && settled;
                if all_put && !unannounced {
                    return Some(Outcome::Stopped);
                }
            }
            Some(_) | None => {}
        }
        let settled_now = matches!(self.delivery, Delivery::Ready);
        let at_end = self.archived.as_ref().is_some_and(|archived| archived.known.position == Position::End);
        if at_end && delivered && !held {
            return Some(Outcome::Ended);
        }
        match self.setup.mode {
            Mode::Drain if delivered && settled_now => Some(Outcome::Drained),
            Mode::Deliver if settled_now && self.outbox_is_empty() && !self.has_deliverable() => {
                Some(Outcome::Drained)
            }
            Mode::Read | Mode::Unlisted | Mode::Drain | Mode::Deliver => None,
        }
    }

    /// Whether something sealed follows the archived position.
    pub(super) fn has_deliverable(&self) -> bool {
        let Some(archived) = &self.archived else { return true };
        archived.void.is_some() || self.spool.next_at(&archived.known.position).is_some()
    }

    fn outbox_is_empty(&self) -> bool {
        self.ports.notifier.is_none() || self.outbox.is_empty()
    }

    /// Where reading may go on from as far as this disk knows, without the ledger.
    pub(super) fn has_local_position(&self) -> bool {
        self.checkpoint.as_ref().is_some_and(|saved| saved.known.position != Position::Start)
            || !self.spool.items().is_empty()
    }

    /// Spreads the first calls of many shards: reading over a second, all over as long as it takes.
    fn spread_start(&mut self) {
        let start = self.shared.next_start(self.monotonic());
        self.delivery_due = start;
        self.read_due = start + self.setup.settings.pacing.caught_up.mul_f64(self.random.f64());
        self.progress_due = self.read_due + self.patience();
    }

    /// A disk operation failed: says so, and holds everything that needs the disk for a while.
    pub(super) fn disk_failed(&mut self, what: &str, error: &io::Error) -> Activity {
        let wait = self.disk_backoff.next(&mut self.random);
        self.disk_due = self.monotonic() + wait;
        let told = format!("{what} failed on this disk: {error}; reading pauses and goes on by itself");
        self.ports
            .meter
            .error(Service::Disk, if error.kind() == io::ErrorKind::StorageFull { "full" } else { "io" });
        if self.troubles.disk.as_ref() != Some(&told) {
            tracing::error!(shard = %self.setup.shard.id, "{told}");
        }
        self.troubles.disk = Some(told);
        Activity::NotBefore(self.disk_due)
    }

    /// A disk operation went well.
    pub(super) fn disk_works(&mut self) {
        self.disk_backoff.reset();
        if self.troubles.disk.take().is_some() {
            tracing::info!(shard = %self.setup.shard.id, "this disk takes writes again");
        }
    }
}

fn ledger_of(setup: &Setup, ports: &Ports) -> Ledger {
    let Settings { keys, host, .. } = &setup.settings;
    Ledger::new(ports.store.clone(), keys.clone(), setup.stream.clone(), setup.shard.id.clone(), host.clone())
}

/// How long the stream kept records when the checkpoint was saved.
fn remember_retention(shared: &Shared, checkpoint: Option<&Checkpoint>) {
    if let Some(saved) = checkpoint {
        let retention = saved.retention_ms.map(Duration::from_millis);
        shared.retention_known().was(retention, saved.trimmed_to);
    }
}

fn report_damage(ports: &Ports, shard: &ShardId, damaged: &[String]) {
    for told in damaged {
        tracing::error!(shard = %shard, "{told}");
        ports.meter.error(Service::Disk, "damaged");
    }
}

fn is_of(stream: &StreamIdentity, arn: &str, created: Timestamp) -> bool {
    stream.is(&StreamIdentity { name: String::new(), arn: arn.to_owned(), created })
}

impl Drop for ShardWorker {
    fn drop(&mut self) {
        if self.setup.mode != Mode::Drain {
            self.shared.budget.leave(&self.setup.shard.id);
            self.shared.seal_turns.leave(&self.setup.shard.id);
            self.shared.render_turns.leave(&self.setup.shard.id);
        }
        // The file itself is removed when the shard is opened again.
        let unsealed = self.unsealed.as_ref().map_or(0, Unsealed::spilled);
        self.shared.quota.unspill(self.open.spilled + unsealed);
        self.shared.quota.remove(self.spool.bytes());
    }
}
