//! What the service manager (systemd) is told: ready, reloading, stopping, what is going on, and that
//! there is progress.
//!
//! Owns when each of them is said, and the thread that says it. Progress is judged by `metrics`, as for
//! `/healthz`; without a service manager nothing of this runs.

mod socket;
#[cfg(test)]
mod tests;

use std::env;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use self::socket::NotifySocket;
use crate::error::Failure;
use crate::metrics::Registry;
use crate::metrics::health::Health;
use crate::ports::Clock;
use crate::stop::{Stop, StopReason};

/// How often it is looked whether there is something to say.
const LOOK: Duration = Duration::from_millis(500);

/// Takes messages in the words of sd_notify(3); never blocks.
pub(super) trait Manager: Send {
    /// Sends lines of `NAME=value`.
    fn tell(&self, message: &str) -> io::Result<()>;
}

/// The service manager, if one started us; clones speak to the same one.
#[derive(Clone)]
pub(super) struct Service {
    telling: Option<Arc<Mutex<Telling>>>,
}

/// Tells as long as it lives.
pub(super) struct Teller {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

/// What was said, and what follows from it.
struct Telling {
    manager: Box<dyn Manager>,
    clock: Arc<dyn Clock>,
    /// How often the watchdog is fed; `None`: there is none.
    feed_every: Option<Duration>,
    phase: Phase,
    registry: Option<Registry>,
    fed_at: Option<Duration>,
    status: String,
    stuck: bool,
    refused: bool,
}

/// ```text
/// Starting ──stream reached──▶ Ready ──SIGHUP──▶ Reloading ──new run──▶ Starting
///     any of them ──SIGTERM──▶ Stopping
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The stream was not reached yet.
    Starting,
    /// The stream was reached.
    Ready,
    /// The old run ends; what it says of the stream is not readiness.
    Reloading,
    /// Asked to end.
    Stopping,
}

impl Service {
    /// Finds the service manager in the environment. One that cannot be spoken to is a failure: it
    /// would wait for us in vain.
    pub(super) fn find(clock: Arc<dyn Clock>) -> Result<(Self, Option<Teller>), Failure> {
        let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Ok((Self { telling: None }, None));
        };
        let manager = NotifySocket::new(&address).map_err(|error| {
            Failure::failed(format!("cannot reach the service manager at {}: {error}", address.display()))
        })?;
        let usec = env::var("WATCHDOG_USEC").ok();
        let of = env::var("WATCHDOG_PID").ok();
        let feed_every = feed_every(usec.as_deref(), of.as_deref(), std::process::id());
        Self::start(Box::new(manager), feed_every, clock)
    }

    fn start(
        manager: Box<dyn Manager>,
        feed_every: Option<Duration>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Option<Teller>), Failure> {
        let telling = Telling::new(manager, feed_every, clock);
        let service = Self { telling: Some(Arc::new(Mutex::new(telling))) };
        let stop = Stop::new();
        let (own, ended) = (service.clone(), stop.clone());
        let look = feed_every.map_or(LOOK, |every| every.min(LOOK));
        let thread = thread::Builder::new()
            .name("notify".to_owned())
            .spawn(move || {
                while ended.reason().is_none() {
                    let seen = ended.seen();
                    own.with(Telling::look);
                    ended.wait(seen, look);
                }
            })
            .map_err(|error| Failure::failed(format!("cannot start the notify thread: {error}")))?;
        Ok((service, Some(Teller { stop, thread: Some(thread) })))
    }

    fn with(&self, what: impl FnOnce(&mut Telling)) {
        if let Some(telling) = &self.telling {
            let mut telling: MutexGuard<'_, Telling> = telling.lock().unwrap_or_else(PoisonError::into_inner);
            what(&mut telling);
        }
    }

    /// A run begins: ready once its stream was reached.
    pub(super) fn follow(&self, registry: &Registry) {
        self.with(|telling| telling.follow(registry.clone()));
    }

    /// The file was read again and is good; all starts anew.
    pub(super) fn reloading(&self) {
        self.with(Telling::reloading);
    }

    /// All starts with a file that was read again: none is refused any more.
    pub(super) fn taken(&self) {
        self.with(|telling| telling.refused = false);
    }

    /// The file was read again and is refused, or could not be kept; the old one goes on.
    pub(super) fn refused(&self) {
        self.with(Telling::refused);
    }

    /// Asked to end.
    pub(super) fn stopping(&self) {
        self.with(Telling::stopping);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.stop.stop(StopReason::Requested);
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed; nothing is left to be done about it.
            let _ = thread.join();
        }
    }
}

