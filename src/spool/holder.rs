//! Who has the state directory, as somebody sees it who must not take its lock.
//!
//! Owns how the system's list of locks is read. Whoever wants the directory uses [`StateLock`](super::StateLock):
//! between this look and what is done about it anything may change.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};

/// Where Linux lists every lock on a file.
const LOCKS: &str = "/proc/locks";

/// Who has the state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A process, as it wrote its name into the lock file.
    Held(String),
    /// This system does not say who holds locks, or not to this user.
    Unknown,
}

/// Looks who has `state_dir`, without taking its lock even for a moment: a keeper that starts just
/// then would be refused.
pub fn holder(state_dir: &Path) -> Holder {
    let path = state_dir.join("lock");
    let about = match fs::metadata(&path) {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => return Holder::Nobody,
        Err(_) => return Holder::Unknown,
    };
    let said = fs::read_to_string(&path).unwrap_or_default();
    let said = said.trim();
    let Ok(locks) = fs::read_to_string(LOCKS) else { return Holder::Unknown };
    let place = Place {
        device: format!("{:02x}:{:02x}", major(about.dev()), minor(about.dev())),
        inode: about.ino().to_string(),
        process: said.strip_prefix("process ").and_then(|rest| rest.split(' ').next()).unwrap_or_default(),
    };
    match (place.is_locked(&locks), said) {
        (false, _) => Holder::Nobody,
        (true, "") => Holder::Held("another process".to_owned()),
        (true, name) => Holder::Held(name.to_owned()),
    }
}

/// The lock file as `/proc/locks` names it.
struct Place<'a> {
    device: String,
    inode: String,
    process: &'a str,
}

impl Place<'_> {
    /// Whether a line such as `1: FLOCK  ADVISORY  WRITE 708 08:01:131080 0 EOF` is about it. Some file
    /// systems (btrfs, overlays) show another device there than in the file's metadata; then the process
    /// must be the one that wrote the lock file.
    fn is_locked(&self, locks: &str) -> bool {
        locks.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, "FLOCK", _, "WRITE", process, file, ..] = words[..] else { return false };
            let Some((device, inode)) = file.rsplit_once(':') else { return false };
            inode == self.inode && (device == self.device || process == self.process)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::StateLock;

    #[test]
    fn the_holder_is_seen_and_nothing_is_taken_or_made() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        assert_eq!(holder(&state_dir), Holder::Nobody);
        assert!(!state_dir.exists());
        let lock = StateLock::acquire(&state_dir).unwrap();
        let Holder::Held(name) = holder(&state_dir) else { panic!("not seen") };
        assert!(name.starts_with(&format!("process {} on ", std::process::id())), "{name}");
        drop(lock);
        assert_eq!(holder(&state_dir), Holder::Nobody);
        StateLock::acquire(&state_dir).unwrap();
    }

    #[test]
    fn a_line_is_understood() {
        let place = Place { device: "08:01".into(), inode: "77".into(), process: "708" };
        assert!(place.is_locked(
            "3: POSIX  ADVISORY  WRITE 1 08:01:77 0 EOF\n1: FLOCK  ADVISORY  WRITE 9 08:01:77 0 EOF"
        ));
        assert!(place.is_locked("1: FLOCK  ADVISORY  WRITE 708 00:2f:77 0 EOF"), "an overlay");
        for other in [
            "1: FLOCK  ADVISORY  WRITE 9 00:2f:77 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 708 08:01:78 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 708 08:01:77 0 EOF",
            "1: POSIX  ADVISORY  WRITE 708 08:01:77 0 EOF",
            "",
        ] {
            assert!(!place.is_locked(other), "{other}");
        }
    }
}
