//! One creation of the stream, from its first look to its last thread joined.
//!
//! Owns the loop: look at the stream, plan, start and stop threads, take note of how they end. The
//! decisions are [`plan`](super::plan)'s.

mod crew;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::background::{Background, Questions};
use super::control::Control;
use super::hours::HourThread;
use super::machine::cores;
use super::plan::View;
use super::reminder::Reminder;
use super::run_loop::{is_readable, why};
use super::threads::{News, Reporter, Threads};
use super::watchdog::{self, Watchdog};
use super::{Options, Services};
use crate::error::Failure;
use crate::model::key::Keys;
use crate::model::metric::Service;
use crate::model::shard::{ShardId, StreamIdentity};
use crate::ports::{Disk, StreamError, StreamErrorKind};
use crate::retry::{Backoff, Pace, jitter};
use crate::shard::budget::{Budget, SpoolQuota};
use crate::shard::setup::{Members, Mode, Settings, Shared};
use crate::spool::{Settled, copies};
use crate::stop::{Stop, StopReason};

/// The loop looks at its gauges this often at least.
const TICK: Duration = Duration::from_secs(5);

/// How often old local copies are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// However many shards ask for it, the stream is not looked at more often.
const LOOKS_APART: Duration = Duration::from_secs(1);

/// Which stream, and how long it keeps records.
pub(super) struct Of {
    pub(super) stream: StreamIdentity,
    pub(super) retention: Duration,
}

/// How a generation ended; all its threads are joined.
pub(super) enum Ending {
    /// As asked.
    Stopped,
    /// The stream was deleted and made again.
    Replaced,
    /// Only the operator can mend it.
    Failed(Failure),
}

pub(super) struct Generation<'a> {
    services: &'a Services,
    options: &'a Options,
    control: &'a Control,
    stop: &'a Stop,
    stream: StreamIdentity,
    settings: Settings,
    shared: Arc<Shared>,
    random: fastrand::Rng,
    reporter: Reporter,
    news: Receiver<News>,
    threads: Threads,
    /// What [`View`] says of threads is filled in for each plan.
    view: View,
    failures: BTreeMap<String, Backoff>,
    look_at: Duration,
    looked_at: Duration,
    looks: Backoff,
    reminder: Reminder,
    watchdog: Watchdog,
    housekeeping_at: Duration,
    seals: u64,
}

impl<'a> Generation<'a> {
    pub(super) fn new(
        services: &'a Services,
        options: &'a Options,
        control: &'a Control,
        stop: &'a Stop,
        of: Of,
        settled: Settled,
        random: fastrand::Rng,
    ) -> Self {
        let Of { stream, retention } = of;
        let settings = Settings {
            limits: options.limits,
            layout: options.layout,
            form: options.form,
            level: options.level,
            deaggregate: options.deaggregate,
            bucket: options.bucket.clone(),
            keys: Keys::new(&options.prefix, &stream.name),
            keep_copies: !options.keep.age.is_zero() && options.keep.bytes > 0,
            host: format!("{}-{}", options.host, settled.identity.keeper),
            rules: options.rules,
            pacing: options.pacing,
            members: Members::default(),
        };
        let (budget, quota) = (Budget::new(options.memory, cores()), SpoolQuota::new(options.spool_bytes));
        let (sender, news) = channel();
        let shared = Shared::new(budget, quota, retention);
        shared.wakes(stop.clone());
        settled.old.iter().for_each(|old| shared.board.drains(&old.folder));
        Self {
            services,
            options,
            control,
            stop,
            stream,
            settings,
            shared: Arc::new(shared),
            random,
            reporter: Reporter { news: sender, wake: stop.clone() },
            news,
            threads: Threads::default(),
            view: View { old: settled.old, ..View::default() },
            failures: BTreeMap::new(),
            look_at: Duration::ZERO,
            looked_at: Duration::ZERO,
            looks: Backoff::new(Pace::REMOTE),
            reminder: Reminder::default(),
            watchdog: Watchdog::default(),
            housekeeping_at: Duration::ZERO,
            seals: control.seal_requests(),
        }
    }

    fn now(&self) -> Duration {
        self.services.clock.monotonic()
    }