/// A third of the time after which the manager gives up; `None` where it does not watch this process.
fn feed_every(usec: Option<&str>, of: Option<&str>, own: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let ours = of.is_none_or(|of| of.parse() == Ok(own));
    ours.then(|| Duration::from_micros(usec) / 3)
}

impl Telling {
    fn new(manager: Box<dyn Manager>, feed_every: Option<Duration>, clock: Arc<dyn Clock>) -> Self {
        Self {
            manager,
            clock,
            feed_every,
            phase: Phase::Starting,
            registry: None,
            fed_at: None,
            status: String::new(),
            stuck: false,
            refused: false,
        }
    }

    fn follow(&mut self, registry: Registry) {
        self.registry = Some(registry);
        if self.phase == Phase::Reloading {
            self.phase = Phase::Starting;
        }
        self.look();
    }

    fn reloading(&mut self) {
        // A manager that waits for the first READY=1 knows of no reload.
        if self.phase == Phase::Ready {
            self.phase = Phase::Reloading;
            let now = clock_gettime(ClockId::Monotonic);
            let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
            // That line takes the place of what was said before, which is news again then.
            self.status.clear();
            self.say(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=reading the file again\n"));
        }
    }

    fn refused(&mut self) {
        self.refused = true;
        self.look();
    }

    fn stopping(&mut self) {
        if self.phase != Phase::Stopping {
            self.phase = Phase::Stopping;
            self.say("STOPPING=1\nSTATUS=sealing and archiving what was read\n");
        }
    }

    /// Says what there is to say now.
    fn look(&mut self) {
        let Some(registry) = &self.registry else { return };
        let (health, reached) = (registry.health(), registry.is_stream_reached());
        let mut message = String::new();
        if self.phase == Phase::Starting && reached {
            self.phase = Phase::Ready;
            message.push_str("READY=1\n");
        }
        let status = status(registry, &health, self.refused);
        if status != self.status && matches!(self.phase, Phase::Starting | Phase::Ready) {
            // Writing to a String cannot fail.
            let _ = writeln!(message, "STATUS={status}");
            self.status = status;
        }
        if self.is_hungry() && !self.starve(&health) {
            self.fed_at = Some(self.clock.monotonic());
            message.push_str("WATCHDOG=1\n");
        }
        if !message.is_empty() {
            self.say(&message);
        }
    }

    fn is_hungry(&self) -> bool {
        let now = self.clock.monotonic();
        self.feed_every.is_some_and(|every| self.fed_at.is_none_or(|at| now >= at + every))
    }

    /// Whether the watchdog must not be fed: a restart mends what hangs, and nothing else.
    fn starve(&mut self, health: &Health) -> bool {
        if health.stuck && !self.stuck {
            tracing::error!(
                reasons = health.reasons.join("; "),
                "no progress: unless it goes on, the service manager will restart this process"
            );
        }
        self.stuck = health.stuck;
        health.stuck
    }

    fn say(&mut self, message: &str) {
        if let Err(error) = self.manager.tell(message) {
            // It is said again only where it is news: a manager that was full is fed soon again.
            tracing::debug!(%error, message, "the service manager did not take a message");
        }
    }
}

/// One line for `systemctl status`.
fn status(registry: &Registry, health: &Health, refused: bool) -> String {
    let troubles = health.reasons.len() + health.troubles.len();
    let mut text = match health.reasons.iter().chain(&health.troubles).next() {
        None => format!("archiving {}", registry.stream()),
        Some(first) if troubles == 1 => first.clone(),
        Some(first) => format!("{first} (and {} more)", troubles - 1),
    };
    if refused {
        text.insert_str(0, "the changed file was refused, see the log; ");
    }
    // A service's message may hold line feeds; here each line is a message of its own.
    text.replace(char::is_control, " ")
}
