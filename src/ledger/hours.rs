//! The chain of hour manifests in the bucket: where it begins, what lies there, which is the newest.
//!
//! Owns how manifests are found and put. The chain has no hole: an hour's manifest is put only after the
//! one before it was seen, and each names the key of the next, so that one put with `If-None-Match: *`
//! decides each hour, also among keepers that write different layouts. When an hour may be told is
//! `supervisor::hours`' to decide.

use std::sync::Arc;

use super::LedgerError;
use crate::codec::hash::sha256_hex;
use crate::model::hour::{HourManifest, HoursStart, to_bytes};
use crate::model::key::{Keys, Layout};
use crate::model::ledger::FORMAT_VERSION;
use crate::model::timestamp::Hour;
use crate::ports::{Attributes, Body, ObjectStore, Put, StoreError};
use crate::stop::Stop;

/// The manifests of one archive.
#[derive(Clone)]
pub struct Hours {
    store: Arc<dyn ObjectStore>,
    keys: Keys,
    layout: Layout,
}

/// A manifest as it lies in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHour {
    /// What it says.
    pub manifest: HourManifest,
    /// Hex SHA-256 of its bytes as stored.
    pub sha256: String,
    /// How many bytes that are.
    pub size: u64,
}

impl StoredHour {
    /// As these bytes say; or why they are no manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest = HourManifest::parse(bytes)?;
        Ok(Self { manifest, sha256: sha256_hex(bytes), size: bytes.len() as u64 })
    }
}

impl Hours {
    /// Of the archive under `keys`; manifests that this keeper begins a chain with lie by `layout`.
    pub fn new(store: Arc<dyn ObjectStore>, keys: Keys, layout: Layout) -> Self {
        Self { store, keys, layout }
    }

    /// Where this keeper would put an hour's manifest.
    pub fn key(&self, hour: Hour) -> String {
        self.keys.hour(self.layout, hour)
    }

    /// Where the chain begins, if it does.
    pub fn start(&self, stop: &Stop) -> Result<Option<HoursStart>, LedgerError> {
        let key = self.keys.hours_start();
        let Some(bytes) = self.store.get(&key, stop)? else { return Ok(None) };
        match serde_json::from_slice::<HoursStart>(&bytes) {
            Ok(start) if start.version == FORMAT_VERSION => Ok(Some(start)),
            Ok(start) => Err(broken(key, format!("its version is {}", start.version))),
            Err(error) => Err(broken(key, error.to_string())),
        }
    }

    /// Decides where the chain begins, unless somebody has; what lies there counts.
    pub fn put_start(&self, start: &HoursStart, stop: &Stop) -> Result<Put, StoreError> {
        self.put(&self.keys.hours_start(), &to_bytes(start), stop)
    }

    /// The manifest under this key, if one is there.
    pub fn fetch(&self, key: &str, stop: &Stop) -> Result<Option<StoredHour>, LedgerError> {
        let Some(bytes) = self.store.get(key, stop)? else { return Ok(None) };
        StoredHour::parse(&bytes)
            .map(Some)
            .map_err(|why| broken(key.to_owned(), format!("it is no hour manifest: {why}")))
    }

    /// Puts a manifest where none is. After an error the same bytes are put again.
    pub fn put(&self, key: &str, bytes: &[u8], stop: &Stop) -> Result<Put, StoreError> {
        let sha256 = sha256_hex(bytes);
        let attributes =
            Attributes { content_type: "application/json", sha256, metadata: Vec::new(), data: false };
        self.store.put_if_absent(key, Body::Bytes(bytes), &attributes, stop)
    }

