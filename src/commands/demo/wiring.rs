//! The real keeper on the embedded AWS: supervisor, adapters, state directory and log.
//!
//! Differs from `run` in three things only: fixed credentials, a notifier that prints, a log that is
//! a file beside the archive.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use aws_credential_types::Credentials;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::place::Place;
use crate::aws::blocking::Blocking;
use crate::aws::clients::{AwsSettings, Clients};
use crate::aws::kinesis::{KinesisStream, StreamName};
use crate::aws::s3::{S3Settings, S3Store};
use crate::config::{Config, Start};
use crate::error::Failure;
use crate::ledger::start::ConfiguredStart;
use crate::metrics::Registry;
use crate::model::rules::Rules;
use crate::ports::{Clock, NoProbe, Notifier, ObjectStore};
use crate::shard::setup::Pacing;
use crate::spool::copies::Keep;
use crate::spool::{DiskCheckpoints, LocalDisk};
use crate::stop::{Stop, StopReason};
use crate::supervisor::{Control, DRAIN, End, Options, Services, ShardWorkers, Supervisor};

/// The runtime of the keeper's and the producer's I/O; not the emulators' own.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the I/O threads: {error}")))
}

/// What the keeper is handed beside its configuration.
pub(super) struct Given<'a> {
    pub(super) credentials: Credentials,
    pub(super) runtime: &'a Handle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) notifier: Arc<dyn Notifier>,
    /// Stopped, as abandoned, when the keeper ends without having been asked to.
    pub(super) demo: Stop,
    pub(super) seed: u64,
}

/// A running keeper.
pub(super) struct Keeper {
    control: Control,
    store: Arc<dyn ObjectStore>,
    thread: JoinHandle<Result<End, Failure>>,
}

impl Keeper {
    /// Starts it on a thread of its own.
    pub(super) fn start(config: &Config, given: Given<'_>) -> Result<Self, Failure> {
        let services = services(config, &given)?;
        let store = Arc::clone(&services.store);
        let supervisor = Supervisor::new(services, options(config, given.seed));
        let (control, demo) = (Control::new(), given.demo);
        let own = control.clone();
        let thread = thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || {
                let outcome = supervisor.run(&own);
                if own.requested().is_none() {
                    demo.stop(StopReason::Abandoned);
                }
                outcome
            })
            .map_err(|error| Failure::failed(format!("cannot start the supervisor's thread: {error}")))?;
        Ok(Self { control, store, thread })
    }

    /// The bucket, as the keeper sees it.
    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Every shard seals what it has.
    pub(super) fn seal_now(&self) {
        self.control.seal_now();
    }

    /// A graceful stop; all threads are joined then.
    pub(super) fn stop(self) -> Result<(), Failure> {
        self.control.stop();
        match self.thread.join() {
            Ok(outcome) => outcome.map(|_| ()),
            Err(_) => Err(Failure::failed("the supervisor's thread died")),
        }
    }
}

fn services(config: &Config, given: &Given<'_>) -> Result<Services, Failure> {
    let settings = AwsSettings {
        region: config.aws.region.clone(),
        endpoint_url: config.aws.endpoint_url.clone(),
        credentials: Some(given.credentials.clone()),
        ..AwsSettings::default()
    };
    let clients =
        Clients::load(given.runtime, &settings).map_err(|error| Failure::failed(error.to_string()))?;
    let blocking = Blocking::new(given.runtime.clone());
    let disk = Arc::new(LocalDisk::new(config.disk.state_dir.clone()));
    let clock = Arc::clone(&given.clock);
    let name = StreamName::Name(config.stream.name.clone());
    let stream = KinesisStream::new(&clients, blocking.clone(), Arc::clone(&clock), name);
    let s3 = S3Settings {
        bucket: config.archive.bucket.clone(),
        expected_bucket_owner: None,
        storage_class: None,
        sse_kms_key_id: None,
        object_lock_days: 0,
    };
    let store = S3Store::new(&clients, blocking, Arc::clone(&clock), disk.clone(), s3);
    let registry = Registry::new(config.stream.name.clone(), config.metrics.per_shard, Arc::clone(&clock));
    Ok(Services {
        checkpoints: Arc::new(DiskCheckpoints::new(disk.clone())),
        clock,
        disk,
        stream: Arc::new(stream),
        store: Arc::new(store),
        notifier: Some(Arc::clone(&given.notifier)),
        meters: Arc::new(registry),
        probe: Arc::new(NoProbe),
        workers: Arc::new(ShardWorkers),
    })
}

fn options(config: &Config, seed: u64) -> Options {
    Options {
        stream: config.stream.name.clone(),
        start: match config.stream.start {
            Start::TrimHorizon => ConfiguredStart::TrimHorizon,
            Start::Latest => ConfiguredStart::Latest,
            Start::At(time) => ConfiguredStart::At(time),
        },
        refresh: config.stream.refresh,
        deaggregate: config.stream.deaggregate,
        limits: config.batch.limits,
        memory: config.batch.memory,
        bucket: config.archive.bucket.clone(),
        prefix: config.archive.prefix.clone(),
        layout: config.archive.layout,
        level: config.archive.level,
        keep: Keep { age: config.disk.keep, bytes: config.disk.keep_bytes },
        spool_bytes: config.disk.spool_bytes,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pacing: Pacing::default(),
        rules: Rules::default(),
        drain: DRAIN,
        seed,
    }
}

/// The keeper's log goes to a file, where it does not tear the progress bar.
pub(super) fn log_to_file(place: &Place) -> Result<(), Failure> {
    let path = place.log();
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    let ours =
        Targets::new().with_default(LevelFilter::WARN).with_target("kinesis_keeper", LevelFilter::INFO);
    let log = fmt::layer().with_ansi(false).with_writer(Arc::new(file));
    let subscriber = tracing_subscriber::registry().with(ours).with(log);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| Failure::failed(format!("cannot start the log: {error}")))
}
