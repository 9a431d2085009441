//! `run CONFIG`: the archiver, in the foreground.
//!
//! Owns what is started around the supervisor and the order in which it ends, and the reload. What the
//! service manager is told of it is in `service`.

use std::mem;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::service::Service;
use super::status::is_of;
use super::wiring::{aws_settings, options, services};
use crate::aws::blocking::Blocking;
use crate::aws::clients::Clients;
use crate::aws::cloudwatch::{CloudWatch, CloudWatchSink};
use crate::config::{Config, HostPort};
use crate::error::Failure;
use crate::logging;
use crate::metrics::pusher::EVERY;
use crate::metrics::{Pusher, Registry, Server, Statsd, serve, serve_locally};
use crate::ports::{Clock, MetricSink};
use crate::spool::refusal::newer;
use crate::spool::{Identity, LocalDisk, StateLock, Unlocked};
use crate::stop::{Stop, StopReason};
use crate::supervisor::signals::{Asked, OF_A_KEEPER, SignalWatch, watch};
use crate::supervisor::{Control, End, Supervisor, SystemClock};

/// How long the last push of the metrics may take after the shards have ended.
const LAST_PUSH: Duration = Duration::from_secs(3);

/// What the runtime still does then (a name look-up) is not waited for longer.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// Archives the stream of a configuration file until a signal ends it.
pub fn run(path: &Path) -> Result<(), Failure> {
    let control = Control::new();
    let (service, _teller) = Service::find(Arc::new(SystemClock::new()))?;
    // Before all else: a signal that comes while things start is a signal, too.
    let (reload, _watch) = Reload::watch(path, &control, &service)?;
    let config = Config::load(path)?;
    logging::start(&config.log)?;
    let runtime = runtime()?;
    let outcome = keep_until_stopped(config, runtime.handle(), &control, &reload);
    runtime.shutdown_timeout(RUNTIME_END);
    outcome
}

/// The runtime of all I/O to AWS.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let threads = available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the I/O threads: {error}")))
}

/// A file that was checked, with clients as it wants them.
struct Prepared {
    config: Config,
    clients: Clients,
}

impl Prepared {
    fn new(config: Config, handle: &Handle) -> Result<Self, Failure> {
        let clients = Clients::load(handle, &aws_settings(&config))
            .map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { config, clients })
    }
}

fn keep_until_stopped(
    config: Config,
    handle: &Handle,
    control: &Control,
    reload: &Reload,
) -> Result<(), Failure> {
    let mut current = Prepared::new(config, handle)?;
    reload.allow(handle, control);
    // What was kept before the last reload, and can be kept again.
    let mut before: Option<Prepared> = None;
    loop {
        if let Some(new) = reload.take(control) {
            log_as(&new.config);
            tracing::info!("starting anew with the file as it is now");
            before = Some(mem::replace(&mut current, new));
        }
        match keep(&current, handle, control, &reload.service) {
            Ok(End::Stopped) => return Ok(()),
            Ok(End::Reload) => {}
            Err(failure) => {
                // A port that is taken, a state directory that is another's, a prefix that holds another
                // stream: only who tries finds out, and by then the old run has ended.
                let Some(old) = before.take() else { return Err(failure) };
                current = old;
                log_as(&current.config);
                let file = reload.path.display();
                tracing::error!(%file, problem = %failure, "the new settings cannot be kept; starting again with the old ones");
                reload.service.refused();
            }
        }
    }
}

fn log_as(config: &Config) {
    if let Err(failure) = logging::start(&config.log) {
        tracing::error!(%failure, "the log stays as it is");
    }
}

/// SIGHUP: the file is read again; clones share what they found.
#[derive(Clone)]
struct Reload {
    path: PathBuf,
    service: Service,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Set once the file was read for the first time.
    handle: Option<Handle>,
    /// Asked before that.
    early: bool,
    next: Option<Prepared>,
}

impl Reload {
    fn new(path: &Path, service: &Service) -> Self {
        Self { path: path.to_owned(), service: service.clone(), state: Arc::default() }
    }

