//! The wanted lines of one ledger entry's object.
//!
//! Owns which lines are wanted, and that an object is what its entry says. Aggregates of which a part lies
//! outside the shard are passed over, as consumers do, unless all is wanted.

use std::io::Read;

use super::link::Link;
use super::{Query, ReadFailure, Remark};
use crate::archive::Archive;
use crate::archive::ledgers::LedgerAt;
use crate::codec::hash::Hasher;
use crate::codec::{LineReader, LineRef, ReadError, parse_line, void};
use crate::model::batch::{Compression, Format};
use crate::model::expiry::Expiry;
use crate::model::ledger::{BatchBody, Body, Entry, GapBody};
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;
use crate::ports::StoreErrorKind;
use crate::stop::Stop;

/// Lines are handed on in pieces of about this size.
const PIECE: usize = 1 << 20;

/// Which lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those with this partition key.
    pub partition_key: Option<String>,
    /// Also aggregates of which a part lies outside the shard's hash range.
    pub all: bool,
    /// Only those whose partition keys are known: an object without them is a failure.
    pub keyed: bool,
}

/// A row of lines.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) text: Vec<u8>,
    /// Where each line ends, and what is known of it.
    pub(super) ends: Vec<End>,
    /// The entry whose object they are out of.
    pub(super) serial: u64,
}

/// The end of a line in a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) at: usize,
    /// When its record arrived.
    pub(super) arrival: Timestamp,
    /// Which line of the object it is, wanted or not, from 0 on.
    pub(super) line: u64,
}

/// What is sent of an entry.
#[derive(Debug)]
pub(super) enum Sent {
    /// First of all: what binds the entry to its neighbours.
    Link(Link),
    Lines(Piece),
    Remark(Remark),
    Failed(ReadFailure),
}

/// Reads entries with their objects.
pub(super) struct Lines<'a> {
    pub(super) archive: &'a Archive,
    pub(super) query: &'a Query,
    pub(super) stop: &'a Stop,
}

