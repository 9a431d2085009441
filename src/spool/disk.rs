//! The state directory on a local file system.
//!
//! Owns the one durable write, and that no path leaves the directory. Knows nothing of what the
//! files mean.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::timestamp::Timestamp;
use crate::ports::{Disk, FileInfo};

/// What temporary names begin with; no file of ours does.
const TEMPORARY: &str = ".tmp-";

/// A folder that another thread removes because it is empty is made again so often at most.
const FOLDER_TRIES: u32 = 10;

/// The state directory. [`StateLock`](super::StateLock) keeps a second process out; this does not.
#[derive(Debug)]
pub struct LocalDisk {
    root: PathBuf,
    temporaries: AtomicU64,
}

impl LocalDisk {
    /// On `state_dir`; nothing is read or written yet.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { root: state_dir.into(), temporaries: AtomicU64::new(0) }
    }

    /// The state directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what writes left behind that were cut short, and says how many there were. Only for
    /// who holds the lock: another process' writes in progress look the same.
    pub fn remove_temporaries(&self) -> io::Result<u64> {
        let mut removed = 0;
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(about("list", &folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(about("list", &folder))?;
                let path = entry.path();
                if entry.file_type().map_err(about("look at", &path))?.is_dir() {
                    folders.push(path);
                } else if is_temporary(&entry.file_name()) {
                    fs::remove_file(&path).map_err(about("remove", &path))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// The real path; names come from object keys, so it is checked that they stay in the directory.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        let named = path.file_name().is_some_and(|name| !is_temporary(name));
        if inside && (named || path.as_os_str().is_empty()) {
            Ok(self.root.join(path))
        } else {
            let message = format!("{} does not lie in the state directory", path.display());
            Err(io::Error::new(ErrorKind::InvalidInput, message))
        }
    }

    fn temporary(&self, folder: &Path) -> PathBuf {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        folder.join(format!("{TEMPORARY}{}-{number}", std::process::id()))
    }

    /// Runs `fill` on a temporary name beside `target`, then gives it the target's name, durably.
    fn place(&self, target: &Path, fill: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        let folder = parent(target);
        let mut tries = 0;
        loop {
            make_folder(folder)?;
            let temporary = self.temporary(folder);
            let placed = fill(&temporary).and_then(|()| fs::rename(&temporary, target));
            // Renaming one name of a file over another name of it does nothing, and a failed write
            // must not take room on a full disk.
            let _ = fs::remove_file(&temporary);
            match placed {
                Err(error) if error.kind() == ErrorKind::NotFound && tries < FOLDER_TRIES => {
                    if folder.is_dir() {
                        return Err(about("write", target)(error));
                    }
                    tries += 1;
                }
                Err(error) => return Err(about("write", target)(error)),
                Ok(()) => return sync_folder(folder),
            }
        }
    }
}

impl Disk for LocalDisk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let path = self.resolve(path)?;
        missing_is_none(fs::read(&path), "read", &path)
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Read + Send>>> {
        let path = self.resolve(path)?;
        let file = missing_is_none(File::open(&path), "open", &path)?;
        Ok(file.map(|file| Box::new(BufReader::with_capacity(64 << 10, file)) as Box<dyn Read + Send>))
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        self.place(&self.resolve(path)?, &|temporary| {
            let mut file = OpenOptions::new().write(true).create_new(true).open(temporary)?;
            for part in parts {
                file.write_all(part)?;
            }
            file.sync_all()
        })
    }

    fn write_at(&self, path: &Path, at: u64, parts: &[&[u8]]) -> io::Result<()> {
        let path = self.resolve(path)?;
        if at == 0 {
            make_folder(parent(&path))?;
        }
        let opened = OpenOptions::new().write(true).create(at == 0).truncate(false).open(&path);
        let written = opened.and_then(|mut file| {
            if file.metadata()?.len() < at {
                return Err(io::Error::new(ErrorKind::NotFound, "it was cut short"));
            }
            file.set_len(at)?;
            file.seek(SeekFrom::Start(at))?;
            parts.iter().try_for_each(|part| file.write_all(part))
        });
        written.map_err(about("write", &path))
    }

    fn persist(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        match File::open(&from) {
            Err(error) if error.kind() == ErrorKind::NotFound && to.exists() => {}
            opened => {
                let file = opened.map_err(about("open", &from))?;
                file.sync_all().map_err(|error| give_up(&from, &error))?;
                fs::rename(&from, &to).map_err(about("rename", &from))?;
            }
        }
        sync_folder(parent(&to))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        make_folder(parent(&to))?;
        fs::rename(&from, &to).map_err(about("rename", &from))?;
        sync_folder(parent(&to))?;
        if parent(&from) == parent(&to) { Ok(()) } else { sync_folder(parent(&from)) }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let from = self.resolve(from)?;
        if !fs::exists(&from).map_err(about("look at", &from))? {
            return Err(about("link", &from)(ErrorKind::NotFound.into()));
        }
        self.place(&self.resolve(to)?, &|temporary| match fs::hard_link(&from, temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                fs::copy(&from, temporary)?;
                File::open(temporary)?.sync_all()
            }
            linked => linked,
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = self.resolve(path)?;
        missing_is_none(fs::remove_file(&path), "remove", &path).map(|_| ())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let path = self.resolve(folder)?;
        match fs::remove_dir(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                Ok(())
            }
            removed => removed.map_err(about("remove", &path)),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<FileInfo>> {
        let folder = self.resolve(folder)?;
        let Some(entries) = missing_is_none(fs::read_dir(&folder), "list", &folder)? else {
            return Ok(Vec::new());
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(about("list", &folder))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_temporary(OsStr::new(&name)) {
                continue;
            }
            // Followed through links: an operator may have laid a folder on another disk.
            let path = entry.path();
            let Some(about_it) = missing_is_none(fs::metadata(&path), "look at", &path)? else { continue };
            let is_dir = about_it.is_dir();
            let modified = about_it.modified().map_err(about("look at", &path))?;
            let len = if is_dir { 0 } else { about_it.len() };
            files.push(FileInfo { name, len, is_dir, modified: timestamp(modified) });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn full_path(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

/// A failed fsync is told once: the system may call the pages clean that the disk did not take, and the next fsync
/// good. So what the file holds is not believed any more, and is lost.
fn give_up(path: &Path, error: &io::Error) -> io::Error {
    // Where it stays, its owner begins it anew.
    let _ = fs::remove_file(path);
    let told = format!("the disk did not take {}: {error}", path.display());
    io::Error::new(ErrorKind::NotFound, told)
}

/// Every path here has the root above it.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Makes a folder and those above it, each durable in the one that holds it.
fn make_folder(folder: &Path) -> io::Result<()> {
    // A relative state directory ends in an empty path: the current folder, which is there.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = parent(folder);
    if above != folder {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(about("make", folder)(error)),
        Ok(()) => sync_folder(above),
    }
}

/// What was renamed or made in a folder survives a power cut only after this.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|opened| opened.sync_all()) {
        // Removed since because it was empty: then there is nothing in it to be kept.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(about("sync", folder)),
    }
}

fn missing_is_none<T>(result: io::Result<T>, what: &str, path: &Path) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(about(what, path)(error)),
    }
}

/// Adds what was tried and where; the kind stays, since a full disk is told by it.
fn about(what: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let context = format!("cannot {what} {}", path.display());
    move |error| io::Error::new(error.kind(), format!("{context}: {error}"))
}

fn timestamp(time: SystemTime) -> Timestamp {
    let millis = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    Timestamp::from_millis(millis)
}

#[cfg(test)]
mod tests;
