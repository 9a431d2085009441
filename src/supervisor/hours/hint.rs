//! `hours.json` in the state directory: the newest manifest that was announced from this disk.
//!
//! A hint: what the bucket says counts, and without it the newest manifest is searched there.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ports::Disk;
use crate::spool::refusal::refuse_newer;
use crate::spool::{STATE_VERSION, set_aside};

const FILE: &str = "hours.json";

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hint {
    version: u32,
    /// The manifest's key.
    pub(super) key: String,
    /// Hex SHA-256 of its bytes; empty before the first put of this disk: that one is still to be announced.
    pub(super) sha256: String,
    /// Ledgers that have their end, all of it told: they need not be looked at again.
    pub(super) finished: BTreeSet<String>,
}

impl Hint {
    pub(super) fn new(key: &str, sha256: &str, finished: &BTreeSet<String>) -> Self {
        Self {
            version: STATE_VERSION,
            key: key.to_owned(),
            sha256: sha256.to_owned(),
            finished: finished.clone(),
        }
    }

    /// What the disk knows; a damaged file is set aside.
    pub(super) fn read(disk: &dyn Disk) -> io::Result<Option<Self>> {
        let path = Path::new(FILE);
        let Some(bytes) = disk.read(path)? else { return Ok(None) };
        refuse_newer(path, &bytes)?;
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(hint) if hint.version == STATE_VERSION => Ok(Some(hint)),
            Ok(_) | Err(_) => {
                let kept = set_aside(disk, path)?;
                tracing::warn!(kept = %kept.display(), "a damaged hours.json was set aside: the bucket is searched");
                Ok(None)
            }
        }
    }

    pub(super) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        disk.write(Path::new(FILE), &[&bytes])
    }
}