    /// The key of the hour's manifest, if there is one, in whichever layout.
    pub fn find(&self, hour: Hour, stop: &Stop) -> Result<Option<String>, StoreError> {
        for layout in [self.layout, self.layout.other()] {
            let key = self.keys.hour(layout, hour);
            if self.store.head(&key, stop)?.is_some() {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The first hour from `hour` on that can still be told: what is before the chain's first never is.
    pub fn next_open(&self, hour: Hour, stop: &Stop) -> Result<Hour, StoreError> {
        let told_to = self.first_missing(hour, stop)?;
        if told_to > hour {
            return Ok(told_to);
        }
        match self.start(stop) {
            Ok(Some(start)) if start.hour > hour => self.first_missing(start.hour, stop),
            Err(LedgerError::Store(error)) => Err(error),
            // Who tells the hours reports a start that says nothing; no batch waits for that.
            Ok(_) | Err(LedgerError::Broken { .. }) => Ok(hour),
        }
    }

    /// The first hour from `hour` on that has no manifest: the chain has no hole, so it is found by
    /// doubling and halving.
    fn first_missing(&self, hour: Hour, stop: &Stop) -> Result<Hour, StoreError> {
        if self.find(hour, stop)?.is_none() {
            return Ok(hour);
        }
        let mut missing = 1;
        while self.find(hour.plus(missing), stop)?.is_some() {
            missing *= 2;
        }
        let mut there = missing / 2;
        while missing - there > 1 {
            let middle = there + (missing - there) / 2;
            if self.find(hour.plus(middle), stop)?.is_some() {
                there = middle;
            } else {
                missing = middle;
            }
        }
        Ok(hour.plus(missing))
    }

    /// The newest manifest of a chain that began at `first` and cannot have reached `now`; `None` if all
    /// have expired, or none was written yet. Looks back from `now`, since the oldest may have expired.
    pub fn newest(&self, first: Hour, now: Hour, stop: &Stop) -> Result<Option<String>, StoreError> {
        let mut back = 1;
        let there = loop {
            let hour = now.plus(-back).max(first);
            if self.find(hour, stop)?.is_some() {
                break hour;
            }
            if hour <= first {
                return Ok(None);
            }
            // No lifecycle is shorter than a day: of a chain that goes on, a day is left.
            back += back.min(24);
        };
        self.find(self.first_missing(there, stop)?.plus(-1), stop)
    }
}

fn broken(key: String, reason: String) -> LedgerError {
    LedgerError::Broken { key, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::Prefix;
    use crate::model::timestamp::Timestamp;
    use crate::testing::Shelf;

    fn hours(shelf: &Arc<Shelf>, layout: Layout) -> Hours {
        let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
        Hours::new(store, Keys::new(&Prefix::new("").unwrap(), "s"), layout)
    }

    #[test]
    fn the_newest_is_found_wherever_the_chain_begins_and_ends() {
        let first = Timestamp::from_seconds(1_795_300_000).hour();
        let stop = Stop::new();
        for (expired, written, since) in
            [(0, 1, 0), (0, 1, 900), (0, 40, 0), (3, 40, 700), (10, 40, 2), (0, 200, 1), (0, 0, 5), (7, 7, 3)]
        {
            let shelf = Arc::new(Shelf::new(Timestamp::EPOCH));
            let both = [Layout::Hive, Layout::Firehose].map(|layout| hours(&shelf, layout));
            for n in expired..written {
                // Whoever is faster writes it, in the layout of its own.
                let writer = &both[usize::try_from(n % 2).unwrap()];
                writer.put(&writer.key(first.plus(n)), b"{}", &stop).unwrap();
            }
            let start = HoursStart {
                version: FORMAT_VERSION,
                stream: "s".to_owned(),
                stream_arn: "arn".to_owned(),
                hour: first,
                key: both[0].key(first),
            };
            assert_eq!(both[0].next_open(first.plus(-3), &stop).unwrap(), first.plus(-3), "nothing is told");
            both[0].put_start(&start, &stop).unwrap();
            let (newest, now) = (first.plus(written - 1), first.plus(written + since));
            for reader in &both {
                let found = reader.newest(first, now, &stop).unwrap();
                let there = (expired < written)
                    .then(|| both[usize::try_from((written - 1) % 2).unwrap()].key(newest));
                assert_eq!(found, there, "{expired} {written} {since}");
                if expired == 0 {
                    assert_eq!(reader.next_open(first, &stop).unwrap(), first.plus(written));
                    assert_eq!(reader.next_open(first.plus(-3), &stop).unwrap(), first.plus(written));
                }
            }
        }
    }
}
