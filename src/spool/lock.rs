//! One process a state directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::refusal::{cannot_be_used, is_no_room};
use crate::error::Failure;

/// A temporary name, as [`LocalDisk`](super::LocalDisk) gives them.
const TRY: &str = ".tmp-lock";

/// The state directory is ours until this is dropped; the system lets go of it when the process
/// dies, however it dies.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

/// Why the directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum Unlocked {
    /// Another process has it, or it cannot be used.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// There is no room for the directory or its lock file; trying again goes on when there is.
    #[error(transparent)]
    Full(#[from] io::Error),
}

impl StateLock {
    /// Takes the lock, or says who holds it or why the directory cannot be used.
    pub fn acquire(state_dir: &Path) -> Result<Self, Unlocked> {
        let place = state_dir.display();
        let unusable = |error: io::Error| {
            if is_no_room(&error) {
                return Unlocked::Full(error);
            }
            Unlocked::Refused(cannot_be_used(&format!("the state directory {place}"), &error))
        };
        fs::create_dir_all(state_dir).map_err(unusable)?;
        let path = state_dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                return Err(Unlocked::Refused(Failure::failed(format!(
                    "the state directory {place} is in use by {holder}\n\
                     stop it first, or give this one a disk.state_dir of its own"
                ))));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        if let Err(error) = sign(&mut file) {
            // The lock is taken all the same; whether the disk takes what matters is found out there.
            tracing::warn!(%error, "the lock file does not say who has the state directory");
        }
        match try_to_write(state_dir) {
            // Who has no room keeps the lock: what is sealed here is delivered, and that makes room.
            Err(error) if !is_no_room(&error) => Err(unusable(error)),
            Ok(()) | Err(_) => Ok(Self { file }),
        }
    }
}

/// That the lock file could be opened does not say that others may be made beside it.
fn try_to_write(state_dir: &Path) -> io::Result<()> {
    // Only who has the lock does this. What a crash leaves goes with the other temporaries.
    let path = state_dir.join(TRY);
    let written = fs::write(&path, "may files be made here?");
    match fs::remove_file(&path) {
        Err(error) if written.is_ok() => Err(error),
        _ => written,
    }
}

/// Writes who has the lock, for whoever is refused.
fn sign(file: &mut File) -> io::Result<()> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "process {} on {host}", std::process::id())
}

impl Drop for StateLock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn refused(state_dir: &Path) -> Failure {
        match StateLock::acquire(state_dir) {
            Err(Unlocked::Refused(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_second_is_refused_and_told_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("new/state");
        let first = StateLock::acquire(&state_dir).unwrap();
        let refused = refused(&state_dir);
        assert_eq!(refused.exit_code(), 1);
        let holder = format!("in use by process {}", std::process::id());
        assert!(refused.message.contains(&holder), "{refused}");
        drop(first);
        StateLock::acquire(&state_dir).unwrap();
    }

    #[test]
    fn an_unusable_directory_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = refused(&file.join("state"));
        assert_eq!(refused.exit_code(), 1);
        assert!(refused.message.contains("cannot be used"), "{refused}");
    }

    /// The modes of files say nothing to the superuser, as whom tests may run: this thread has those rights no more.
    fn without_special_rights() {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let mut rights = capabilities(None).unwrap();
        rights.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
        set_capabilities(None, rights).unwrap();
    }

    #[test]
    fn a_directory_in_which_only_the_lock_file_may_be_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |bits| fs::set_permissions(folder.path(), fs::Permissions::from_mode(bits)).unwrap();
        drop(StateLock::acquire(folder.path()).unwrap());
        mode(0o555);
        std::thread::scope(|scope| {
            let refused = scope.spawn(|| {
                without_special_rights();
                refused(folder.path())
            });
            let refused = refused.join().unwrap();
            assert_eq!(refused.exit_code(), 1);
            let said =
                format!("the state directory {} cannot be used: Permission denied", folder.path().display());
            assert!(refused.message.starts_with(&said), "{refused}");
        });
        mode(0o755);
        StateLock::acquire(folder.path()).unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"], "what was tried leaves nothing behind");
    }

    #[test]
    fn a_directory_without_room_is_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join(TRY)).unwrap();
        StateLock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn a_lock_file_that_takes_no_writes_is_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        // A device on which there is never room.
        std::os::unix::fs::symlink("/dev/full", folder.path().join("lock")).unwrap();
        let mut full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        sign(&mut full).unwrap_err();
        StateLock::acquire(folder.path()).unwrap();
    }
}
