//! The ledgers as far as they were read: what of each is not told yet.
//!
//! Owns how far a ledger is read (to the first batch of a later hour, no further), and which of its entries
//! an hour tells of. Does not decide when an hour is due.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::due::{Creation, Standing};
use crate::ledger::{Ledger, LedgerError, StoredEntry};
use crate::model::hour::HourManifest;
use crate::model::key::Keys;
use crate::model::ledger::{BeginBody, Body};
use crate::model::shard::{ShardId, StreamIdentity};
use crate::model::timestamp::{Hour, Timestamp};
use crate::ports::ObjectStore;
use crate::stop::Stop;

/// So long after the stream was made again the ledgers of the one before are told of although idle.
const CARRIED: i64 = 168;

/// One ledger: the creation in seconds, and the shard.
pub(super) type Name = (i64, ShardId);

/// One ledger as far as it was read.
pub(super) struct Book {
    ledger: Ledger,
    pub(super) shard: ShardId,
    pub(super) created: Timestamp,
    pub(super) lineage: BeginBody,
    /// The last entry that a manifest tells of: serial and hash.
    pub(super) told: Option<(u64, String)>,
    /// Entries behind it, without a hole.
    pub(super) pending: Vec<StoredEntry>,
}

/// All ledgers.
pub(super) struct Books {
    store: Arc<dyn ObjectStore>,
    keys: Keys,
    stream: StreamIdentity,
    pub(super) by_name: BTreeMap<Name, Book>,
    /// Ledgers that have their end, all of it told.
    pub(super) finished: BTreeSet<String>,
}

/// What a ledger's folder is called after: `{shard}-{creation, epoch seconds}`.
fn name_of(folder: &str) -> Option<Name> {
    let (shard, created) = folder.rsplit_once('-')?;
    Some((created.parse().ok()?, ShardId::new(shard)))
}

impl Book {
    fn hour_of(stored: &StoredEntry) -> Option<Hour> {
        match &stored.entry.body {
            Body::Batch(batch) => Some(batch.hour),
            Body::Begin(_) | Body::Gap(_) | Body::End(_) => None,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.pending.last().is_some_and(|stored| matches!(stored.entry.body, Body::End(_)))
    }

    fn newest(&self) -> Option<(u64, &str)> {
        let told = self.told.as_ref().map(|(serial, sha256)| (*serial, sha256.as_str()));
        self.pending.last().map(|stored| (stored.entry.serial, stored.sha256.as_str())).or(told)
    }

    fn newest_hour(&self) -> Option<Hour> {
        self.pending.iter().rev().find_map(Self::hour_of)
    }

    /// Reads on, to the ledger's newest entry or the first batch of an hour after this one.
    fn read_past(&mut self, hour: Option<Hour>, stop: &Stop) -> Result<(), LedgerError> {
        let enough =
            |newest: Option<Hour>| newest.is_some_and(|newest| hour.is_none_or(|hour| newest > hour));
        while !self.is_ended() && !enough(self.newest_hour()) {
            let next = self.newest().map_or(0, |(serial, _)| serial + 1);
            let Some(stored) = self.ledger.fetch(next, stop)? else { break };
            let before = self.newest().map_or("", |(_, sha256)| sha256);
            if stored.entry.previous_entry_sha256 != before {
                let reason = format!(
                    "it says that the entry before it had the SHA-256 {}, which has {before}",
                    stored.entry.previous_entry_sha256
                );
                return Err(LedgerError::Broken { key: self.ledger.key(next), reason });
            }
            self.pending.push(stored);
        }
        Ok(())
    }

    /// How many of the pending entries an hour tells of: all before the first batch of a later hour, but for
    /// gaps at their end whose records would have come later.
    pub(super) fn cut(&self, hour: Hour) -> usize {
        let later = |stored: &StoredEntry| Self::hour_of(stored).is_some_and(|of| of > hour);
        let batches = self.pending.iter().position(later).unwrap_or(self.pending.len());
        let settled = self.pending[..batches].iter().rposition(|stored| match &stored.entry.body {
            Body::Begin(_) | Body::Batch(_) => true,
            Body::Gap(gap) => gap.to.hour() <= hour,
            Body::End(_) => false,
        });
        let settled = settled.map_or(0, |index| index + 1);
        // The shard's end belongs to what is before it.
        let end = self.pending.get(settled).is_some_and(|stored| matches!(stored.entry.body, Body::End(_)));
        if end && settled < batches { settled + 1 } else { settled }
    }

    /// The hour of the first entry that has one, of those that are pending.
    fn first_hour(&self) -> Option<Hour> {
        let hours = self.pending.iter().filter_map(|stored| match &stored.entry.body {
            Body::Batch(batch) => Some(batch.hour),
            Body::Gap(gap) => Some(gap.to.hour()),
            Body::Begin(_) | Body::End(_) => None,
        });
        hours.min()
    }

    fn tell_to(&mut self, serial: u64, sha256: String) {
        self.pending.retain(|stored| stored.entry.serial > serial);
        self.told = Some((serial, sha256));
    }
}

impl Books {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        keys: Keys,
        stream: StreamIdentity,
        finished: BTreeSet<String>,
    ) -> Self {
        Self { store, keys, stream, by_name: BTreeMap::new(), finished }
    }

    fn folder((created, shard): &Name) -> String {
        format!("{shard}-{created}")
    }

