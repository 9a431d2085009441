//! Pushes the numbers to every sink once a minute, and once more at the end.
//!
//! Owns a thread a sink, so that one that is away slows neither the archiver nor another sink, and
//! what each sink has taken so far.
//!
//! A push may fail although the sink took it (an answer that was lost). Its deltas are sent again
//! all the same: a count that is too high for a minute is found out, a gap that was never reported
//! is not.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Registry;
use super::families::Family;
use super::snapshot::Standing;
use super::uploads::Uploads;
use crate::error::Failure;
use crate::model::metric::{Labels, Number, Value};
use crate::model::shard::ShardId;
use crate::ports::{Clock, MetricSink, PushError};
use crate::stop::{Stop, StopReason};

/// How often the numbers are pushed: CloudWatch keeps them by the minute.
pub const EVERY: Duration = Duration::from_secs(60);

/// A sink that stays away is named in the log this often.
const WARN_EVERY: Duration = Duration::from_secs(600);

/// How long a push that was interrupted may take to notice it.
const NOTICE: Duration = Duration::from_secs(2);

/// The running threads.
pub struct Pusher {
    threads: Vec<Thread>,
    clock: Arc<dyn Clock>,
    /// What the pushes watch: they go on after a stop, until the time for the last one is over.
    interrupt: Stop,
}

struct Thread {
    sink: &'static str,
    handle: JoinHandle<()>,
    /// Closed when the thread ends.
    ended: Receiver<()>,
}

impl Pusher {
    /// Pushes `every` so often until `stop`, and once more then: `stop` is the one that ends last,
    /// or the last push misses what happened while the archiver drained.
    pub fn start(
        registry: &Registry,
        sinks: Vec<Arc<dyn MetricSink>>,
        every: Duration,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let mut pusher = Self { threads: Vec::new(), clock: registry.clock(), interrupt: Stop::new() };
        for sink in sinks {
            let name = sink.name();
            let mut feed = Feed::new(registry.clone(), sink);
            let (stop, interrupt) = (stop.clone(), pusher.interrupt.clone());
            let (ends, ended) = channel();
            let handle = thread::Builder::new()
                .name(format!("metrics-{name}"))
                .spawn(move || {
                    feed.run(every, &stop, &interrupt);
                    drop(ends);
                })
                .map_err(|error| Failure::failed(format!("cannot start the {name} thread: {error}")))?;
            pusher.threads.push(Thread { sink: name, handle, ended });
        }
        Ok(pusher)
    }

    /// After a stop: waits for the last push, but not longer than `within`.
    pub fn join(self, within: Duration) {
        let until = self.clock.monotonic() + within;
        for thread in self.threads {
            if thread.outlasts(until.saturating_sub(self.clock.monotonic())) {
                self.interrupt.stop(StopReason::Abandoned);
                if thread.outlasts(NOTICE) {
                    // It hangs in a call that has no deadline, such as a name look-up; the process
                    // does not wait for it.
                    tracing::warn!(sink = thread.sink, "the last push of the metrics does not end");
                    continue;
                }
            }
            // A panic inside a push was caught and counted; there is no other result.
            let _ = thread.handle.join();
        }
    }
}

impl Thread {
    fn outlasts(&self, wait: Duration) -> bool {
        matches!(self.ended.recv_timeout(wait), Err(std::sync::mpsc::RecvTimeoutError::Timeout))
    }
}

/// Which number of which shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Series {
    name: &'static str,
    shard: Option<ShardId>,
    labels: Labels,
}

/// What a sink has taken of a series, counted from the start of the process.
#[derive(Clone, Debug)]
enum Taken {
    Count(u64),
    Uploads(Uploads),
}

/// A series as it stands now.
struct Offer {
    series: Series,
    standing: Option<Taken>,
    /// Its place among the numbers that are pushed, if there is anything to push.
    offered: Option<usize>,
}

/// One sink and what it has taken.
struct Feed {
    registry: Registry,
    sink: Arc<dyn MetricSink>,
    taken: HashMap<Series, Taken>,
    /// When the log was last told that it is away, on the monotonic clock.
    warned: Option<Duration>,
    /// The log says that it is away, and not yet that it is back.
    told: bool,
}

