//! The shard's log in S3: fetch, compose, append, find the newest; the stream's start.
//!
//! Owns how entries are stored and what makes one believable. Which entry comes next, and when, is
//! decided in `shard/`.

pub mod hours;
pub mod start;

use std::sync::Arc;

use crate::codec::hash::sha256_hex;
use crate::model::key::Keys;
use crate::model::ledger::{Body, Entry, FORMAT_VERSION};
use crate::model::shard::{ShardId, StreamIdentity};
use crate::model::timestamp::Timestamp;
use crate::ports::{Attributes, Body as PutBody, ObjectStore, Put, StoreError};
use crate::stop::Stop;

/// One shard's ledger.
pub struct Ledger {
    store: Arc<dyn ObjectStore>,
    keys: Keys,
    stream: StreamIdentity,
    shard: ShardId,
    host: String,
}

/// An entry as it lies in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// What it says.
    pub entry: Entry,
    /// Hex SHA-256 of its bytes as stored.
    pub sha256: String,
}

/// An entry ready to be put: the same bytes at every try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposedEntry {
    /// The entry with the hash that it will have.
    pub stored: StoredEntry,
    bytes: Vec<u8>,
}

/// The entry that the next one follows: without this witness none can be composed.
#[derive(Clone, Copy, Debug)]
pub enum Predecessor<'a> {
    /// The ledger is empty: serial 0 comes next.
    None,
    /// The newest entry.
    Entry {
        /// Its serial.
        serial: u64,
        /// Hex SHA-256 of its bytes as stored.
        sha256: &'a str,
    },
}

/// A ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store did not answer as it should; try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What lies there is no ledger of this shard: never written over, for a person to look at.
    #[error("the ledger is broken at s3 key {key}: {reason}")]
    Broken {
        /// Where.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

impl Ledger {
    /// The ledger of `shard` of this creation of the stream; `host` signs the entries.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        keys: Keys,
        stream: StreamIdentity,
        shard: ShardId,
        host: String,
    ) -> Self {
        Self { store, keys, stream, shard, host }
    }

    /// The key of entry `serial`.
    pub fn key(&self, serial: u64) -> String {
        self.keys.entry(&self.shard, self.stream.created, serial)
    }

    /// Entry `serial`, if it is there.
    pub fn fetch(&self, serial: u64, stop: &Stop) -> Result<Option<StoredEntry>, LedgerError> {
        let key = self.key(serial);
        let Some(bytes) = self.store.get(&key, stop)? else { return Ok(None) };
        let broken = |reason: String| LedgerError::Broken { key: key.clone(), reason };
        let entry: Entry =
            serde_json::from_slice(&bytes).map_err(|error| broken(format!("it is no entry: {error}")))?;
        if !entry.belongs_to(&self.stream, &self.shard, serial) {
            return Err(broken(format!(
                "it says version {}, shard {}, serial {}, stream {} created {}",
                entry.version, entry.shard, entry.serial, entry.stream_arn, entry.stream_created
            )));
        }
        Ok(Some(StoredEntry { entry, sha256: sha256_hex(&bytes) }))
    }

    /// Whether entry `serial` is there.
    pub fn exists(&self, serial: u64, stop: &Stop) -> Result<bool, StoreError> {
        Ok(self.store.head(&self.key(serial), stop)?.is_some())
    }

    /// The newest serial, found by doubling and halving; `None` if there is no ledger yet.
    ///
    /// Entry 0 missing in a folder that is not empty is a broken ledger: entries have expired or
    /// were deleted, and nothing may be put before a person has looked.
    pub fn newest(&self, stop: &Stop) -> Result<Option<u64>, LedgerError> {
        if !self.exists(0, stop)? {
            let folder = self.keys.ledger(&self.shard, self.stream.created);
            match self.store.list(&folder, None, stop)?.first() {
                None => return Ok(None),
                // Another keeper has put it since we looked.
                Some(found) if *found == self.key(0) => {}
                Some(found) => {
                    return Err(LedgerError::Broken {
                        key: self.key(0),
                        reason: format!(
                            "entry 0 is missing although {found} is there; ledger objects must never expire"
                        ),
                    });
                }
            }
        }
        let mut missing = 1;
        while self.exists(missing, stop)? {
            missing *= 2;
        }
        let mut there = missing / 2;
        while missing - there > 1 {
            let middle = there + (missing - there) / 2;
            if self.exists(middle, stop)? {
                there = middle;
            } else {
                missing = middle;
            }
        }
        Ok(Some(there))
    }

    /// The entry that follows `predecessor`.
    pub fn compose(
        &self,
        predecessor: Predecessor<'_>,
        body: Body,
        now: Timestamp,
    ) -> Result<ComposedEntry, LedgerError> {
        let (serial, previous_entry_sha256) = match predecessor {
            Predecessor::None => (0, String::new()),
            Predecessor::Entry { serial, sha256 } => (serial + 1, sha256.to_owned()),
        };
        let entry = Entry {
            version: FORMAT_VERSION,
            body,
            stream: self.stream.name.clone(),
            stream_arn: self.stream.arn.clone(),
            stream_created: self.stream.created,
            shard: self.shard.clone(),
            serial,
            previous_entry_sha256,
            host: self.host.clone(),
            written_at: now,
        };
        let bytes = serde_json::to_vec(&entry)
            .map_err(|error| LedgerError::Broken { key: self.key(serial), reason: error.to_string() })?;
        let sha256 = sha256_hex(&bytes);
        Ok(ComposedEntry { stored: StoredEntry { entry, sha256 }, bytes })
    }

    /// Puts the entry where none is. After an error the same entry is put again, until it is
    /// stored or its serial is taken.
    pub fn append(&self, composed: &ComposedEntry, stop: &Stop) -> Result<Put, StoreError> {
        let attributes = Attributes {
            content_type: "application/json",
            sha256: composed.stored.sha256.clone(),
            metadata: vec![],
            data: false,
        };
        let key = self.key(composed.stored.entry.serial);
        self.store.put_if_absent(&key, PutBody::Bytes(&composed.bytes), &attributes, stop)
    }
}