    pub(super) fn run(mut self) -> Ending {
        let ending = match self.begin() {
            Ok(in_background) => {
                let ending = self.turn();
                drop(in_background);
                ending
            }
            Err(error) => Ending::Failed(Failure::failed(format!("cannot begin: {error}"))),
        };
        self.wind_up(match ending {
            Ending::Replaced => StopReason::StreamReplaced,
            Ending::Stopped | Ending::Failed(_) => StopReason::Requested,
        });
        ending
    }

    /// Looks at the disk, and asks about the bucket in the background.
    fn begin(&mut self) -> io::Result<(Background, HourThread)> {
        let disk = &*self.services.disk;
        for file in disk.list(Path::new("checkpoints"))? {
            if let Some(name) = file.name.strip_suffix(".json")
                && !name.contains('@')
            {
                self.view.census.known(ShardId::new(name));
            }
        }
        for kind in ["spool", "outbox"] {
            for folder in disk.list(Path::new(kind))? {
                // An empty folder may be an earlier creation's: it tells nothing.
                if folder.is_dir
                    && !folder.name.contains('@')
                    && !disk.list(&Path::new(kind).join(&folder.name))?.is_empty()
                {
                    let shard = ShardId::new(folder.name);
                    self.view.pending.insert(shard.clone());
                    self.view.census.known(shard);
                }
            }
        }
        let questions = Questions {
            clock: Arc::clone(&self.services.clock),
            store: Arc::clone(&self.services.store),
            meters: Arc::clone(&self.services.meters),
            shared: Arc::clone(&self.shared),
            keys: self.settings.keys.clone(),
            bucket: self.options.bucket.clone(),
            stream: self.stream.clone(),
            start: self.options.start,
            random: self.random.fork(),
        };
        Ok((Background::start(questions, self.reporter.clone())?, self.tell_hours()?))
    }

    fn turn(&mut self) -> Ending {
        loop {
            let seen = self.stop.seen();
            if self.stop.reason().is_some() {
                return Ending::Stopped;
            }
            while let Ok(news) = self.news.try_recv() {
                if let Some(failure) = self.note(news) {
                    return Ending::Failed(failure);
                }
            }
            if self.shared.take_look_wanted() {
                self.look_soon();
            }
            if self.now() >= self.look_at && self.look_at_stream() {
                return Ending::Replaced;
            }
            if self.control.seal_requests() != self.seals {
                self.seals = self.control.seal_requests();
                tracing::info!("a seal was requested");
                self.shared.request_seal();
                self.threads.nudge_all();
            }
            let retry_at = self.act();
            self.housekeep();
            self.gauges();
            watchdog::log(&self.watchdog.look(self.services.meters.overdue(), self.services.clock.now()));
            let now = self.now();
            let next = retry_at.unwrap_or(Duration::MAX).min(self.look_at);
            self.stop.wait(seen, next.saturating_sub(now).min(TICK));
        }
    }

    /// Describes the stream and lists its shards; true if it is another creation.
    fn look_at_stream(&mut self) -> bool {
        self.looked_at = self.now();
        let (at, described) = match self.services.stream.describe(self.stop) {
            Ok(served) => (served.at, served.value),
            Err(error) => {
                self.looked_in_vain(&error);
                return false;
            }
        };
        if !described.identity.is(&self.stream) {
            return true;
        }
        self.shared.set_retention(described.retention, at);
        self.found_again();
        if !is_readable(described.status) {
            self.not_there(&format!("it is {:?}", described.status));
            self.look_later();
            return false;
        }
        let shards = match self.services.stream.list_shards(self.stop) {
            Ok(shards) => shards,
            Err(error) => {
                self.looked_in_vain(&error);
                return false;
            }
        };
        self.shared.set_listing(&shards);
        self.shared.board.saw_date(at, self.now());
        self.shared.board.listed(at, &shards);
        self.view.census.listing(&shards);
        self.services.meters.stream_state(None);
        self.reminder.forget();
        if self.shared.misses_children() {
            // A reply named them: they are about to be listed.
            self.look_later();
        } else {
            self.looks.reset();
            self.look_at = self.now() + jitter(self.options.refresh, &mut self.random);
        }
        false
    }

    /// Threads that had lost the stream need not wait any longer.
    fn found_again(&mut self) {
        if std::mem::take(&mut self.view.away) {
            tracing::info!(stream = self.stream.name, "the stream is there again");
            self.view.retry_at.clear();
            self.failures.clear();
        }
    }

