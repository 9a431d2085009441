//! A stretch of one ledger, walked entry by entry with the objects that they claim.
//!
//! Owns what can be known from entries that follow each other and their objects. Stretches are walked
//! side by side; where two meet, and what lies beside the ledgers, is [`verify`](super::verify)'s.

use std::ops::Range;

use super::chain::{Chain, Hole, broken_link, chain_before};
use super::fault::{Fault, FaultKind};
use super::hours::EntryFact;
use super::ledgers::{LedgerAt, ReadEntry};
use super::object::{Examined, against_entry, against_metadata, examine};
use super::report::Tally;
use super::side;
use super::terms::Terms;
use crate::codec::void;
use crate::model::key::Layout;
use crate::model::ledger::{BatchBody, Body, EndBody, Entry, GapBody, GapCause};
use crate::model::sequence::Position;
use crate::model::timestamp::Timestamp;
use crate::ports::StoreError;

/// What walking a stretch told.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) faults: Vec<Fault>,
    pub(super) tally: Tally,
    pub(super) begin: Option<Entry>,
    pub(super) end: Option<(EndBody, Timestamp)>,
    pub(super) gaps: Vec<(String, GapBody)>,
    pub(super) holes: Vec<Hole>,
    /// The keys of all objects that are claimed, with the serial that does.
    pub(super) claimed: Vec<(String, u64)>,
    /// What is held against the manifests of hours.
    pub(super) facts: Vec<EntryFact>,
    /// What the first batch says of the object before it, which an earlier stretch has read.
    pub(super) first_link: Option<String>,
    /// The last object, if it is right: its key and hash.
    pub(super) last_object: Option<(String, String)>,
    /// The newest entry: its serial and hash.
    pub(super) newest: Option<(u64, String)>,
    /// Faults of the last entry's object: they count unless the next stretch begins with an entry
    /// that says that this one was altered.
    pub(super) unconfirmed: Vec<Fault>,
    /// The first entry says that the one before it, in an earlier stretch, is not what it was.
    pub(super) predecessor_altered: bool,
}

pub(super) struct Walk<'a> {
    terms: &'a Terms<'a>,
    ledger: &'a LedgerAt,
    chain: Chain,
    walked: Walked,
    /// Faults of the last entry's object: they count once the next entry vouches for the entry.
    unconfirmed: Vec<Fault>,
}

impl<'a> Walk<'a> {
    /// Walks the entries at these indices of the ledger's serials.
    pub(super) fn stretch(
        terms: &'a Terms<'a>,
        ledger: &'a LedgerAt,
        indices: Range<usize>,
    ) -> Result<Walked, StoreError> {
        let chain = chain_before(terms, ledger, indices.start)?;
        let last = ledger.serials[indices.clone()].last().copied();
        let mut walk = Self { terms, ledger, chain, walked: Walked::default(), unconfirmed: Vec::new() };
        for &serial in &ledger.serials[indices] {
            if terms.stop.reason().is_some() {
                break;
            }
            let before = walk.walked.tally;
            match walk.serial(serial) {
                Err(_) if terms.stop.reason().is_some() => break,
                walked => walked?,
            }
            (terms.progress)(&walk.walked.tally.since(&before));
        }
        if walk.chain.serial != last {
            // Cut short: what the next stretch says of the last object would be held against another.
            walk.chain.object = None;
        }
        walk.walked.unconfirmed = walk.unconfirmed;
        if let Some(after) = walk.chain.hole.take() {
            walk.walked.holes.push(Hole { after, before: None });
        }
        walk.walked.last_object = walk.chain.object;
        walk.walked.newest = walk.chain.serial.zip(walk.chain.entry_sha256);
        Ok(walk.walked)
    }

    fn fault(&mut self, kind: FaultKind, key: String, reason: impl Into<String>) {
        self.walked.faults.push(Fault::new(kind, key, reason));
    }

    fn serial(&mut self, serial: u64) -> Result<(), StoreError> {
        let expected = self.chain.serial.map_or(0, |before| before + 1);
        if serial > expected {
            let (first, last) = (self.ledger.key(expected), serial - 1);
            let told = if last == expected {
                format!("entry {serial} is there, and this one is not")
            } else {
                format!("entry {serial} is there, and entries {expected} to {last} are not")
            };
            self.fault(FaultKind::EntryMissing, first, told);
            self.lose_track();
        }
        match self.terms.archive.entry(self.ledger, serial, self.terms.stop)? {
            Some(Ok(read)) => self.entry(serial, &read)?,
            Some(Err(why)) => {
                self.fault(FaultKind::EntryUnreadable, self.ledger.key(serial), why);
                self.lose_track();
            }
            None => {
                self.fault(
                    FaultKind::EntryMissing,
                    self.ledger.key(serial),
                    "it was listed and is not there",
                );
                self.lose_track();
            }
        }
        self.chain.serial = Some(serial);
        Ok(())
    }