    /// Translates signals from now on.
    fn watch(path: &Path, control: &Control, service: &Service) -> Result<(Self, SignalWatch), Failure> {
        let reload = Self::new(path, service);
        let (own, control) = (reload.clone(), control.clone());
        let watch = watch(OF_A_KEEPER, move |asked| match asked {
            Asked::Stop => {
                tracing::info!("asked to stop; a second signal ends the process at once");
                own.service.stopping();
                control.stop();
            }
            Asked::Reload => own.try_file(&control),
            Asked::Seal => control.seal_now(),
        })?;
        Ok((reload, watch))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file was read once: from now on it can be read again, and is if that was asked meanwhile. It
    /// may have changed after it was read.
    fn allow(&self, handle: &Handle, control: &Control) {
        let early = {
            let mut state = self.state();
            state.handle = Some(handle.clone());
            mem::take(&mut state.early)
        };
        if early {
            self.try_file(control);
        }
    }

    /// Checks the file before anything is stopped for it.
    fn try_file(&self, control: &Control) {
        // Held while the file is read, so that what was read last is what is taken.
        let mut state = self.state();
        let Some(handle) = &state.handle else {
            state.early = true;
            return;
        };
        match self.check(handle) {
            Ok(prepared) => {
                tracing::info!(file = %self.path.display(), "asked to read the file again; stopping first");
                self.service.reloading();
                state.next = Some(prepared);
                control.reload();
            }
            Err(failure) => {
                let file = self.path.display();
                tracing::error!(%file, problem = %failure, "the new file is refused; the old one goes on");
                self.service.refused();
            }
        }
    }

    fn check(&self, handle: &Handle) -> Result<Prepared, Failure> {
        let config = Config::load(&self.path)?;
        refuse_others_state(&config)?;
        Prepared::new(config, handle)
    }

    /// What is to be kept next, if that was asked. The request is over with it, at once: whoever asks
    /// from now on asks the run that begins.
    fn take(&self, control: &Control) -> Option<Prepared> {
        let mut state = self.state();
        control.anew();
        let next = state.next.take()?;
        self.service.taken();
        Some(next)
    }
}

/// Refuses a state directory that is known to be a newer version's, or another stream's, bucket's or prefix's, so that
/// nothing is stopped for it. What cannot be read now is found out at the start.
fn refuse_others_state(config: &Config) -> Result<(), Failure> {
    let disk = LocalDisk::new(config.disk.state_dir.clone());
    match Identity::read(&disk) {
        Ok(Some(known)) if !is_of(config, &known) => Err(Failure::failed(format!(
            "the state directory holds the state of {} in s3://{}/{}, not of {} in s3://{}/{}\n\
             set disk.state_dir to a directory of its own for each stream, bucket and prefix",
            known.stream_arn,
            known.bucket,
            known.prefix,
            config.stream.name,
            config.archive.bucket,
            config.archive.prefix.as_str()
        ))),
        Ok(_) => Ok(()),
        Err(error) => newer(&error).map_or(Ok(()), Err),
    }
}

/// Keeps the stream until it is asked to end; everything that was started has ended then.
fn keep(prepared: &Prepared, handle: &Handle, control: &Control, service: &Service) -> Result<End, Failure> {
    let Prepared { config, clients } = prepared;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        stream = config.stream.name,
        bucket = config.archive.bucket,
        state_dir = %config.disk.state_dir.display(),
        "kinesis-keeper starts"
    );
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let registry = Registry::new(config.stream.name.clone(), config.metrics.per_shard, Arc::clone(&clock));
    registry.set_archive(&config.archive.bucket, config.archive.prefix.as_str());
    let blocking = Blocking::new(handle.clone());
    // Whose state is in use by another process, or another stream's, is to hear of that: not of the other's metrics
    // port, nor that the stream is waited for.
    let lock = StateLock::acquire(&config.disk.state_dir);
    if let Err(Unlocked::Refused(failure)) = lock {
        return Err(failure);
    }
    refuse_others_state(config)?;
    // The supervisor takes it for as long as it works there.
    drop(lock);
    let publishing = Publishing::start(prepared, &registry, &blocking, &clock, handle)?;
    service.follow(&registry);
    let services = services(config, clients, &blocking, clock, &registry);
    let supervisor = Supervisor::new(services, options(config, fastrand::Rng::new().u64(..)));
    let beside = || serve_locally(&config.disk.state_dir, registry.clone(), handle);
    let outcome = supervisor.run_beside(control, beside);
    publishing.end();
    if let Ok(end) = outcome {
        tracing::info!(end = ?end, "kinesis-keeper has stopped");
    }
    outcome
}

/// Who gets the numbers; ends after the supervisor, so that the last of them are published.
struct Publishing {
    stop: Stop,
    server: Option<Server>,
    pusher: Pusher,
}

impl Publishing {
    fn start(
        prepared: &Prepared,
        registry: &Registry,
        blocking: &Blocking,
        clock: &Arc<dyn Clock>,
        handle: &Handle,
    ) -> Result<Self, Failure> {
        let Prepared { config, clients } = prepared;
        let (metrics, stream) = (&config.metrics, &config.stream.name);
        let stop = Stop::new();
        let server = match &metrics.http {
            None => None,
            Some(place) => Some(serve(address(place)?, registry.clone(), handle, stop.clone())?),
        };
        let mut sinks: Vec<Arc<dyn MetricSink>> = Vec::new();
        if let Some(namespace) = &metrics.cloudwatch_namespace {
            let cloudwatch = CloudWatch::new(clients, blocking.clone());
            let (clock, namespace) = (Arc::clone(clock), namespace.clone());
            sinks.push(Arc::new(CloudWatchSink::new(cloudwatch, clock, namespace, stream.clone())));
        }
        if let Some(statsd) = &metrics.statsd {
            sinks.push(Arc::new(Statsd::new(statsd.to_string(), stream.clone())));
        }
        let pusher = Pusher::start(registry, sinks, EVERY, &stop)?;
        Ok(Self { stop, server, pusher })
    }

    fn end(self) {
        self.stop.stop(StopReason::Requested);
        self.pusher.join(LAST_PUSH);
        if let Some(server) = self.server {
            server.join();
        }
    }
}

fn address(place: &HostPort) -> Result<SocketAddr, Failure> {
    let hint = "give metrics.http an address of this machine, such as 127.0.0.1:9464";
    let found = (place.host(), place.port()).to_socket_addrs();
    let mut found = found
        .map_err(|error| Failure::failed(format!("cannot serve metrics on {place}: {error}; {hint}")))?;
    let found = found.next().ok_or_else(|| Failure::failed(format!("{place} is no address; {hint}")))?;
    if !found.ip().is_loopback() {
        tracing::warn!(%place, "the status page and the metrics can be read by whoever reaches this address");
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
