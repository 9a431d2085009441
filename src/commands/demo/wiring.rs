//! The real keeper on the embedded AWS: supervisor, adapters, state directory, log, as `run` has them.
//!
//! Differs from `run` in two things only: fixed credentials, and a notifier that prints.

use std::fs::File;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use aws_credential_types::Credentials;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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
use crate::supervisor::{Control, DRAIN, End, Options, Services, Supervisor};

/// The runtime of the keeper's and the producer's I/O; not the emulators' own.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the I/O threads: {error}")))
}
