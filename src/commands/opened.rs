//! An archive opened by a command that reads it: configuration, store, and a stop at a signal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::run::runtime;
use super::wiring::{aws_settings, polled, store};
use crate::archive::Archive;
use crate::archive::folder::Folder;
use crate::aws::blocking::Blocking;
use crate::aws::clients::Clients;
use crate::aws::kinesis::KinesisStream;
use crate::aws::s3::S3Store;
use crate::config::Config;
use crate::error::Failure;
use crate::model::key::Keys;
use crate::model::timestamp::Timestamp;
use crate::ports::{Clock, ObjectStore};
use crate::spool::LocalDisk;
use crate::stop::Stop;
use crate::supervisor::SystemClock;
use crate::supervisor::signals::{SignalWatch, stop_at_signals};

/// What a command works with; dropped, its I/O ends.
pub(super) struct Opened {
    pub(super) config: Config,
    pub(super) archive: Archive,
    /// The bucket, to be written to, and the stream; not where a copied folder is read.
    pub(super) aws: Option<Aws>,
    /// Stopped by SIGINT and SIGTERM, and when the terminal is closed.
    pub(super) stop: Stop,
    clock: Arc<dyn Clock>,
    dir: Option<PathBuf>,
    _watch: SignalWatch,
    /// Last: whoever holds a connection is gone by then.
    _runtime: Option<Runtime>,
}

/// What only the real archive has.
pub(super) struct Aws {
    pub(super) store: Arc<S3Store>,
    pub(super) stream: KinesisStream,
}

impl Opened {
    /// The archive of this configuration, in its bucket or copied to `dir`.
    pub(super) fn new(config: &Path, dir: Option<&Path>) -> Result<Self, Failure> {
        let config = Config::load(config)?;
        let stop = Stop::new();
        let watch = stop_at_signals(&stop)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let keys = Keys::new(&config.archive.prefix, &config.stream.name);
        let dir = dir.map(full_path).transpose()?;
        let (store, aws, runtime): (Arc<dyn ObjectStore>, _, _) = match &dir {
            Some(dir) => (Arc::new(Folder::new(dir.clone(), Arc::clone(&clock))), None, None),
            None => {
                let runtime = runtime()?;
                let clients = Clients::load(runtime.handle(), &aws_settings(&config))
                    .map_err(|error| Failure::failed(error.to_string()))?;
                let blocking = Blocking::new(runtime.handle().clone());
                let disk = Arc::new(LocalDisk::new(config.disk.state_dir.clone()));
                let store = Arc::new(store(&config, &clients, &blocking, &clock, disk));
                let stream = polled(&config, &clients, &blocking, &clock);
                (store.clone(), Some(Aws { store, stream }), Some(runtime))
            }
        };
        let archive = Archive { store, keys, has_metadata: dir.is_none() };
        Ok(Self { config, archive, aws, stop, clock, dir, _watch: watch, _runtime: runtime })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// So long an object may be on its way after its entry. Whoever else finds the entry completes it after
    /// `max_age`; twice that is generous.
    pub(super) fn on_its_way(&self) -> Duration {
        2 * self.config.batch.limits.max_age + Duration::from_secs(600)
    }

    /// Nothing of what was asked for has a ledger here.
    pub(super) fn no_archive(&self, shard: Option<&str>) -> Failure {
        let of = shard.map_or_else(String::new, |shard| format!(" of {shard}"));
        Failure::failed(format!(
            "there is no archive{of} in {}: no ledger lies under _ledger/ there; look at stream.name, \
             archive.bucket and archive.prefix, or at --dir",
            self.place()
        ))
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

/// The one full path of a folder: what is remembered of an archive must not hold for another one that the
/// same words mean elsewhere.
fn full_path(dir: &Path) -> Result<PathBuf, Failure> {
    let full = dir.canonicalize().ok().filter(|full| full.is_dir());
    full.ok_or_else(|| Failure::usage(format!("--dir {}: there is no such folder", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_name() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(full_path(Path::new(".")).unwrap(), here);
        assert_eq!(full_path(Path::new("src/../src")).unwrap(), here.join("src"));
        for none in ["Cargo.toml", "no/such/folder"] {
            assert!(full_path(Path::new(none)).unwrap_err().message.contains("there is no such folder"));
        }
    }
}
