//! The real keeper on the embedded AWS.
//!
//! Differs from `run` in three things only: fixed credentials, a notifier that prints, a log that is
//! a file beside the archive. All else is what `run` is wired with.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use aws_credential_types::Credentials;
use tokio::runtime::Handle;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::place::Place;
use crate::aws::blocking::Blocking;
use crate::aws::clients::{AwsSettings, Clients};
use crate::aws::proxies::Proxies;
use crate::commands::wiring::{aws_settings, options, services};
use crate::config::Config;
use crate::error::Failure;
use crate::metrics::Registry;
use crate::ports::{Clock, Notifier, ObjectStore};
use crate::stop::{Stop, StopReason};
use crate::supervisor::{Control, End, Services, Supervisor};

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
        let credentials = Some(given.credentials);
        // Its AWS is within this program.
        let proxies = Some(Proxies::default());
        let settings = AwsSettings { credentials, proxies, ..aws_settings(config) };
        let clients =
            Clients::load(given.runtime, &settings).map_err(|error| Failure::failed(error.to_string()))?;
        let blocking = Blocking::new(given.runtime.clone());
        let registry =
            Registry::new(config.stream.name.clone(), config.metrics.per_shard, Arc::clone(&given.clock));
        let real = services(config, &clients, &blocking, given.clock, &registry);
        let services = Services { notifier: Some(given.notifier), ..real };
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
