//! Local copies of archived batches, under `archive/` by their keys.
//!
//! Owns how they come and how old ones go. A copy is a convenience: losing one loses nothing.

use std::collections::{BTreeSet, BinaryHeap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::timestamp::Timestamp;
use crate::ports::Disk;
use crate::stop::Stop;

const ROOT: &str = "archive";

/// One pass removes so many copies at most; the next goes on. Bounds its time and its memory.
const MOST_A_PASS: usize = 5_000;

/// How long copies stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// `disk.keep`.
    pub age: Duration,
    /// `disk.keep_bytes`.
    pub bytes: u64,
}

/// What a pass found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Copies removed.
    pub removed: u64,
    /// Bytes of copies that are left.
    pub left: u64,
}

/// Keeps the spool file at `spooled` as the copy of the object `key`, with its sidecar beside it.
pub fn put_copy(disk: &dyn Disk, key: &str, spooled: &Path, sidecar: &[u8]) -> io::Result<()> {
    let copy = Path::new(ROOT).join(key);
    // The sidecar first: a copy is never without one.
    disk.write(&sidecar_of(&copy), &[sidecar])?;
    disk.link(spooled, &copy)
}

fn sidecar_of(copy: &Path) -> PathBuf {
    let mut name = copy.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// A copy with its sidecar; the oldest is the greatest in no heap: see [`Oldest`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    /// When its sidecar was written: when it was archived.
    kept_since: Timestamp,
    path: PathBuf,
    bytes: u64,
}

/// The oldest copies seen so far, as many as one pass may remove.
#[derive(Default)]
struct Oldest(BinaryHeap<Copy>);

impl Oldest {
    fn consider(&mut self, copy: Copy) {
        self.0.push(copy);
        if self.0.len() > MOST_A_PASS {
            // The heap's top is the youngest of them.
            self.0.pop();
        }
    }
}

/// Removes copies that were archived longer ago than `keep.age`, then the oldest beyond `keep.bytes`, and empty folders.
/// Ends early when stopped.
pub fn prune(disk: &dyn Disk, now: Timestamp, keep: Keep, stop: &Stop) -> io::Result<Pruned> {
    let mut oldest = Oldest::default();
    let mut pruned = Pruned::default();
    let mut folders = vec![PathBuf::from(ROOT)];
    let mut seen = 0;
    while let Some(folder) = folders.get(seen).cloned() {
        seen += 1;
        if stop.reason().is_some() {
            return Ok(pruned);
        }
        for copy in copies_in(disk, &folder, &mut folders)? {
            pruned.left += copy.bytes;
            oldest.consider(copy);
        }
    }
    for copy in oldest.0.into_sorted_vec() {
        let too_old = now.since(copy.kept_since) > keep.age || keep.age.is_zero();
        if stop.reason().is_some() || !(too_old || pruned.left > keep.bytes) {
            break;
        }
        disk.remove(&copy.path)?;
        disk.remove(&sidecar_of(&copy.path))?;
        pruned.left -= copy.bytes;
        pruned.removed += 1;
    }
    if pruned.removed > 0 {
        // Deepest first, so that what only held empty folders goes too.
        for folder in folders.iter().skip(1).rev() {
            disk.remove_folder(folder)?;
        }
    }
    Ok(pruned)
}

