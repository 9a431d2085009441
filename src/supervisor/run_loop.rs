//! From an empty hand to a stream that is kept: the lock, the stream, its identity; then one
//! generation after the other, a new one whenever the stream was deleted and made again.

use std::io;
use std::time::Duration;

use super::control::{Control, End};
use super::generation::{Ending, Generation, Of};
use super::reminder::Reminder;
use super::{Options, Services};
use crate::error::Failure;
use crate::model::metric::Service;
use crate::model::shard::{StreamDescription, StreamIdentity, StreamStatus};
use crate::ports::{StreamError, StreamErrorKind};
use crate::retry::{Backoff, Pace};
use crate::spool::identity::{Unsettled, settle};
use crate::spool::refusal::{look_for_newer, refusal};
use crate::spool::{Identity, Settled, StateLock, Unlocked};
use crate::stop::Stop;

/// A stream that is not there is looked for this often: it may be made at any moment.
const LOOKING: Pace = Pace { first: Duration::from_millis(500), longest: Duration::from_secs(10) };

/// The least that Kinesis keeps records, until the stream says how long it does.
const SHORTEST_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Keeps one stream.
pub struct Supervisor {
    services: Services,
    options: Options,
}

impl Supervisor {
    /// Nothing is touched yet.
    pub const fn new(services: Services, options: Options) -> Self {
        Self { services, options }
    }

    /// Keeps the stream until `control` asks it to end, or something only the operator can mend
    /// forbids to go on. All threads are joined then.
    pub fn run(&self, control: &Control) -> Result<End, Failure> {
        self.run_beside(control, || ())
    }

    /// As [`Self::run`]; what `beside` gives lives as long as the state directory is ours, and not a moment longer.
    pub fn run_beside<T>(&self, control: &Control, beside: impl FnOnce() -> T) -> Result<End, Failure> {
        let stop = control.token();
        let Services { disk, meters, .. } = &self.services;
        let mut random = fastrand::Rng::with_seed(self.options.seed);
        let Some(_lock) = self.lock(&stop, &mut random)? else {
            return Ok(control.requested().unwrap_or(End::Stopped));
        };
        self.refuse_state()?;
        // Declared after the lock, so that it is dropped before it.
        let _beside = beside();
        let left_over = disk.remove_temporaries().map_err(|error| Failure::failed(error.to_string()))?;
        if left_over > 0 {
            tracing::info!(files = left_over, "removed what interrupted writes had left behind");
        }
        meters.stream_state(Some("waiting for stream".to_owned()));
        while let Some(of) = self.find_stream(&stop, &mut random) {
            let Some(settled) = self.settle(&of.stream, &stop, &mut random)? else { break };
            let generation =
                Generation::new(&self.services, &self.options, control, &stop, of, settled, random.fork());
            match generation.run() {
                Ending::Stopped => break,
                Ending::Replaced => {}
                Ending::Failed(failure) => return Err(failure),
            }
        }
        Ok(control.requested().unwrap_or(End::Stopped))
    }

    /// Takes the state directory, however long there is no room for it; `None` when stopped.
    fn lock(&self, stop: &Stop, random: &mut fastrand::Rng) -> Result<Option<StateLock>, Failure> {
        let mut backoff = Backoff::new(Pace::REMOTE);
        loop {
            let seen = stop.seen();
            match StateLock::acquire(self.services.disk.root()) {
                Ok(lock) => return Ok(Some(lock)),
                Err(Unlocked::Refused(failure)) => return Err(failure),
                Err(Unlocked::Full(error)) => self.no_writes(&error),
            }
            if stop.reason().is_some() {
                return Ok(None);
            }
            stop.wait(seen, backoff.next(random));
        }
    }

    /// Before anything is touched: state of a newer version, or that may not be read. What the disk does not give just now
    /// is asked again by whoever reads it.
    fn refuse_state(&self) -> Result<(), Failure> {
        match look_for_newer(&*self.services.disk) {
            Ok(()) => Ok(()),
            Err(error) => refusal(&error).map_or(Ok(()), Err),
        }
    }

