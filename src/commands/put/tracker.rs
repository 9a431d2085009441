//! How far the input is done, and the file that remembers it.
//!
//! Owns the count of items, from the first on, that are all done: delivered, passed over, or safe among
//! the dead letters. Items behind it may be done, too; after a `kill -9` those are put again.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Which items are done.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    state: Mutex<Done>,
}

#[derive(Debug, Default)]
struct Done {
    /// All items before it are done.
    first: u64,
    /// Whether the items from there on are.
    rest: VecDeque<bool>,
}

impl Tracker {
    /// Items before `first` were done in an earlier run.
    pub(super) fn new(first: u64) -> Self {
        Self { state: Mutex::new(Done { first, rest: VecDeque::new() }) }
    }

    /// This item is done.
    pub(super) fn done(&self, item: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = item.checked_sub(state.first).and_then(|place| usize::try_from(place).ok()) else {
            return;
        };
        if state.rest.len() <= place {
            state.rest.resize(place + 1, false);
        }
        if let Some(done) = state.rest.get_mut(place) {
            *done = true;
        }
        while state.rest.front() == Some(&true) {
            state.rest.pop_front();
            state.first += 1;
        }
    }

    /// All items before this one are done.
    pub(super) fn first_open(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).first
    }
}

/// The file of `--resume`.
#[derive(Debug)]
pub(super) struct ResumeFile {
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    stream: String,
    done: u64,
}

impl ResumeFile {
    /// The file, if it is there, must be of the same stream.
    pub(super) fn open(path: &Path, stream: &str) -> Result<Self, Failure> {
        let shown = path.display();
        let content = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice::<Content>(&bytes).map_err(|error| {
                Failure::failed(format!("{shown} is not a resume file ({error}): name another, or delete it"))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Content { stream: stream.to_owned(), done: 0 }
            }
            Err(error) => return Err(Failure::failed(format!("cannot read {shown}: {error}"))),
        };
        if content.stream != stream {
            let other = content.stream;
            return Err(Failure::usage(format!("{shown} belongs to the stream {other}, not {stream}")));
        }
        Ok(Self { path: path.to_owned(), content })
    }

    /// Items that are done.
    pub(super) const fn done(&self) -> u64 {
        self.content.done
    }

    /// Remembers that all items before `done` are done.
    pub(super) fn save(&mut self, done: u64) -> Result<(), Failure> {
        if self.content.done == done && self.path.exists() {
            return Ok(());
        }
        self.content.done = done;
        let failed =
            |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", self.path.display()));
        let mut bytes = serde_json::to_vec(&self.content).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        let mut name = self.path.clone().into_os_string();
        name.push(".tmp");
        let temporary = PathBuf::from(name);
        let mut file = File::create(&temporary).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, &self.path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_done_from_the_first_on_counts() {
        let tracker = Tracker::new(10);
        for (item, open) in [(12, 10), (10, 11), (13, 11), (10, 11), (3, 11), (11, 14), (14, 15)] {
            tracker.done(item);
            assert_eq!(tracker.first_open(), open, "after {item}");
        }
    }

    #[test]
    fn the_file_remembers_for_one_stream() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("put.resume");
        let mut file = ResumeFile::open(&path, "clicks").unwrap();
        assert_eq!(file.done(), 0);
        file.save(17).unwrap();
        assert_eq!(ResumeFile::open(&path, "clicks").unwrap().done(), 17);
        let other = ResumeFile::open(&path, "orders").unwrap_err();
        assert_eq!(other.exit_code(), 2);
        assert!(other.message.contains("belongs to the stream clicks"), "{other}");
        fs::write(&path, "{").unwrap();
        assert!(ResumeFile::open(&path, "clicks").unwrap_err().message.contains("not a resume file"));
    }
}
