//! One process a state directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;

use crate::error::Failure;

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
            if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                return Unlocked::Full(error);
            }
            Unlocked::Refused(Failure::failed(format!(
                "the state directory {place} cannot be used: {error}\n\
                 make it a directory that this user may write to, or set disk.state_dir to one"
            )))
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
        Ok(Self { file })
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
