//! Proves the whole archive of a demo with a slow, obvious reader: every ledger, every object, every event.
//!
//! Shares no code with the writer but the shape of entries and notices: gzip by another library,
//! JSON by serde, hashes computed again. Changes nothing; what it finds wrong it says.

mod events;
mod ledger;
mod object;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::runs::{Fingerprint, Run};
use crate::model::key::Keys;
use crate::model::manifest::BatchNotice;
use crate::model::timestamp::Timestamp;
use crate::ports::{ObjectStore, StoreError};
use crate::stop::Stop;

/// What the archive is held against.
pub struct Expected<'a> {
    /// All demos in this folder, the latest one last.
    pub runs: &'a [Run],
    /// What the latest one put, by number.
    pub put: &'a BTreeMap<u64, Fingerprint>,
    /// When its stream was created.
    pub created: Timestamp,
    /// What was announced since it began.
    pub notices: &'a BTreeMap<String, BatchNotice>,
    /// Where local copies lie, by their keys.
    pub copies: &'a Path,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Ledgers, one a shard and stream creation.
    pub ledgers: u64,
    /// Their entries.
    pub entries: u64,
    /// Data objects.
    pub objects: u64,
    /// Their bytes.
    pub size: u64,
    /// The bytes of their lines.
    pub content_size: u64,
    /// Lines.
    pub records: u64,
    /// Lines of the latest demo's stream.
    pub latest_records: u64,
    /// Events that were put and are not there.
    pub missing: u64,
    /// Events that are there more than once.
    pub doubled: u64,
    /// An object of the latest demo, to look at.
    pub example: Option<String>,
    /// Everything that is wrong, a line each.
    pub problems: Vec<String>,
}

/// The walk over the archive.
struct Check<'a> {
    store: &'a dyn ObjectStore,
    keys: &'a Keys,
    stop: &'a Stop,
    expected: &'a Expected<'a>,
    report: Report,
    /// Keys that a ledger claims.
    claimed: BTreeSet<String>,
    /// Every line that was read, by the number of its event; one that is there twice has two.
    found: BTreeMap<u64, Vec<Fingerprint>>,
}

/// Reads everything under `keys` and says what is wrong with it.
pub fn check(
    store: &dyn ObjectStore,
    keys: &Keys,
    expected: &Expected<'_>,
    stop: &Stop,
) -> Result<Report, StoreError> {
    let mut check = Check {
        store,
        keys,
        stop,
        expected,
        report: Report::default(),
        claimed: BTreeSet::new(),
        found: BTreeMap::new(),
    };
    for folder in store.folders(&keys.ledgers(), stop)? {
        check.ledger(&folder)?;
    }
    check.unclaimed()?;
    check.unannounced();
    check.events();
    Ok(check.report)
}

impl Check<'_> {
    fn problem(&mut self, problem: impl Into<String>) {
        self.report.problems.push(problem.into());
    }

    /// Objects that no ledger tells of; and the start object of the latest stream.
    fn unclaimed(&mut self) -> Result<(), StoreError> {
        let start = self.keys.stream_start(self.expected.created);
        let mut started = false;
        let internal = format!("{}_", self.keys.root());
        for key in self.store.list(self.keys.root(), None, self.stop)? {
            started |= key == start;
            let hidden = key.starts_with(&internal) || key.ends_with("/_hour.json");
            if !hidden && !self.claimed.contains(&key) {
                self.problem(format!("{key}: no ledger entry tells of this object"));
            }
        }
        if !started {
            self.problem(format!("{start}: the stream's start is not there"));
        }
        Ok(())
    }

    /// Notices without an object. (Objects without a notice are found with their entry.)
    fn unannounced(&mut self) {
        let strays: Vec<_> =
            self.expected.notices.keys().filter(|key| !self.claimed.contains(*key)).cloned().collect();
        for key in strays {
            self.problem(format!("{key}: announced, but not in any ledger"));
        }
    }
}

#[cfg(test)]
mod tests;
