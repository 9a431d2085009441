//! The generation's threads: started as planned, and taken note of when they end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Generation;
use crate::model::metric::Service;
use crate::model::shard::{ShardId, StreamIdentity};
use crate::ports::{Disk, ShardState};
use crate::retry::{Backoff, Pace};
use crate::shard::setup::{Mode, Outcome, Ports, Setup};
use crate::spool::OldFolder;
use crate::stop::StopReason;
use crate::supervisor::hours::{HourPorts, HourSettings, HourTeller, HourThread};
use crate::supervisor::plan::{Action, Done, Running, Start};
use crate::supervisor::threads::{Finish, Task, Thread};

/// A thread that dies is started again after about a second, then ever later.
const RESTARTS: Pace = Pace { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// A thread that ran for so long did not die of what it was started with.
const RAN_WELL: Duration = Duration::from_secs(300);

/// Between the starts of two threads: each asks the bucket and the stream where it stands.
const SPREAD: Duration = Duration::from_millis(10);

impl Generation<'_> {
    pub(super) fn finished(&mut self, folder: &str, finish: Finish) {
        let Some(thread) = self.threads.join(folder) else { return };
        let meter = meter_id(folder, &thread.shard.id);
        match finish {
            Finish::Done(Outcome::Ended) => {
                // Also a shard of an earlier stream, of which its end was all that was left to deliver.
                self.shared.board.drained(folder);
                self.view.done.insert(folder.to_owned(), Done::Ended);
                self.services.meters.retire(&meter);
                tracing::info!(shard = folder, "the shard is archived to its end");
            }
            Finish::Done(Outcome::Drained) => {
                self.shared.board.drained(folder);
                self.view.done.insert(folder.to_owned(), Done::Drained);
                self.services.meters.retire(&meter);
                tracing::info!(shard = folder, "all that was sealed is delivered");
            }
            Finish::Done(Outcome::Stopped) => {
                tracing::info!(shard = folder, "the shard has stopped");
                // By itself: nobody asked for it, so it is started again, but not in a hot loop.
                if !thread.stopping {
                    self.retry_later(folder, &thread);
                }
            }
            Finish::Done(Outcome::StreamReplaced) => {
                tracing::info!(shard = folder, "the shard has sealed what it read; the stream is looked at");
                self.look_soon();
                self.retry_later(folder, &thread);
            }
            Finish::NotOpened(error) => {
                self.services.meters.error(Service::Disk, "open");
                tracing::error!(shard = folder, error, "the shard cannot be opened; trying again");
                self.report_stopped(&meter, format!("it cannot be opened: {error}"));
                self.retry_later(folder, &thread);
            }
            Finish::Died(panic) => {
                tracing::error!(shard = folder, panic, "the shard's thread died; it is started again");
                self.services.meters.shard_restarted(&meter);
                self.report_stopped(&meter, format!("its thread died and is started again: {panic}"));
                self.retry_later(folder, &thread);
            }
        }
    }

    /// No thread says how the shard is: it waits to be started again.
    fn report_stopped(&self, meter: &ShardId, why: String) {
        let state = ShardState { activity: "stopped", troubles: vec![why], ..ShardState::default() };
        self.services.meters.shard(meter).state(state);
    }

    fn retry_later(&mut self, folder: &str, thread: &Thread) {
        let now = self.now();
        let backoff = self.failures.entry(folder.to_owned()).or_insert(Backoff::new(RESTARTS));
        if now.saturating_sub(thread.started) >= RAN_WELL {
            backoff.reset();
        }
        let wait = backoff.next(&mut self.random);
        self.view.retry_at.insert(folder.to_owned(), now + wait);
    }

    /// Carries out what is planned, and says when to plan again.
    pub(super) fn act(&mut self) -> Option<Duration> {
        let running = |thread: &Thread| Running { mode: thread.mode, stopping: thread.stopping };
        self.view.running =
            self.threads.iter().map(|(folder, thread)| (folder.clone(), running(thread))).collect();
        let now = self.now();
        let plan = self.view.plan(now);
        let mut retry_at = plan.retry_at;
        let mut delay = Duration::ZERO;
        for action in plan.actions {
            match action {
                Action::Stop(folder) => {
                    tracing::info!(shard = folder, "stopping the shard: something else is to be done for it");
                    self.threads.stop(&folder, StopReason::Requested);
                }
                Action::Start(start) => {
                    let (folder, meter) = (start.folder.clone(), meter_id(&start.folder, &start.shard.id));
                    if let Err(error) = self.start(start, delay, now) {
                        tracing::error!(shard = folder, %error, "the system gives no thread for the shard");
                        self.report_stopped(&meter, format!("the system gives no thread for it: {error}"));
                        let at = now + RESTARTS.longest;
                        self.view.retry_at.insert(folder, at);
                        retry_at = Some(retry_at.map_or(at, |earlier| earlier.min(at)));
                    }
                    delay += SPREAD;
                }
            }
        }
        retry_at
    }

    /// Starts the thread that tells the hours.
    pub(super) fn tell_hours(&mut self) -> io::Result<HourThread> {
        let (meters, told) = (Arc::clone(&self.services.meters), Arc::clone(&self.services.meters));
        let ports = HourPorts {
            clock: Arc::clone(&self.services.clock),
            store: Arc::clone(&self.services.store),
            disk: Arc::clone(&self.services.disk) as Arc<dyn Disk>,
            notifier: self.services.notifier.clone(),
            errors: Arc::new(move |service, kind| meters.error(service, kind)),
            waiting: Arc::new(move |notices, trouble| told.hour_notices(notices, trouble)),
        };
        let settings = HourSettings {
            stream: self.stream.clone(),
            bucket: self.settings.bucket.clone(),
            keys: self.settings.keys.clone(),
            layout: self.settings.layout,
            rules: self.settings.rules,
        };
        let (shared, mut random) = (Arc::clone(&self.shared), self.random.fork());
        HourThread::start(move |stop| {
            HourTeller::new(ports.clone(), settings.clone(), Arc::clone(&shared), stop, random.fork())
        })
    }

    fn start(&mut self, start: Start, delay: Duration, now: Duration) -> io::Result<()> {
        let Start { folder, shard, old, mode } = start;
        self.view.retry_at.remove(&folder);
        if mode == Mode::Read {
            // What it seals from now on is to be delivered again, should the stream go away.
            self.view.done.remove(&folder);
        }
        let created = old.as_ref().map_or(self.stream.created, |old: &OldFolder| old.created);
        let services = self.services;
        let ports = Ports {
            clock: Arc::clone(&services.clock),
            cores: Arc::clone(&services.cores),
            stream: Arc::clone(&services.stream),
            store: Arc::clone(&services.store),
            disk: Arc::clone(&services.disk) as Arc<dyn Disk>,
            checkpoints: Arc::clone(&services.checkpoints),
            notifier: services.notifier.clone(),
            meter: services.meters.shard(&meter_id(&folder, &shard.id)),
            probe: Arc::clone(&services.probe),
        };
        tracing::info!(shard = folder, mode = ?mode, closed = shard.closed, "the shard is started");
        let stream = StreamIdentity { created, ..self.stream.clone() };
        let task = Task {
            workers: Arc::clone(&services.workers),
            setup: Setup { stream, shard, mode, folder, settings: self.settings.clone() },
            ports,
            shared: Arc::clone(&self.shared),
            random: self.random.fork(),
            delay,
            now,
        };
        self.threads.start(task, self.reporter.clone())
    }
}

/// An earlier creation's shard has the same id as today's: its numbers are its folder's.
fn meter_id(folder: &str, shard: &ShardId) -> ShardId {
    if folder == shard.as_str() { shard.clone() } else { ShardId::new(folder) }
}
