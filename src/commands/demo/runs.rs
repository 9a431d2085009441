//! What was put, over all demos in one folder: the only thing the archive is held against.
//!
//! Owns `demo.json` and the fingerprint of an event. Does not read the archive.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Failure;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;

/// The SHA-256 of everything that must come back of an event.
pub type Fingerprint = [u8; 32];

/// One demo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// When its stream was created; absent if it never came that far.
    pub stream_created: Option<Timestamp>,
    /// The number of its first event; a later run goes on where it ended.
    pub first_event: u64,
    /// How many events it set out to put.
    pub events: u64,
    /// The hash of all fingerprints in the order of numbers, once all was put; absent where the
    /// demo was interrupted, and the rest of its events died with the embedded stream.
    pub put_sha256: Option<String>,
}

/// All demos in one folder, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// Oldest first.
    pub runs: Vec<Run>,
}

impl Run {
    /// The number after its last event.
    pub const fn end(&self) -> u64 {
        self.first_event.saturating_add(self.events)
    }
}

impl Runs {
    /// What is known of earlier demos in `folder`.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let path = file(folder);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Failure::failed(format!("{} is damaged ({error}): use another folder", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::failed(format!("cannot read {}: {error}", path.display()))),
        }
    }

    /// Notes down what is known now.
    pub fn save(&self, folder: &Path) -> Result<(), Failure> {
        let path = file(folder);
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        };
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| failed(&error))?;
        let temporary = path.with_extension("json.tmp");
        std::fs::write(&temporary, bytes).map_err(|error| failed(&error))?;
        std::fs::rename(&temporary, &path).map_err(|error| failed(&error))
    }

    /// Begins a run of `events` events and gives it its numbers.
    pub fn begin(&mut self, events: u64) -> &mut Run {
        let first_event = self.runs.last().map_or(1, Run::end);
        self.runs.push(Run { stream_created: None, first_event, events, put_sha256: None });
        let last = self.runs.len() - 1;
        &mut self.runs[last]
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("demo.json")
}

/// The hash of everything that must come back of an event.
pub fn fingerprint(
    shard: &ShardId,
    sequence_number: &SequenceNumber,
    partition_key: &str,
    data: &[u8],
) -> Fingerprint {
    let mut hash = Sha256::new();
    // None of the first three can hold a line feed, so no two events share a text.
    hash.update(format!("{shard}\n{sequence_number}\n{partition_key}\n"));
    hash.update(data);
    hash.finalize().into()
}

/// The hash over many events, in the order of their numbers.
pub fn sha256_of(events: &BTreeMap<u64, Fingerprint>) -> String {
    let mut hash = Sha256::new();
    for (number, fingerprint) in events {
        hash.update(number.to_be_bytes());
        hash.update(fingerprint);
    }
    hex(&hash.finalize())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_numbered_on_and_survive() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = Runs::load(folder.path()).unwrap();
        assert_eq!(runs.begin(100).first_event, 1);
        assert_eq!(runs.begin(50).first_event, 101);
        runs.save(folder.path()).unwrap();
        assert_eq!(Runs::load(folder.path()).unwrap(), runs);
        assert_eq!(runs.runs[1].end(), 151);
    }

    #[test]
    fn a_damaged_file_is_said_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(file(folder.path()), "{").unwrap();
        let failure = Runs::load(folder.path()).unwrap_err();
        assert!(failure.message.contains("demo.json is damaged"), "{failure}");
    }
}
