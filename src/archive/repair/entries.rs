//! Ledger entries, hour manifests and streams' starts that are missing or altered: an earlier version that another
//! object of the archive vouches for.
//!
//! What an entry said cannot be made up: its time and its host are in no other place.

use super::{Mender, Repair};
use crate::archive::report::Report;
use crate::codec::hash::sha256_hex;
use crate::model::key::serial_of;
use crate::model::ledger::Entry;
use crate::ports::{Attributes, StoreError};

impl Mender<'_> {
    /// The entry under `key`, and where several are missing in a row, all up to it.
    pub(super) fn entries(&self, key: &str, report: &Report) -> Result<Vec<Repair>, StoreError> {
        let (Some(first), Some((folder, _))) = (serial_of(key), key.rsplit_once('/')) else {
            return Ok(vec![Repair::not(key, "it is no key of an entry")]);
        };
        let at = |serial: u64| format!("{folder}/{serial:012}.json");
        // The next entry that is there knows the hash of the one before it.
        let there: Option<u64> = self
            .tools
            .store
            .list(&format!("{folder}/"), Some(key), self.stop)?
            .iter()
            .find_map(|later| serial_of(later));
        let mut expected = match there {
            Some(serial) => self.says_of_previous(&at(serial))?,
            None => None,
        };
        let known = report.known.iter().find(|(known, _)| known == key).map(|(_, sha256)| sha256.clone());
        let last = there.map_or(first, |there| there - 1);
        if last == first {
            expected = expected.or(known);
        }
        let mut repairs = Vec::new();
        for serial in (first..=last).rev() {
            let key = at(serial);
            let Some(sha256) = expected.take() else {
                repairs.push(Repair::not(&key, "nothing that is left vouches for what it said"));
                continue;
            };
            let repair = self.entry_version(&key, &sha256)?;
            let mended = repair.outcome == super::Outcome::Mended;
            repairs.push(repair);
            if mended {
                expected = self.says_of_previous(&key)?;
            }
        }
        repairs.reverse();
        Ok(repairs)
    }

    /// The manifest of an hour, which the next one vouches for; or a stream's start, which its ledgers copied.
    pub(super) fn manifest(&self, key: &str, report: &Report) -> Result<Repair, StoreError> {
        match report.known.iter().find(|(known, _)| known == key) {
            Some((_, sha256)) => self.entry_version(key, sha256),
            None => Ok(Repair::not(key, "nothing that is left vouches for what it said")),
        }
    }

    /// What the entry under `key` says that its predecessor's hash is.
    fn says_of_previous(&self, key: &str) -> Result<Option<String>, StoreError> {
        let bytes = self.tools.store.get(key, self.stop)?;
        let entry = bytes.and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok());
        Ok(entry.map(|entry| entry.previous_entry_sha256))
    }

    /// An earlier version with this hash, put back.
    fn entry_version(&self, key: &str, sha256: &str) -> Result<Repair, StoreError> {
        let store = self.tools.store;
        for version in store.versions(key, self.stop)? {
            let Some(mut reader) = store.open_version(key, &version.id, self.stop)? else { continue };
            let mut bytes = Vec::new();
            let read = std::io::Read::read_to_end(&mut reader, &mut bytes);
            if read.is_err() || sha256_hex(&bytes) != sha256 {
                continue;
            }
            let attributes = Attributes {
                content_type: "application/json",
                sha256: sha256.to_owned(),
                metadata: Vec::new(),
                data: false,
            };
            let source = format!("its version {}", version.id);
            return self.put(key, &bytes, &attributes, &source, &|| {
                Ok(store.get(key, self.stop)?.is_some_and(|bytes| sha256_hex(&bytes) == sha256))
            });
        }
        Ok(Repair::not(key, "the bucket keeps no version of it with the hash that it must have"))
    }
}