impl Lines<'_> {
    /// Sends what is wanted of the entry at `index` of its ledger, until `send` says that nobody takes it.
    /// Nothing comes out of a ledger from where an entry is missing on.
    pub(super) fn of_entry(
        &self,
        ledger: &LedgerAt,
        index: usize,
        send: &mut dyn FnMut(Sent) -> bool,
    ) -> Result<(), ReadFailure> {
        if self.stop.reason().is_some() {
            return Err(ReadFailure::Stopped);
        }
        let missing = |serial: u64| ReadFailure::Damaged {
            key: ledger.key(serial),
            reason: "this ledger entry is missing, and with it whatever it claims".to_owned(),
        };
        if let Some(serial) = ledger.missing_before(index) {
            return Err(missing(serial));
        }
        let Some(&serial) = ledger.serials.get(index) else { return Ok(()) };
        let key = ledger.key(serial);
        let read = match self.archive.entry(ledger, serial, self.stop)? {
            Some(Ok(read)) => read,
            Some(Err(reason)) => return Err(ReadFailure::Damaged { key, reason }),
            None => return Err(missing(serial)),
        };
        if !send(Sent::Link(Link::of(ledger, &read))) {
            return Ok(());
        }
        match &read.entry.body {
            Body::Batch(batch) => self.of_batch(&read.entry, batch, send),
            Body::Gap(gap) => {
                if self.query.selection.meets(gap.from, gap.to) {
                    send(Sent::Remark(Remark::Gap { entry: key, told: told(gap) }));
                }
                Ok(())
            }
            Body::Begin(_) | Body::End(_) => Ok(()),
        }
    }

    fn of_batch(
        &self,
        entry: &Entry,
        batch: &BatchBody,
        send: &mut dyn FnMut(Sent) -> bool,
    ) -> Result<(), ReadFailure> {
        let damaged = |reason: String| ReadFailure::Damaged { key: batch.key.clone(), reason };
        let Some(head) = self.archive.store.head(&batch.key, self.stop)? else {
            return self.missing(entry, batch, send);
        };
        // A void holds nothing, and the gap after it tells so.
        if head.is_void() || void::has_its_length(head.size, batch) {
            return Ok(());
        }
        if batch.format == Format::Payload {
            return self.of_payload(entry, batch, send);
        }
        let mut sieve = Sieve::new(self.query, entry.serial, send);
        let file = self.open(&batch.key)?;
        let sha256 = sieve.all(batch.compression, file).map_err(|error| self.unread(&batch.key, &error))?;
        match sha256 {
            Some(sha256) if sha256 != batch.content_sha256 => Err(damaged(format!(
                "its content's SHA-256 is {sha256}, its entry says {}",
                batch.content_sha256
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// An object that was there.
    pub(super) fn open(&self, key: &str) -> Result<Box<dyn Read + Send>, ReadFailure> {
        let file = self.archive.store.open(key, self.stop)?;
        file.ok_or_else(|| ReadFailure::Damaged {
            key: key.to_owned(),
            reason: "it was there and is gone".to_owned(),
        })
    }

    /// Why an object could not be read to its end.
    pub(super) fn unread(&self, key: &str, error: &ReadError) -> ReadFailure {
        if !error.is_damage() && self.stop.reason().is_some() {
            return ReadFailure::Stopped;
        }
        ReadFailure::Damaged { key: key.to_owned(), reason: error.to_string() }
    }

    /// Whether the bucket deletes what is as old as the entry; without the permission to ask, no.
    pub(super) fn has_expired(&self, entry: &Entry, key: &str) -> Result<bool, ReadFailure> {
        let expiry = match self.archive.store.expiry(self.stop) {
            Err(error) if error.kind == StoreErrorKind::AccessDenied => Expiry::default(),
            answer => answer?,
        };
        let now = self.archive.store.service_time(self.stop)?;
        Ok(expiry.has_taken(key, entry.written_at, now))
    }

    fn missing(
        &self,
        entry: &Entry,
        batch: &BatchBody,
        send: &mut dyn FnMut(Sent) -> bool,
    ) -> Result<(), ReadFailure> {
        let (key, records) = (batch.key.clone(), batch.records);
        if self.has_expired(entry, &key)? {
            send(Sent::Remark(Remark::Expired { key, records }));
            return Ok(());
        }
        let store = &self.archive.store;
        let next = self.archive.keys.entry(&entry.shard, entry.stream_created, entry.serial + 1);
        let newest = store.head(&next, self.stop)?.is_none();
        if !newest && store.head(&key, self.stop)?.is_some() {
            // It came since, and the next entry after it.
            return self.of_batch(entry, batch, send);
        }
        let age = store.service_time(self.stop)?.since(entry.written_at);
        if newest && age < self.query.on_its_way {
            let (shard, created) = (entry.shard.clone(), entry.stream_created.as_seconds());
            send(Sent::Remark(Remark::OnItsWay { shard, created, serial: entry.serial, key, records }));
            return Ok(());
        }
        Err(ReadFailure::Damaged {
            key: batch.key.clone(),
            reason: format!("the object of entry {} is missing", entry.serial),
        })
    }
}

fn told(gap: &GapBody) -> String {
    let certainty = if gap.certain { "are" } else { "may be" };
    format!("records that arrived from {} to {} {certainty} missing ({})", gap.from, gap.to, gap.why.as_str())
}

/// Lines of one Kinesis record: an aggregate's user records are wanted together or not at all.
#[derive(Default)]
struct Group {
    number: Option<SequenceNumber>,
    outside: bool,
    piece: Piece,
}

/// Lets through what is wanted, in pieces.
pub(super) struct Sieve<'a> {
    query: &'a Query,
    serial: u64,
    piece: Piece,
    group: Group,
    /// How many lines there were before.
    next_line: u64,
    send: &'a mut dyn FnMut(Sent) -> bool,
    /// Nobody takes anything any more.
    pub(super) gone: bool,
}

impl<'a> Sieve<'a> {
    pub(super) fn new(query: &'a Query, serial: u64, send: &'a mut dyn FnMut(Sent) -> bool) -> Self {
        let (piece, group) = (Piece::default(), Group::default());
        Self { query, serial, piece, group, next_line: 0, send, gone: false }
    }

    /// Reads an object of envelope lines to its end; its content's hash, if it was read so far.
    fn all(
        &mut self,
        compression: Compression,
        file: Box<dyn Read + Send>,
    ) -> Result<Option<String>, ReadError> {
        let mut reader = LineReader::packed(compression, file);
        let mut hash = Hasher::default();
        while let Some(line) = reader.next_line()? {
            hash.update(line.text);
            self.line(&line);
            if self.gone {
                return Ok(None);
            }
        }
        self.end();
        Ok(Some(hash.take_hex()))
    }

    /// All lines came.
    pub(super) fn end(&mut self) {
        self.end_group();
        self.flush();
    }

    /// A line of which nothing but the payload is known.
    pub(super) fn payload(&mut self, text: &[u8], arrival: Timestamp) {
        self.end_group();
        self.piece.text.extend_from_slice(text);
        self.piece.ends.push(End { at: self.piece.text.len(), arrival, line: self.next_line });
        self.next_line += 1;
        if self.piece.text.len() >= PIECE {
            self.flush();
        }
    }

    /// The next envelope line.
    pub(super) fn line(&mut self, line: &LineRef<'_>) {
        if self.group.number.as_ref() != Some(&line.sequence_number) {
            self.end_group();
            self.group.number = Some(line.sequence_number.clone());
        }
        // Quotes within strings are escaped, so this can only be the field.
        self.group.outside |= memchr::memmem::find(line.text, b",\"outside_hash_range\":true,\"").is_some();
        if self.is_wanted(line) {
            let piece = &mut self.group.piece;
            piece.text.extend_from_slice(line.text);
            piece.ends.push(End { at: piece.text.len(), arrival: line.arrival, line: self.next_line });
        }
        self.next_line += 1;
    }

    fn is_wanted(&self, line: &LineRef<'_>) -> bool {
        let Query { selection, wanted, .. } = self.query;
        let in_time = selection.from.is_none_or(|from| line.arrival >= from)
            && selection.to.is_none_or(|to| line.arrival < to);
        let Some(key) = wanted.partition_key.as_deref().filter(|_| in_time) else { return in_time };
        parse_line(line.text).is_ok_and(|record| record.partition_key.as_deref() == Some(key))
    }

    fn end_group(&mut self) {
        let Group { outside, piece, .. } = std::mem::take(&mut self.group);
        if piece.ends.is_empty() || (outside && !self.query.wanted.all) {
            return;
        }
        let begins = self.piece.text.len();
        self.piece.text.extend_from_slice(&piece.text);
        self.piece.ends.extend(piece.ends.into_iter().map(|end| End { at: begins + end.at, ..end }));
        if self.piece.text.len() >= PIECE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let piece = Piece { serial: self.serial, ..std::mem::take(&mut self.piece) };
        if !piece.ends.is_empty() {
            self.gone |= !(self.send)(Sent::Lines(piece));
        }
    }
}
