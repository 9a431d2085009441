//! An archive opened by a command that reads it: configuration, store, and a stop at a signal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::run::runtime;
use super::wiring::{aws_settings, store};
use crate::archive::Archive;
use crate::archive::folder::Folder;
use crate::aws::blocking::Blocking;
use crate::aws::clients::Clients;
use crate::config::Config;
use crate::error::Failure;
use crate::model::key::Keys;
use crate::model::timestamp::Timestamp;
use crate::ports::{Clock, ObjectStore};
use crate::spool::LocalDisk;
use crate::stop::{Stop, StopReason};
use crate::supervisor::SystemClock;
use crate::supervisor::signals::{Asked, SignalWatch, watch};

/// What a command works with; dropped, its I/O ends.
pub(super) struct Opened {
    pub(super) config: Config,
    pub(super) archive: Archive,
    /// Stopped by SIGINT and SIGTERM.
    pub(super) stop: Stop,
    clock: Arc<dyn Clock>,
    dir: Option<PathBuf>,
    _watch: SignalWatch,
    /// Last: whoever holds a connection is gone by then.
    _runtime: Option<Runtime>,
}

impl Opened {
    /// The archive of this configuration, in its bucket or copied to `dir`.
    pub(super) fn new(config: &Path, dir: Option<&Path>) -> Result<Self, Failure> {
        let config = Config::load(config)?;
        let stop = Stop::new();
        let stopped = stop.clone();
        let watch = watch(move |asked| {
            if asked == Asked::Stop {
                stopped.stop(StopReason::Requested);
            }
        })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let keys = Keys::new(&config.archive.prefix, &config.stream.name);
        let (store, runtime): (Arc<dyn ObjectStore>, _) = match dir {
            Some(dir) if dir.is_dir() => (Arc::new(Folder::new(dir.to_owned(), Arc::clone(&clock))), None),
            Some(dir) => {
                return Err(Failure::usage(format!("--dir {}: there is no such folder", dir.display())));
            }
            None => {
                let runtime = runtime()?;
                let clients = Clients::load(runtime.handle(), &aws_settings(&config))
                    .map_err(|error| Failure::failed(error.to_string()))?;
                let blocking = Blocking::new(runtime.handle().clone());
                let disk = Arc::new(LocalDisk::new(config.disk.state_dir.clone()));
                (Arc::new(store(&config, &clients, &blocking, &clock, disk)), Some(runtime))
            }
        };
        let archive = Archive { store, keys, has_metadata: dir.is_none() };
        Ok(Self {
            config,
            archive,
            stop,
            clock,
            dir: dir.map(Path::to_owned),
            _watch: watch,
            _runtime: runtime,
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where the archive is, for people.
    pub(super) fn place(&self) -> String {
        let root = self.archive.keys.root();
        match &self.dir {
            Some(dir) => dir.join(root).display().to_string(),
            None => format!("s3://{}/{root}", self.config.archive.bucket),
        }
    }
}