fn copies_in(disk: &dyn Disk, folder: &Path, folders: &mut Vec<PathBuf>) -> io::Result<Vec<Copy>> {
    let files = disk.list(folder)?;
    let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let mut copies = Vec::new();
    for file in &files {
        let path = folder.join(&file.name);
        if file.is_dir {
            folders.push(path);
            continue;
        }
        let is_sidecar = file.name.strip_suffix(".json").is_some_and(|copy| names.contains(copy));
        if !is_sidecar {
            let sidecar = format!("{}.json", file.name);
            let beside = files.binary_search_by(|other| other.name.as_str().cmp(&sidecar)).ok();
            let beside = beside.and_then(|at| files.get(at));
            let bytes = file.len + beside.map_or(0, |sidecar| sidecar.len);
            // The copy is another name of the spool file, and as old as its seal.
            let kept_since = beside.map_or(file.modified, |sidecar| sidecar.modified);
            copies.push(Copy { kept_since, path, bytes });
        }
    }
    Ok(copies)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::spool::LocalDisk;

    const HOUR: Duration = Duration::from_secs(3600);
    const ALL: u64 = u64::MAX;

    fn copies(hours: &[u64]) -> (tempfile::TempDir, LocalDisk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::new(folder.path());
        for hour in hours {
            let spooled = PathBuf::from(format!("spool/s/{hour}.ndjson.gz"));
            disk.write(&spooled, &[&[b'x'; 90]]).unwrap();
            let key = format!("p/dt=1970-01-01/hour={hour:02}/s-{hour}.ndjson.gz");
            put_copy(&disk, &key, &spooled, &[b'y'; 10]).unwrap();
            disk.remove(&spooled).unwrap();
            let copy = Path::new(ROOT).join(key);
            // Sealed when the epoch began, and archived when all that lay before it was.
            set_modified(&disk, &copy, 0);
            set_modified(&disk, &sidecar_of(&copy), u32::try_from(*hour).unwrap());
        }
        (folder, disk)
    }

    fn set_modified(disk: &LocalDisk, path: &Path, hour: u32) {
        let file = File::options().write(true).open(disk.full_path(path)).unwrap();
        file.set_modified(UNIX_EPOCH + HOUR * hour).unwrap();
    }

    fn left(disk: &LocalDisk) -> Vec<String> {
        let day = Path::new("archive/p/dt=1970-01-01");
        let mut left = Vec::new();
        for hour in disk.list(day).unwrap() {
            let files = disk.list(&day.join(&hour.name)).unwrap();
            assert_eq!(files.len(), 2, "a copy and its sidecar");
            left.push(hour.name);
        }
        left
    }

    fn pass(disk: &LocalDisk, now_hour: u32, age: Duration, bytes: u64) -> Pruned {
        let now = Timestamp::from_seconds(0) + HOUR * now_hour;
        prune(disk, now, Keep { age, bytes }, &Stop::new()).unwrap()
    }

    #[test]
    fn old_ones_go_then_the_oldest_beyond_the_bytes() {
        let (_folder, disk) = copies(&[1, 2, 3, 4, 5]);
        assert_eq!(pass(&disk, 5, HOUR * 4, ALL), Pruned { removed: 0, left: 500 });
        assert_eq!(pass(&disk, 6, HOUR * 4, ALL), Pruned { removed: 1, left: 400 });
        assert_eq!(left(&disk), ["hour=02", "hour=03", "hour=04", "hour=05"]);
        assert_eq!(pass(&disk, 6, HOUR * 24, 250), Pruned { removed: 2, left: 200 });
        assert_eq!(left(&disk), ["hour=04", "hour=05"]);
        assert_eq!(pass(&disk, 6, Duration::ZERO, ALL), Pruned { removed: 2, left: 0 });
        assert!(disk.list(Path::new(ROOT)).unwrap().is_empty());
        assert_eq!(pass(&disk, 6, HOUR, 0), Pruned::default());
    }

    #[test]
    fn a_drained_backlog_is_kept_from_archiving_on_however_old_its_seals_are() {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::new(folder.path());
        let spooled = Path::new("spool/s/1.ndjson.gz");
        disk.write(spooled, &[b"sealed long ago"]).unwrap();
        set_modified(&disk, spooled, 0);
        put_copy(&disk, "p/s-1.ndjson.gz", spooled, b"{}").unwrap();
        let keep = Keep { age: HOUR * 24, bytes: ALL };
        let copies = disk.list(&Path::new(ROOT).join("p")).unwrap();
        let now = copies[1].modified;
        assert_eq!(
            (copies[0].modified, copies[1].name.as_str()),
            (Timestamp::from_seconds(0), "s-1.ndjson.gz.json")
        );
        assert_eq!(prune(&disk, now + HOUR * 24, keep, &Stop::new()).unwrap().removed, 0);
        let later = now + HOUR * 24 + Duration::from_secs(1);
        assert_eq!(prune(&disk, later, keep, &Stop::new()).unwrap().removed, 1);
    }

    #[test]
    fn a_copy_outlives_its_spool_file_and_may_be_put_again() {
        let (_folder, disk) = copies(&[1]);
        let (copy, again) = ("p/dt=1970-01-01/hour=01/s-1.ndjson.gz", Path::new("spool/s/again"));
        assert_eq!(disk.read(&Path::new(ROOT).join(copy)).unwrap().unwrap(), [b'x'; 90]);
        disk.write(again, &[b"z"]).unwrap();
        put_copy(&disk, copy, again, b"{}").unwrap();
        assert_eq!(disk.read(&Path::new(ROOT).join(copy)).unwrap().unwrap(), b"z");
        assert!(put_copy(&disk, "../../etc/x", again, b"{}").is_err());
    }

    #[test]
    fn a_stop_ends_a_pass() {
        let (_folder, disk) = copies(&[1]);
        let stop = Stop::new();
        stop.stop(crate::stop::StopReason::Requested);
        let keep = Keep { age: Duration::ZERO, bytes: 0 };
        assert_eq!(prune(&disk, Timestamp::from_seconds(9), keep, &stop).unwrap().removed, 0);
    }
}