    /// Opens the ledgers that came since, and reads all of them past `hour`; with `None` to their first
    /// batch. `begins`: no entry of any ledger was told yet.
    pub(super) fn read(&mut self, hour: Option<Hour>, begins: bool, stop: &Stop) -> Result<(), LedgerError> {
        let root = self.keys.ledgers();
        for folder in self.store.folders(&root, stop)? {
            let name = folder.strip_prefix(&root).unwrap_or(&folder).trim_end_matches('/').to_owned();
            let Some(key) = name_of(&name) else { continue };
            if self.by_name.contains_key(&key) || self.finished.contains(&name) {
                continue;
            }
            let from = if begins { None } else { hour };
            match self.open(&key, from, stop)? {
                Some(book) => drop(self.by_name.insert(key, book)),
                None => drop(self.finished.insert(name)),
            }
        }
        for book in self.by_name.values_mut() {
            book.read_past(hour, stop)?;
        }
        Ok(())
    }

    fn ledger(&self, (created, shard): &Name) -> Ledger {
        let stream = StreamIdentity { created: Timestamp::from_seconds(*created), ..self.stream.clone() };
        Ledger::new(Arc::clone(&self.store), self.keys.clone(), stream, shard.clone(), String::new())
    }

    /// A ledger that the manifest before does not name: it is new, or has long been told. What is of
    /// `from` or later is not told yet; `None`: nothing is. No book: all is told, and it has its end.
    fn open(&self, name: &Name, from: Option<Hour>, stop: &Stop) -> Result<Option<Book>, LedgerError> {
        let ledger = self.ledger(name);
        let missing = |serial: u64| LedgerError::Broken {
            key: ledger.key(serial),
            reason: "it is missing although later entries are there; ledger objects must never expire"
                .to_owned(),
        };
        let first = ledger.fetch(0, stop)?.ok_or_else(|| missing(0))?;
        let Body::Begin(lineage) = first.entry.body.clone() else {
            return Err(LedgerError::Broken {
                key: ledger.key(0),
                reason: "it is no begin entry".to_owned(),
            });
        };
        let (created, shard) = (first.entry.stream_created, name.1.clone());
        let mut book = Book { ledger, shard, created, lineage, told: None, pending: Vec::new() };
        let (Some(from), Some(newest)) = (from, book.ledger.newest(stop)?) else {
            return Ok(Some(book));
        };
        let (mut serial, mut ended, mut untold) = (newest, false, false);
        while serial > 0 {
            let stored = book.ledger.fetch(serial, stop)?.ok_or_else(|| LedgerError::Broken {
                key: book.ledger.key(serial),
                reason: "it was there and is gone".to_owned(),
            })?;
            ended |= matches!(stored.entry.body, Body::End(_));
            match Book::hour_of(&stored) {
                Some(hour) if hour < from => {
                    if ended && !untold {
                        return Ok(None);
                    }
                    book.told = Some((serial, stored.sha256));
                    return Ok(Some(book));
                }
                Some(_) => untold = true,
                None => {}
            }
            serial -= 1;
        }
        // Without a batch it has nothing to tell once it has its end.
        Ok((!ended || untold).then_some(book))
    }

    /// The hour of the first entry of all ledgers, while none is told.
    pub(super) fn first_hour(&self) -> Option<Hour> {
        self.by_name.values().filter_map(Book::first_hour).min()
    }

    /// What there is to judge.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let creation = |created: i64| match created.cmp(&self.stream.created.as_seconds()) {
            Ordering::Less => Creation::Earlier,
            Ordering::Equal => Creation::This,
            Ordering::Greater => Creation::Later,
        };
        let open = self.by_name.iter().map(|((created, shard), book)| Standing {
            shard: shard.clone(),
            creation: creation(*created),
            ended: book.is_ended(),
            hour: book.newest_hour(),
            serial: book.newest().map(|(serial, _)| serial),
        });
        let finished = self.finished.iter().filter_map(|folder| name_of(folder)).map(|(created, shard)| {
            Standing { shard, creation: creation(created), ended: true, hour: None, serial: None }
        });
        open.chain(finished).collect()
    }

    /// The newest creation that has a ledger.
    pub(super) fn newest_creation(&self) -> Option<Timestamp> {
        self.by_name.values().next_back().map(|book| book.created)
    }

    /// Whether the hour's manifest names the ledger: it has something to tell, or may yet have.
    pub(super) fn is_named(&self, (created, _): &Name, book: &Book, hour: Hour) -> bool {
        let newest = self.newest_creation().unwrap_or(book.created);
        let recent = newest.hour().plus(CARRIED) > hour;
        book.cut(hour) > 0 || !book.pending.is_empty() || newest.as_seconds() == *created || recent
    }

    /// A manifest is in the bucket: what it tells is told.
    pub(super) fn told(&mut self, manifest: &HourManifest) {
        for told in &manifest.shards {
            let name = (told.stream_created.as_seconds(), told.shard.clone());
            if told.ended {
                self.by_name.remove(&name);
                self.finished.insert(Self::folder(&name));
                continue;
            }
            let lineage = || BeginBody {
                parents: told.parents.clone(),
                starting_hash_key: told.starting_hash_key.clone(),
                ending_hash_key: told.ending_hash_key.clone(),
                begin: crate::model::ledger::Begin::TRIM_HORIZON,
            };
            let ledger = self.ledger(&name);
            let book = self.by_name.entry(name).or_insert_with(|| Book {
                ledger,
                shard: told.shard.clone(),
                created: told.stream_created,
                lineage: lineage(),
                told: None,
                pending: Vec::new(),
            });
            book.tell_to(told.last_serial, told.last_entry_sha256.clone());
        }
    }
}
