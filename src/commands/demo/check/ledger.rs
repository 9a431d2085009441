//! One shard's ledger: serials without a hole, each entry bound to the one before it.

use sha2::{Digest, Sha256};

use super::super::runs::hex;
use super::Check;
use crate::model::ledger::{BatchBody, Body, Entry, FORMAT_VERSION};
use crate::model::sequence::SequenceNumber;
use crate::ports::StoreError;

/// What the entries so far bind the next one to.
#[derive(Default)]
struct Chain {
    entry_sha256: String,
    object_sha256: String,
    last: Option<SequenceNumber>,
    ended: bool,
}

impl Check<'_> {
    /// Walks the ledger under `folder`, and reads every object that it claims.
    pub(super) fn ledger(&mut self, folder: &str) -> Result<(), StoreError> {
        self.report.ledgers += 1;
        let mut chain = Chain::default();
        for (serial, key) in (0_u64..).zip(self.store.list(folder, None, self.stop)?) {
            if key != format!("{folder}{serial:012}.json") {
                self.problem(format!("{folder}: serial {serial} is missing, {key} follows"));
                return Ok(());
            }
            let Some(bytes) = self.store.get(&key, self.stop)? else {
                self.problem(format!("{key}: listed, but not there"));
                return Ok(());
            };
            let entry: Entry = match serde_json::from_slice(&bytes) {
                Ok(entry) => entry,
                Err(error) => {
                    self.problem(format!("{key}: not a ledger entry: {error}"));
                    return Ok(());
                }
            };
            self.report.entries += 1;
            self.entry(folder, &key, serial, &entry, &mut chain)?;
            chain.entry_sha256 = hex(&Sha256::digest(&bytes));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: &str,
        key: &str,
        serial: u64,
        entry: &Entry,
        chain: &mut Chain,
    ) -> Result<(), StoreError> {
        if entry.version != FORMAT_VERSION || entry.serial != serial {
            self.problem(format!("{key}: says version {}, serial {}", entry.version, entry.serial));
        }
        if self.keys.ledger(&entry.shard, entry.stream_created) != folder {
            self.problem(format!("{key}: belongs to another shard or stream"));
        }
        if entry.previous_entry_sha256 != chain.entry_sha256 {
            self.problem(format!("{key}: the chain of entries is broken"));
        }
        if chain.ended {
            self.problem(format!("{key}: follows the shard's end"));
        }
        match &entry.body {
            Body::Begin(_) if serial == 0 => {}
            Body::Begin(_) => self.problem(format!("{key}: a second begin")),
            Body::Batch(_) | Body::Gap(_) | Body::End(_) if serial == 0 => {
                self.problem(format!("{key}: a ledger begins with its begin"));
            }
            Body::Batch(batch) => self.batch(key, entry, batch, chain)?,
            Body::Gap(gap) => self.problem(format!(
                "{key}: a gap ({}) after {}",
                gap.why.as_str(),
                gap.after.as_ref().map_or("the shard's start", SequenceNumber::as_str)
            )),
            Body::End(_) => chain.ended = true,
        }
        Ok(())
    }

    fn batch(
        &mut self,
        key: &str,
        entry: &Entry,
        batch: &BatchBody,
        chain: &mut Chain,
    ) -> Result<(), StoreError> {
        if !self.claimed.insert(batch.key.clone()) {
            self.problem(format!("{}: claimed twice, the second time by {key}", batch.key));
        }
        if batch.previous_object_sha256 != chain.object_sha256 {
            self.problem(format!("{key}: the chain of objects is broken"));
        }
        if chain.last.as_ref().is_some_and(|last| *last >= batch.first_sequence_number) {
            self.problem(format!("{key}: begins before the batch before it ends"));
        }
        chain.last = Some(batch.last_sequence_number.clone());
        chain.object_sha256 = self.object(entry, batch)?;
        Ok(())
    }
}
