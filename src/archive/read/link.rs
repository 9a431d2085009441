//! What binds the entries of a ledger to each other: each has the hash of the one before it.
//!
//! Owns that what is read of a ledger is one unbroken chain, as far as entries that follow each other are read.

use super::ReadFailure;
use crate::archive::ledgers::{LedgerAt, ReadEntry};

/// An entry's place in its ledger's chain.
#[derive(Debug)]
pub(super) struct Link {
    folder: String,
    key: String,
    serial: u64,
    previous_entry_sha256: String,
    sha256: String,
}

impl Link {
    pub(super) fn of(ledger: &LedgerAt, read: &ReadEntry) -> Self {
        let serial = read.entry.serial;
        Self {
            folder: ledger.folder.clone(),
            key: ledger.key(serial),
            serial,
            previous_entry_sha256: read.entry.previous_entry_sha256.clone(),
            sha256: read.sha256.clone(),
        }
    }
}

/// The links that came so far, of which only the last counts.
#[derive(Debug, Default)]
pub(super) struct Links {
    last: Option<Link>,
}

impl Links {
    /// The next link; an error if it follows the last one in its ledger and does not know it as it is.
    pub(super) fn take(&mut self, link: Link) -> Result<(), ReadFailure> {
        let follows = |last: &Link| last.folder == link.folder && last.serial + 1 == link.serial;
        if let Some(last) = self.last.take().filter(follows)
            && last.sha256 != link.previous_entry_sha256
        {
            let reason = format!(
                "its SHA-256 is {}, and entry {} says that it was {}: one of the two was altered",
                last.sha256, link.serial, link.previous_entry_sha256
            );
            return Err(ReadFailure::Damaged { key: last.key, reason });
        }
        self.last = Some(link);
        Ok(())
    }
}
