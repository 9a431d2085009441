//! A state directory in memory that survives crashes, and can be lost, restored or damaged.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::trouble::Trouble;
use crate::model::sealed::{Sealed, SealedKind};
use crate::model::sequence::SequenceNumber;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::{Disk, FileInfo};

#[derive(Clone, Debug)]
struct File {
    bytes: Arc<[u8]>,
    modified: Timestamp,
}

/// Records that this disk once held sealed, since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRange {
    /// The event at which the seal, or the restored disk that bears it, came into being.
    pub event: u64,
    /// The stream's creation.
    pub created: Timestamp,
    /// The shard.
    pub shard: ShardId,
    /// The first record.
    pub first: SequenceNumber,
    /// The last record.
    pub last: SequenceNumber,
    /// Whether KPL aggregates were split.
    pub deaggregate: bool,
}

/// A copy of a disk at some time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, File>,
    sealed: Vec<SealedRange>,
    gaps_sealed: u64,
}

/// A [`Disk`] in memory; each call is durable at once, or has not happened.
#[derive(Debug)]
pub struct MemoryDisk {
    trouble: Arc<Trouble>,
    state: Mutex<Snapshot>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new(trouble: Arc<Trouble>) -> Arc<Self> {
        Arc::new(Self { trouble, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, Snapshot> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of everything.
    pub fn snapshot(&self) -> Snapshot {
        self.state().clone()
    }

    /// Puts back an older copy; [`Snapshot::default`] is a lost disk.
    pub fn restore(&self, mut snapshot: Snapshot) {
        let event = self.trouble.world.event();
        for range in &mut snapshot.sealed {
            range.event = event;
        }
        *self.state() = snapshot;
    }

    /// Cuts a file short, as a failing disk does; what it had sealed no longer counts.
    pub fn damage(&self, path: &Path) {
        let mut state = self.state();
        if let Some(file) = state.files.get_mut(path) {
            let half: Vec<u8> = file.bytes[..file.bytes.len() / 2].to_vec();
            file.bytes = half.into();
        }
        state.sealed.clear();
    }

    /// What this disk has held sealed, since it was last lost or damaged.
    pub fn sealed(&self) -> Vec<SealedRange> {
        self.state().sealed.clone()
    }

    /// How many gaps this disk has held sealed, whatever became of them.
    pub fn gaps_sealed(&self) -> u64 {
        self.state().gaps_sealed
    }

    /// All files below `folder`, for whoever drives or checks a run.
    pub fn files(&self, folder: impl AsRef<Path>) -> Vec<PathBuf> {
        self.state().files.keys().filter(|path| path.starts_with(folder.as_ref())).cloned().collect()
    }

    /// A file, for whoever drives or checks a run.
    pub fn peek(&self, path: &Path) -> Option<Arc<[u8]>> {
        self.state().files.get(path).map(|file| Arc::clone(&file.bytes))
    }

    /// Moves a file behind the keeper's back.
    pub fn shift(&self, from: &Path, to: &Path) {
        let mut state = self.state();
        if let Some(file) = state.files.remove(from) {
            state.files.insert(to.to_path_buf(), file);
        }
    }

    fn no_room(&self) -> io::Result<()> {
        if self.trouble.happens(|faults| faults.disk_full) {
            self.trouble.world.note(|| format!("{} disk full", self.trouble.identity()));
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn note(&self, what: &str, path: &Path) {
        self.trouble.world.note(|| format!("{} disk {what} {}", self.trouble.identity(), path.display()));
    }

    fn note_sealed(&self, path: &Path, bytes: &[u8], state: &mut Snapshot) {
        let manifest = path.starts_with("spool") && path.extension().is_some_and(|ext| ext == "json");
        if !manifest {
            return;
        }
        let Ok(item) = serde_json::from_slice::<Sealed>(bytes) else { return };
        if let SealedKind::Gap(_) = item.kind {
            state.gaps_sealed += 1;
        }
        if let SealedKind::Batch(batch) = item.kind {
            state.sealed.push(SealedRange {
                event: self.trouble.world.event(),
                created: item.stream_created,
                shard: item.shard,
                first: batch.content.first_sequence_number,
                last: batch.content.last_sequence_number,
                deaggregate: batch.deaggregate,
            });
        }
    }
}

/// A file on a disk that does not answer.
struct Unread;

impl Read for Unread {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("simulated"))
    }
}

impl Disk for MemoryDisk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.trouble.crash.around(|| Ok(self.peek(path).map(|bytes| bytes.to_vec())))
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Read + Send>>> {
        self.trouble.crash.around(|| {
            if self.trouble.happens(|faults| faults.disk_unread) {
                return Ok(Some(Box::new(Unread) as Box<dyn Read + Send>));
            }
            Ok(self.peek(path).map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read + Send>))
        })
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        self.trouble.crash.around(|| {
            self.no_room()?;
            let bytes: Arc<[u8]> = parts.concat().into();
            self.note("write", path);
            let mut state = self.state();
            self.note_sealed(path, &bytes, &mut state);
            state.files.insert(path.to_path_buf(), File { bytes, modified: self.trouble.world.now() });
            Ok(())
        })
    }

    fn write_at(&self, path: &Path, at: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.trouble.crash.around(|| {
            let mut bytes = if at == 0 { vec![] } else { self.peek(path).unwrap_or_default().to_vec() };
            if (bytes.len() as u64) < at {
                return Err(io::ErrorKind::NotFound.into());
            }
            let full = self.no_room();
            bytes.truncate(at as usize);
            bytes.extend(parts.concat());
            if full.is_err() {
                // Some of it fits.
                bytes.truncate(bytes.len() - (bytes.len() - at as usize) / 2);
            }
            self.note("write on", path);
            let file = File { bytes: bytes.into(), modified: self.trouble.world.now() };
            self.state().files.insert(path.to_path_buf(), file);
            full
        })
    }

    fn persist(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.peek(from).is_none() && self.peek(to).is_some() {
            return Ok(());
        }
        self.rename(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.trouble.crash.around(|| {
            let mut state = self.state();
            let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            self.note("rename to", to);
            state.files.insert(to.to_path_buf(), file);
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.trouble.crash.around(|| {
            self.no_room()?;
            self.note("link to", to);
            let mut state = self.state();
            let file = state.files.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
            state.files.insert(to.to_path_buf(), file);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.trouble.crash.around(|| {
            self.note("remove", path);
            self.state().files.remove(path);
            Ok(())
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<FileInfo>> {
        self.trouble.crash.around(|| {
            let mut found: BTreeMap<String, FileInfo> = BTreeMap::new();
            for (path, file) in &self.state().files {
                let Ok(below) = path.strip_prefix(folder) else { continue };
                let mut steps = below.components();
                let Some(first) = steps.next() else { continue };
                let name = first.as_os_str().to_string_lossy().into_owned();
                let is_dir = steps.next().is_some();
                let len = if is_dir { 0 } else { file.bytes.len() as u64 };
                let info = FileInfo { name: name.clone(), len, is_dir, modified: file.modified };
                found.insert(name, info);
            }
            Ok(found.into_values().collect())
        })
    }

    fn full_path(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Crashed, Faults, When, World};

    fn disk() -> (Arc<Trouble>, Arc<MemoryDisk>) {
        let world = World::new(Timestamp::from_seconds(0));
        let trouble = Trouble::new(world, "a", fastrand::Rng::with_seed(1));
        (Arc::clone(&trouble), MemoryDisk::new(trouble))
    }

    #[test]
    fn files_come_in_folders_and_survive_a_crash() {
        let (trouble, disk) = disk();
        disk.write(Path::new("spool/s/1.gz"), &[b"a", b"b"]).unwrap();
        disk.link(Path::new("spool/s/1.gz"), Path::new("archive/1.gz")).unwrap();
        trouble.crash.arm(0, When::After);
        let write = std::panic::AssertUnwindSafe(|| disk.write(Path::new("spool/s/2.gz"), &[b"c"]));
        assert!(std::panic::catch_unwind(write).unwrap_err().is::<Crashed>());
        trouble.crash.revive();
        let names = |folder: &str| -> Vec<String> {
            disk.list(Path::new(folder)).unwrap().into_iter().map(|file| file.name).collect()
        };
        assert_eq!(names(""), ["archive", "spool"]);
        assert_eq!(names("spool/s"), ["1.gz", "2.gz"]);
        assert_eq!(disk.read(Path::new("archive/1.gz")).unwrap().unwrap(), b"ab");
    }

    #[test]
    fn it_is_lost_restored_and_full() {
        let (trouble, disk) = disk();
        disk.write(Path::new("a"), &[b"1"]).unwrap();
        let copy = disk.snapshot();
        disk.write(Path::new("b"), &[b"2"]).unwrap();
        disk.restore(Snapshot::default());
        assert!(disk.files("").is_empty());
        disk.restore(copy);
        assert_eq!(disk.files(""), [PathBuf::from("a")]);
        trouble.set_faults(Faults { disk_full: 1.0, ..Faults::default() });
        let full = disk.write(Path::new("c"), &[b"3"]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(disk.read(Path::new("c")).unwrap().is_none());
    }
}