    /// What an entry said that is not there is not known, and neither what follows from it.
    fn lose_track(&mut self) {
        self.walked.faults.append(&mut self.unconfirmed);
        self.chain.entry_sha256 = None;
        self.chain.object = None;
        self.chain.void = false;
        self.chain.first_batch = false;
        if self.chain.hole.is_none() {
            self.chain.hole = Some(self.chain.position.clone());
        }
    }

    fn entry(&mut self, serial: u64, read: &ReadEntry) -> Result<(), StoreError> {
        self.walked.tally.entries += 1;
        let key = self.ledger.key(serial);
        match &self.chain.entry_sha256 {
            Some(before) if *before != read.entry.previous_entry_sha256 => {
                let told = format!(
                    "its SHA-256 is {before}, and entry {serial} says that it was {}: one of the two was altered",
                    read.entry.previous_entry_sha256
                );
                let altered = self.ledger.key(serial - 1);
                self.walked.predecessor_altered = self.walked.tally.entries == 1;
                // What its object was held against cannot be believed.
                self.unconfirmed.clear();
                self.fault(FaultKind::EntryAltered, altered, told);
                self.chain.object = None;
            }
            Some(_) | None => self.walked.faults.append(&mut self.unconfirmed),
        }
        let lost = matches!(&read.entry.body, Body::Gap(gap) if gap.why == GapCause::Lost);
        if let Some(position) = self.chain.unless_lost.take().filter(|_| lost) {
            self.chain.position = position;
        }
        if let Err(why) = self.in_place(read) {
            self.fault(FaultKind::EntryMisplaced, key.clone(), why);
        }
        self.close_hole(read);
        let void = std::mem::take(&mut self.chain.void);
        match &read.entry.body {
            Body::Begin(_) => self.walked.begin = Some(read.entry.clone()),
            Body::Batch(batch) => self.batch(serial, read, batch)?,
            Body::Gap(gap) => {
                self.walked.tally.gaps += 1;
                self.walked.tally.certain_gaps += u64::from(gap.certain);
                self.walked.gaps.push((key.clone(), gap.clone()));
            }
            Body::End(end) => self.walked.end = Some((end.clone(), read.entry.written_at)),
        }
        if void && !lost {
            self.fault(
                FaultKind::EntryMisplaced,
                key,
                "the object before it is void, and this is not the gap that tells so",
            );
        }
        // A void leaves the position where it was; its gap tells where reading went on.
        if !self.chain.void {
            self.chain.position = read.entry.position_after(&self.chain.position);
        }
        let object = match &read.entry.body {
            Body::Batch(_) => self.chain.object.as_ref().map(|(_, sha256)| sha256.as_str()),
            Body::Begin(_) | Body::Gap(_) | Body::End(_) => None,
        };
        self.walked.facts.push(EntryFact::new(serial, &read.sha256, &read.entry.body, object));
        self.chain.entry_sha256 = Some(read.sha256.clone());
        Ok(())
    }

    fn close_hole(&mut self, read: &ReadEntry) {
        let begins = match &read.entry.body {
            Body::Batch(batch) => Some(batch.first_sequence_number.clone()),
            Body::Gap(gap) => gap.resumes_at.clone(),
            Body::Begin(_) | Body::End(_) => None,
        };
        if begins.is_some()
            && let Some(after) = self.chain.hole.take()
        {
            self.walked.holes.push(Hole { after, before: begins });
        }
    }

    /// Whether the entry may follow those before it.
    fn in_place(&self, read: &ReadEntry) -> Result<(), String> {
        let position = &self.chain.position;
        if *position == Position::End {
            return Err("the shard had ended before it".to_owned());
        }
        match &read.entry.body {
            Body::Begin(begin) => {
                let keys = (begin.starting_hash_key.parse::<u128>(), begin.ending_hash_key.parse::<u128>());
                match keys {
                    (Ok(start), Ok(end)) if start <= end => Ok(()),
                    _ => Err("its hash keys are no range".to_owned()),
                }
            }
            Body::Batch(batch) => self.batch_in_place(batch),
            Body::Gap(gap) => match &gap.resumes_at {
                Some(resumes) if Position::Before(resumes.clone()) < *position => {
                    Err(format!("it resumes at {resumes}, which lies before {position}"))
                }
                Some(_) | None => Ok(()),
            },
            Body::End(_) => Ok(()),
        }
    }

    fn batch_in_place(&self, batch: &BatchBody) -> Result<(), String> {
        let (first, last) = (&batch.first_sequence_number, &batch.last_sequence_number);
        if first > last {
            return Err(format!("it begins with {first} and ends with {last}"));
        }
        if self.chain.position.covers(first) {
            return Err(format!("it begins with {first}, which an earlier entry covers"));
        }
        let own = batch.first_arrival.hour();
        let hour = self.chain.hour.map_or(own, |before| before.max(own));
        // A void keeps its key for good; and a closed hour takes no batch any more.
        if batch.hour < hour {
            return Err(format!(
                "it lies in the hour of {}, before that of {}",
                batch.hour.start(),
                hour.start()
            ));
        }
        let form = batch.form();
        let key =
            |layout| self.terms.archive.keys.object(layout, batch.hour, &self.ledger.shard, first, form);
        if [Layout::Hive, Layout::Firehose].map(key).contains(&batch.key) {
            Ok(())
        } else {
            Err(format!("its key {} is not the one of its hour, shard and first record", batch.key))
        }
    }