    fn looked_in_vain(&mut self, error: &StreamError) {
        let said = why(error);
        let gone = error.kind == StreamErrorKind::NotFound || !self.view.census.has_listing();
        if error.kind == StreamErrorKind::Stopped {
            self.look_later();
            return;
        }
        self.services.meters.error(Service::Kinesis, error.kind.as_str());
        self.view.away |= error.kind == StreamErrorKind::NotFound;
        if gone {
            self.not_there(&said);
        } else if self.reminder.is_due(&said, self.now()) {
            tracing::warn!(%error, "the stream cannot be looked at; its shards go on");
        }
        self.look_later();
    }

    /// The shards go on with what they have.
    fn not_there(&mut self, why: &str) {
        self.services.meters.stream_state(Some(format!("waiting for stream: {why}")));
        if self.reminder.is_due(why, self.services.clock.monotonic()) {
            tracing::warn!(stream = self.stream.name, why, "waiting for stream");
        }
    }

    fn look_soon(&mut self) {
        self.look_at = self.look_at.min(self.now().max(self.looked_at + LOOKS_APART));
    }

    fn look_later(&mut self) {
        let wait = self.looks.next(&mut self.random).min(self.options.refresh);
        self.look_at = self.now() + wait;
    }

    fn note(&mut self, news: News) -> Option<Failure> {
        match news {
            News::Begun => {
                tracing::info!(begin = ?self.shared.begin.get(), "the stream's start is known");
                self.threads.nudge_all();
            }
            News::Ledgers(shards) => shards.into_iter().for_each(|shard| self.view.census.known(shard)),
            News::Refused(failure) => return Some(failure),
            News::Finished(folder, finish) => self.finished(&folder, finish),
        }
        None
    }

    fn housekeep(&mut self) {
        let now = self.now();
        if now < self.housekeeping_at {
            return;
        }
        self.housekeeping_at = now + HOUSEKEEPING;
        let (disk, wall) = (&*self.services.disk, self.services.clock.now());
        match copies::prune(disk, wall, self.options.keep, self.stop) {
            Ok(pruned) if pruned.removed > 0 => {
                tracing::debug!(
                    removed = pruned.removed,
                    left_bytes = pruned.left,
                    "removed old local copies"
                );
            }
            Ok(_) => {}
            Err(error) => {
                self.services.meters.error(Service::Disk, "prune");
                tracing::warn!(%error, "old local copies cannot be removed");
            }
        }
    }

    fn gauges(&self) {
        let meters = &self.services.meters;
        let reads: BTreeSet<&ShardId> = (self.threads.iter())
            .filter(|(_, thread)| thread.mode == Mode::Read && !thread.stopping)
            .map(|(_, thread)| &thread.shard.id)
            .collect();
        meters.shards_running(self.threads.len());
        meters.key_space_covered(self.view.census.covered(|id| reads.contains(id)));
        meters.batch_memory(self.shared.budget.used());
    }

    /// Stops every thread and joins it; what hangs beyond the time to drain is abandoned.
    fn wind_up(&mut self, reason: StopReason) {
        if !self.threads.is_empty() {
            tracing::info!(shards = self.threads.len(), reason = ?reason, "stopping the shards");
        }
        self.threads.stop_all(reason);
        let deadline = self.now() + self.options.drain;
        let mut abandoned = false;
        while !self.threads.is_empty() {
            let left = if abandoned { TICK } else { deadline.saturating_sub(self.now()) };
            match self.news.recv_timeout(left.min(TICK)) {
                Ok(News::Finished(folder, finish)) => self.finished(&folder, finish),
                Ok(News::Begun | News::Ledgers(_) | News::Refused(_)) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if !abandoned && self.now() >= deadline {
                abandoned = true;
                let shards: Vec<&str> = self.threads.iter().map(|(folder, _)| folder.as_str()).collect();
                tracing::warn!(
                    shards = shards.join(" "),
                    "the time to drain is over: what is not in S3 yet stays sealed on this disk"
                );
                self.threads.stop_all(StopReason::Abandoned);
            }
        }
        if reason == StopReason::StreamReplaced {
            self.retire_all();
        }
        self.gauges();
    }

    /// Shards that the next generation does not have would show their last numbers for good; it takes up the meters of
    /// those that it has.
    fn retire_all(&self) {
        let old = self.view.old.iter().map(|old| ShardId::new(old.folder.as_str()));
        let all = self.view.census.ids().cloned().chain(old);
        all.for_each(|shard| self.services.meters.retire(&shard));
    }
}