impl Feed {
    fn new(registry: Registry, sink: Arc<dyn MetricSink>) -> Self {
        Self { registry, sink, taken: HashMap::new(), warned: None, told: false }
    }

    fn run(&mut self, every: Duration, stop: &Stop, interrupt: &Stop) {
        let mut due = self.registry.clock().monotonic() + every;
        loop {
            let seen = stop.seen();
            if stop.reason().is_some() {
                break;
            }
            let left = due.saturating_sub(self.registry.clock().monotonic());
            if left.is_zero() {
                self.push(interrupt);
                due = self.registry.clock().monotonic() + every;
            } else {
                stop.wait(seen, left);
            }
        }
        self.push(interrupt);
    }

    fn push(&mut self, interrupt: &Stop) {
        let snapshot = self.registry.snapshot();
        let mut numbers = Vec::new();
        let mut offers = Vec::new();
        for (family, readings) in snapshot.families(self.sink.shape()) {
            for reading in readings {
                let series = Series {
                    name: family.open_metrics,
                    shard: reading.shard.cloned(),
                    labels: reading.labels,
                };
                let (value, standing) = since(self.taken.get(&series), reading.value);
                let offered = value.map(|value| {
                    numbers.push(number(family, &series, value));
                    numbers.len() - 1
                });
                offers.push(Offer { series, standing, offered });
            }
        }
        let sink = &self.sink;
        let pushed = catch_unwind(AssertUnwindSafe(|| sink.push(&numbers, interrupt)));
        let pushed = pushed.unwrap_or_else(|_| {
            Err(PushError { kind: "panic", taken: 0, message: "the sink panicked".to_owned() })
        });
        self.remember(offers, pushed.as_ref().map_or_else(|error| error.taken, |()| numbers.len()));
        self.report(pushed.err());
    }

    /// The first `taken` numbers were taken; of the others the sink has what it had. Series that
    /// are gone are forgotten.
    fn remember(&mut self, offers: Vec<Offer>, taken: usize) {
        let mut had = std::mem::take(&mut self.taken);
        for Offer { series, standing, offered } in offers {
            let before = had.remove(&series);
            let has = if offered.is_some_and(|at| at < taken) { standing } else { before };
            if let Some(has) = has {
                self.taken.insert(series, has);
            }
        }
    }

    fn report(&mut self, error: Option<PushError>) {
        let sink = self.sink.name();
        let Some(error) = error else {
            if std::mem::take(&mut self.told) {
                tracing::info!(sink, "metrics are taken again");
            }
            return;
        };
        self.registry.failed(sink, error.kind);
        let now = self.registry.clock().monotonic();
        if self.warned.is_none_or(|at| now.saturating_sub(at) >= WARN_EVERY) {
            self.warned = Some(now);
            self.told = true;
            tracing::warn!(sink, kind = error.kind, %error, "metrics were not taken; they are sent again");
        }
    }
}

/// What is new about a number since the sink took it last (nothing, where a distribution has no new
/// values), and what the sink will have taken then.
fn since(then: Option<&Taken>, now: Standing<'_>) -> (Option<Value>, Option<Taken>) {
    match now {
        Standing::Gauge(value) => (Some(Value::Gauge(value)), None),
        Standing::Count(now) => {
            let then = if let Some(Taken::Count(then)) = then { *then } else { 0 };
            (Some(Value::Delta(now.saturating_sub(then))), Some(Taken::Count(now)))
        }
        Standing::Uploads(now) => {
            let values = if let Some(Taken::Uploads(then)) = then {
                now.since(then)
            } else {
                now.since(&Uploads::default())
            };
            let new = (!values.is_empty()).then_some(Value::Distribution(values));
            (new, Some(Taken::Uploads(now.clone())))
        }
    }
}

fn number(family: &Family, series: &Series, value: Value) -> Number {
    Number {
        cloudwatch: family.cloudwatch,
        open_metrics: family.open_metrics,
        unit: family.unit,
        shard: series.shard.clone(),
        labels: series.labels.clone(),
        value,
    }
}

#[cfg(test)]
mod tests;
