//! The state directory, and the checkpoints in it or elsewhere.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::model::checkpoint::Checkpoint;
use crate::model::timestamp::Timestamp;

/// A file of the [`Disk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name within the folder.
    pub name: String,
    /// Its length in bytes; 0 for a folder.
    pub len: u64,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// When it was last written.
    pub modified: Timestamp,
}

/// The state directory. Paths are relative to it; folders come into being as needed.
pub trait Disk: Send + Sync {
    /// A whole file; `None` where nothing is.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// A file as a stream; `None` where nothing is.
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Read + Send>>>;

    /// Writes a file whole and durably: temporary name, fsync, rename, fsync of the folder. On an
    /// error nothing, or the whole file, is there.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()>;

    /// Writes parts from byte `at` of a file on, in place of whatever lies there and behind it. Not durable,
    /// and on an error any part of it may be there: try again from the same byte, or begin anew at 0.
    /// `NotFound` if the file does not reach to `at`.
    fn write_at(&self, path: &Path, at: u64, parts: &[&[u8]]) -> io::Result<()>;

    /// Gives a file that [`Self::write_at`] wrote its final name, durably: fsync, rename, fsync of the folder.
    /// Fine if only the last was left to do since an earlier try. `NotFound` if there is neither, and where the fsync
    /// failed: then nobody knows what of the file is on the disk, and it is removed.
    fn persist(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Moves a file durably, over whatever is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes `to` a second name of `from` (or a copy where the disk has no links), over whatever is there.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; fine if nothing is there.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder that is empty; fine if it is not, or not there. (A disk that knows folders
    /// only as parts of names has nothing to do.)
    fn remove_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    /// What lies in a folder, by name; nothing where there is none. Temporary files are not shown.
    fn list(&self, folder: &Path) -> io::Result<Vec<FileInfo>>;

    /// The path of a file for adapters that stream it.
    fn full_path(&self, path: &Path) -> PathBuf;
}

/// Keeps the last archived position of each shard as a hint where to look.
pub trait CheckpointStore: Send + Sync {
    /// The checkpoint of a shard's folder name; `None` if there is none, or it was damaged and set aside.
    fn load(&self, name: &str) -> io::Result<Option<Checkpoint>>;

    /// Saves it durably.
    fn save(&self, name: &str, checkpoint: &Checkpoint) -> io::Result<()>;
}