    fn no_writes(&self, error: &io::Error) {
        self.services.meters.error(Service::Disk, "write");
        tracing::error!(%error, "the state directory does not take writes; trying again");
    }

    /// Waits for the stream to be there. If it does not answer and this disk knows it, what is
    /// sealed is delivered meanwhile: the generation looks on.
    fn find_stream(&self, stop: &Stop, random: &mut fastrand::Rng) -> Option<Of> {
        let mut backoff = Backoff::new(LOOKING);
        let mut reminder = Reminder::default();
        loop {
            let seen = stop.seen();
            if stop.reason().is_some() {
                return None;
            }
            match self.services.stream.describe(stop) {
                Ok(served) if is_readable(served.value.status) => return Some(found(served.value)),
                Ok(served) => {
                    self.waiting(&mut reminder, &format!("it is {:?}", served.value.status));
                    // About to go: what is sealed of it can still be delivered.
                    if let Some(known) =
                        self.known_stream().filter(|known| known.stream.is(&served.value.identity))
                    {
                        return Some(known);
                    }
                }
                Err(error) if error.kind == StreamErrorKind::Stopped => {}
                Err(error) => {
                    self.services.meters.error(Service::Kinesis, error.kind.as_str());
                    self.waiting(&mut reminder, &why(&error));
                    if let Some(known) = self.known_stream() {
                        return Some(known);
                    }
                }
            }
            stop.wait(seen, backoff.next(random));
        }
    }

    fn waiting(&self, reminder: &mut Reminder, why: &str) {
        self.services.meters.stream_state(Some(format!("waiting for stream: {why}")));
        if reminder.is_due(why, self.services.clock.monotonic()) {
            tracing::warn!(stream = self.options.stream, why, "waiting for stream");
        }
    }

    /// The stream as this state directory knows it, if it is the configured one.
    fn known_stream(&self) -> Option<Of> {
        let known = Identity::read(&*self.services.disk).ok().flatten()?;
        let configured = known.stream == self.options.stream
            && known.bucket == self.options.bucket
            && known.prefix == self.options.prefix.as_str();
        let stream =
            StreamIdentity { name: known.stream, arn: known.stream_arn, created: known.stream_created };
        configured.then_some(Of { stream, retention: SHORTEST_RETENTION })
    }

    /// Makes the state directory this stream's, however long the disk takes; `None` when stopped.
    fn settle(
        &self,
        stream: &StreamIdentity,
        stop: &Stop,
        random: &mut fastrand::Rng,
    ) -> Result<Option<Settled>, Failure> {
        let Options { bucket, prefix, .. } = &self.options;
        let wanted = Identity::new(stream, bucket, prefix.as_str(), random);
        let mut backoff = Backoff::new(Pace::REMOTE);
        loop {
            let seen = stop.seen();
            match settle(&*self.services.disk, wanted.clone()) {
                Ok(settled) => return Ok(Some(settled)),
                Err(Unsettled::Refused(failure)) => return Err(failure),
                Err(Unsettled::Disk(error)) => self.no_writes(&error),
            }
            if stop.reason().is_some() {
                return Ok(None);
            }
            stop.wait(seen, backoff.next(random));
        }
    }
}

/// Records are read and written in these states.
pub(super) const fn is_readable(status: StreamStatus) -> bool {
    matches!(status, StreamStatus::Active | StreamStatus::Updating)
}

fn found(description: StreamDescription) -> Of {
    let StreamDescription { identity, retention, .. } = description;
    tracing::info!(
        stream = identity.name, arn = identity.arn, created = %identity.created, retention = ?retention,
        "found the stream"
    );
    Of { stream: identity, retention }
}

/// In the operator's words.
pub(super) fn why(error: &StreamError) -> String {
    if error.kind == StreamErrorKind::NotFound { "it does not exist".to_owned() } else { error.to_string() }
}