    fn batch(&mut self, serial: u64, read: &ReadEntry, batch: &BatchBody) -> Result<(), StoreError> {
        self.walked.claimed.push((batch.key.clone(), serial));
        self.walked.claimed.extend(batch.side.iter().map(|side| (side.key.clone(), serial)));
        let previous = &batch.previous_object_sha256;
        if self.chain.first_batch {
            self.walked.first_link = Some(previous.clone());
        } else if let Some(fault) = broken_link(self.chain.object.as_ref(), previous, serial) {
            self.walked.faults.push(fault);
        }
        self.chain.first_batch = false;
        let object = self.object(read, batch)?;
        if object.is_none() && !self.chain.void {
            self.chain.unless_lost = Some(self.chain.position.clone());
        }
        self.chain.object = object.map(|sha256| (batch.key.clone(), sha256));
        self.chain.hour = Some(batch.hour);
        Ok(())
    }

    /// Reads the entry's object; its hash if it is there and right.
    fn object(&mut self, read: &ReadEntry, batch: &BatchBody) -> Result<Option<String>, StoreError> {
        let Terms { archive, stop, .. } = self.terms;
        let Some(head) = archive.store.head(&batch.key, stop)? else {
            self.missing(read, batch);
            return Ok(None);
        };
        let is_void =
            if archive.has_metadata { head.is_void() } else { void::has_its_length(head.size, batch) };
        if is_void {
            self.walked.tally.voids += 1;
            self.chain.void = true;
            return Ok(None);
        }
        let Some(content) = self.content(batch)? else { return Ok(None) };
        if archive.has_metadata
            && let Err(why) = against_metadata(&head, &content, &read.entry)
        {
            self.unconfirmed.push(Fault::new(FaultKind::MetadataAltered, &batch.key, why));
        }
        self.side(read, batch)?;
        self.walked.tally.objects += 1;
        self.walked.tally.records += content.records;
        self.walked.tally.bytes += content.size;
        self.walked.tally.content_bytes += content.content_size;
        Ok(Some(content.sha256))
    }

    fn side(&mut self, read: &ReadEntry, batch: &BatchBody) -> Result<(), StoreError> {
        let Some(side) = &batch.side else { return Ok(()) };
        let (content, mut faults) = side::prove(self.terms, read, batch, side)?;
        self.unconfirmed.append(&mut faults);
        if let Some(content) = content {
            self.walked.tally.objects += 1;
            self.walked.tally.records += content.records;
            self.walked.tally.bytes += content.size;
            self.walked.tally.content_bytes += content.content_size;
        }
        Ok(())
    }

    /// The content of an object that is there; `None` after a fault.
    fn content(&mut self, batch: &BatchBody) -> Result<Option<crate::model::batch::Content>, StoreError> {
        let Terms { archive, stop, .. } = self.terms;
        let mut fault =
            |why: String| self.unconfirmed.push(Fault::new(FaultKind::ObjectDamaged, &batch.key, why));
        let mut tries = 0;
        loop {
            let Some(bytes) = archive.store.open(&batch.key, stop)? else {
                fault("it was there and is gone".to_owned());
                return Ok(None);
            };
            match examine(bytes, batch) {
                Examined::Content(content) => {
                    return match against_entry(&content, batch) {
                        Ok(()) => Ok(Some(*content)),
                        Err(why) => {
                            fault(why);
                            Ok(None)
                        }
                    };
                }
                Examined::Damaged(why) => {
                    fault(why);
                    return Ok(None);
                }
                Examined::Unread(why) => {
                    tries += 1;
                    if tries == READ_TRIES {
                        return Err(unread(&batch.key, why));
                    }
                }
            }
        }
    }

    fn missing(&mut self, read: &ReadEntry, batch: &BatchBody) {
        let (now, written_at) = (self.terms.now, read.entry.written_at);
        let newest = self.ledger.serials.last() == Some(&read.entry.serial);
        if newest && now.since(written_at) < self.terms.on_its_way {
            self.walked.tally.pending += 1;
        } else if self.terms.has_expired(&batch.key, written_at) {
            self.walked.tally.expired += 1;
        } else {
            let told = format!("entry {} claims it, with {} records", read.entry.serial, batch.records);
            self.unconfirmed.push(Fault::new(FaultKind::ObjectMissing, &batch.key, told));
        }
    }
}

/// So often an object is read again when the connection breaks.
pub(super) const READ_TRIES: u32 = 3;

pub(super) fn unread(key: &str, message: String) -> StoreError {
    let kind = crate::ports::StoreErrorKind::NoAnswer;
    StoreError { call: "GetObject", key: key.to_owned(), kind, message }
}
