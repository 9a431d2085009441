//! The state file of a replay: what it is of, and what of it is confirmed.
//!
//! Owns the file: JSON, a line a note, the first line its head. Notes are appended as answers come, so that a
//! `kill -9` loses none; past a size it is written anew with the fewest notes. Does not know what to send.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::progress::{Note, Progress};
use crate::codec::hash::sha256_hex;
use crate::error::Failure;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::Disk;
use crate::spool::LocalDisk;

const VERSION: u32 = 1;
/// When so much was appended, the file is written anew.
const LARGE: u64 = 1 << 20;

/// What is replayed into what: a state file is of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    /// Where the archive is.
    pub(super) archive: String,
    /// The ARN of the stream that it is of.
    pub(super) source: String,
    /// The ARN of the stream that gets the records.
    pub(super) target: String,
    /// A target that was made again is another.
    pub(super) target_created: Timestamp,
    /// The range as it was asked for: an age stays an age.
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) shard: Option<String>,
    pub(super) all: bool,
}

impl Task {
    /// A file name that no other task has.
    pub(super) fn file_name(&self) -> Result<String, Failure> {
        let text = serde_json::to_vec(self).map_err(|error| Failure::failed(error.to_string()))?;
        let stream = self.target.rsplit('/').next().unwrap_or_default();
        Ok(format!("{stream}-{}.ndjson", &sha256_hex(&text)[..12]))
    }

    /// What of it is not as in `other`, and both.
    fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "not given".to_owned());
        let of = |task: &Self| {
            [
                ("archive", task.archive.clone()),
                ("source stream", task.source.clone()),
                ("target stream", task.target.clone()),
                ("target stream's creation", task.target_created.to_string()),
                ("--from", text(&task.from)),
                ("--to", text(&task.to)),
                ("--shard", text(&task.shard)),
                ("--all", task.all.to_string()),
            ]
        };
        let mut pairs = of(self).into_iter().zip(of(other));
        pairs.find(|(one, two)| one != two).map(|((what, one), (_, two))| (what, one, two))
    }
}

/// One ledger, as far as it went when the replay began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LedgerHead {
    pub(super) shard: ShardId,
    /// The stream's creation, in epoch seconds.
    pub(super) created: i64,
    /// Its newest entry then.
    pub(super) newest: u64,
}

/// The first line: all that is decided when a replay first begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) replay: u32,
    pub(super) task: Task,
    pub(super) begun: Timestamp,
    /// The range in times.
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    pub(super) ledgers: Vec<LedgerHead>,
}

impl Head {
    pub(super) fn new(task: Task, begun: Timestamp, range: (Option<Timestamp>, Option<Timestamp>)) -> Self {
        Self { replay: VERSION, task, begun, from: range.0, to: range.1, ledgers: Vec::new() }
    }
}

/// A state file as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) progress: Progress,
    /// Bytes up to the end of the last good line.
    good: u64,
}

/// Reads a state file, which must be of this task; `None` if there is none.
pub(super) fn find(path: &Path, task: &Task) -> Result<Option<Found>, Failure> {
    let shown = path.display();
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::failed(format!("cannot read the state file {shown}: {error}"))),
    };
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let head: Head = serde_json::from_slice(first).map_err(|error| {
        Failure::failed(format!(
            "{shown} is not the state file of a replay ({error}): name another with --state"
        ))
    })?;
    if head.replay != VERSION {
        return Err(Failure::failed(format!("{shown} was written by another version of the program")));
    }
    if let Some((what, its, ours)) = head.task.difference(task) {
        return Err(Failure::usage(format!(
            "the state file {shown} is of another replay: its {what} is {its}, and here it is {ours}\n\
             name another with --state, or delete it to begin anew"
        )));
    }
    let mut progress = Progress::new(head.ledgers.len());
    let mut good = first.len() as u64;
    for line in lines {
        // A write that was cut short; what it told of is sent again.
        let whole = line.ends_with(b"\n");
        match serde_json::from_slice::<Note>(line) {
            Ok(note) if whole && progress.take(&note) => good += line.len() as u64,
            Ok(_) | Err(_) => break,
        }
    }
    Ok(Some(Found { head, progress, good }))
}

/// A state file that is written to, and that nobody else writes to.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    head: Head,
    file: File,
    appended: u64,
    unsynced: bool,
    /// A write failed and may have left half a line: what follows it would not be read.
    torn: bool,
}

impl StateFile {
    /// Goes on with the file of this task; `None` if there is none.
    pub(super) fn go_on(path: &Path, task: &Task) -> Result<Option<(Self, Found)>, Failure> {
        let file = match open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(path, &error)),
        };
        // Only now, when nobody else writes to it.
        let Some(found) = find(path, task)? else { return Ok(None) };
        file.set_len(found.good).map_err(|error| cannot(path, &error))?;
        let (head, appended) = (found.head.clone(), found.good);
        Ok(Some((Self { path: path.to_owned(), head, file, appended, unsynced: false, torn: false }, found)))
    }

    /// Begins a file; one that is there is replaced.
    pub(super) fn begin(path: &Path, head: Head) -> Result<Self, Failure> {
        let nothing = Progress::new(head.ledgers.len());
        let file = write(path, &head, &nothing).map_err(|error| cannot(path, &error))?;
        Ok(Self { path: path.to_owned(), head, file, appended: 0, unsynced: false, torn: false })
    }

    /// Appends notes with one write: a process that is killed afterwards has told them.
    pub(super) fn append(&mut self, notes: &[Note]) -> Result<(), Failure> {
        let mut text = Vec::with_capacity(64 * notes.len());
        for note in notes {
            serde_json::to_writer(&mut text, note).map_err(|error| cannot(&self.path, &error.into()))?;
            text.push(b'\n');
        }
        if self.torn {
            return Err(cannot(&self.path, &io::Error::other("an earlier write failed")));
        }
        if let Err(error) = self.file.write_all(&text) {
            self.torn = true;
            return Err(cannot(&self.path, &error));
        }
        self.appended += text.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// What was appended is on the disk afterwards; a file that has grown large is written anew.
    pub(super) fn sync(&mut self, progress: &Progress) -> Result<(), Failure> {
        if self.appended > LARGE || self.torn {
            self.file =
                write(&self.path, &self.head, progress).map_err(|error| cannot(&self.path, &error))?;
            (self.appended, self.torn) = (0, false);
        } else if self.unsynced {
            self.file.sync_data().map_err(|error| cannot(&self.path, &error))?;
        }
        self.unsynced = false;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens the file to append to, with nobody else doing so.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another replay is using it")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Writes it whole, with the fewest notes.
fn write(path: &Path, head: &Head, progress: &Progress) -> io::Result<File> {
    let mut text = serde_json::to_vec(head)?;
    text.push(b'\n');
    for note in progress.notes() {
        serde_json::to_writer(&mut text, &note)?;
        text.push(b'\n');
    }
    let path = std::path::absolute(path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no name"))?;
    LocalDisk::new(folder).write(Path::new(name), &[&text])?;
    open(&path)
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!(
        "cannot write the state file {}: {error}\nname another place with --state FILE",
        path.display()
    ))
}

#[cfg(test)]
mod tests;
