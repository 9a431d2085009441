//! One process a state directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::Failure;

/// The state directory is ours until this is dropped; the system lets go of it when the process
/// dies, however it dies.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

impl StateLock {
    /// Takes the lock, or says who holds it or why the directory cannot be used.
    pub fn acquire(state_dir: &Path) -> Result<Self, Failure> {
        let place = state_dir.display();
        let unusable = |error: std::io::Error| {
            Failure::failed(format!(
                "the state directory {place} cannot be used: {error}\n\
                 make it a directory that this user may write to, or set disk.state_dir to one"
            ))
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
                return Err(Failure::failed(format!(
                    "the state directory {place} is in use by {holder}\n\
                     stop it first, or give this one a disk.state_dir of its own"
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "process {} on {host}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self { file })
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("new/state");
        let first = StateLock::acquire(&state_dir).unwrap();
        let refused = StateLock::acquire(&state_dir).unwrap_err();
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
        let refused = StateLock::acquire(&file.join("state")).unwrap_err();
        assert_eq!(refused.exit_code(), 1);
        assert!(refused.message.contains("cannot be used"), "{refused}");
    }
}
