//! The records of a payload object, merged with those of its side object.
//!
//! Owns what can be given of records of which only the payload was archived: lines with nothing but
//! `data`. They have no times, so an object is given whole or not at all.

use std::io::Read;

use super::lines::{Lines, Sent, Sieve};
use super::{ReadFailure, Remark};
use crate::codec::hash::Hasher;
use crate::codec::render::{data_line, parse_side_line};
use crate::codec::{LineRef, OwnedRecord, ReadError, TextLines, parse_line};
use crate::model::ledger::{BatchBody, Entry, SideBody};

/// The side object's records, one ahead.
struct Side {
    lines: TextLines<Box<dyn Read + Send>>,
    hash: Hasher,
    next: Option<(u64, Vec<u8>, OwnedRecord)>,
}

impl Side {
    fn advance(&mut self) -> Result<(), ReadError> {
        let line = self.lines.lines() + 1;
        let Some(text) = self.lines.next_line()? else {
            self.next = None;
            return Ok(());
        };
        self.hash.update(text);
        let read = parse_side_line(text)
            .and_then(|(after, envelope)| parse_line(&envelope).map(|record| (after, envelope, record)));
        self.next = Some(read.map_err(|cause| ReadError::Line { line, cause })?);
        Ok(())
    }

    /// Gives those records that stand before line `lines` (counted from 0).
    fn give(&mut self, lines: u64, sieve: &mut Sieve<'_>) -> Result<(), ReadError> {
        while let Some((after, envelope, record)) = self.next.take_if(|next| next.0 <= lines) {
            debug_assert!(after <= lines);
            sieve.line(&LineRef {
                text: &envelope,
                sequence_number: record.sequence_number,
                arrival: record.arrival,
            });
            self.advance()?;
        }
        Ok(())
    }
}

impl Lines<'_> {
    /// Sends the records of a payload object that is there.
    pub(super) fn of_payload(
        &self,
        entry: &Entry,
        batch: &BatchBody,
        send: &mut dyn FnMut(Sent) -> bool,
    ) -> Result<(), ReadFailure> {
        let (first, last) = (batch.first_arrival, batch.last_arrival);
        if !self.query.selection.meets(first.min(last), first.max(last)) {
            return Ok(());
        }
        if self.query.wanted.keyed || self.query.wanted.partition_key.is_some() {
            return Err(ReadFailure::NoKeys { key: batch.key.clone() });
        }
        let selection = &self.query.selection;
        let whole = selection.from.is_none_or(|from| from <= first.min(last))
            && selection.to.is_none_or(|to| to > first.max(last));
        if !whole {
            send(Sent::Remark(Remark::Untimed { key: batch.key.clone(), records: batch.records }));
        }
        let mut side = match &batch.side {
            Some(side) => self.side(entry, side, batch, send)?,
            None => None,
        };
        let mut sieve = Sieve::new(self.query, entry.serial, send);
        let mut lines = TextLines::new(batch.compression, self.open(&batch.key)?);
        let mut hash = Hasher::default();
        loop {
            let at = lines.lines();
            let Some(text) = lines.next_line().map_err(|error| self.unread(&batch.key, &error))? else {
                break;
            };
            hash.update(text);
            if let (Some(side), Some(claim)) = (&mut side, &batch.side) {
                side.give(at, &mut sieve).map_err(|error| self.unread(&claim.key, &error))?;
            }
            let payload = text.strip_suffix(b"\n").unwrap_or(text);
            sieve.payload(&data_line(payload), batch.first_arrival);
            if sieve.gone {
                return Ok(());
            }
        }
        proved(&batch.key, &mut hash, &batch.content_sha256)?;
        if let (Some(side), Some(claim)) = (&mut side, &batch.side) {
            side.give(u64::MAX, &mut sieve).map_err(|error| self.unread(&claim.key, &error))?;
            if !sieve.gone {
                proved(&claim.key, &mut side.hash, &claim.content_sha256)?;
            }
        }
        sieve.end();
        Ok(())
    }

    /// The side object; it may expire a moment before the object that it was put for.
    fn side(
        &self,
        entry: &Entry,
        side: &SideBody,
        batch: &BatchBody,
        send: &mut dyn FnMut(Sent) -> bool,
    ) -> Result<Option<Side>, ReadFailure> {
        if self.archive.store.head(&side.key, self.stop)?.is_none() {
            if !self.has_expired(entry, &side.key)? {
                let reason = format!("the side object of entry {} is missing", entry.serial);
                return Err(ReadFailure::Damaged { key: side.key.clone(), reason });
            }
            send(Sent::Remark(Remark::Expired { key: side.key.clone(), records: side.records }));
            return Ok(None);
        }
        let lines = TextLines::new(batch.compression, self.open(&side.key)?);
        let mut read = Side { lines, hash: Hasher::default(), next: None };
        read.advance().map_err(|error| self.unread(&side.key, &error))?;
        Ok(Some(read))
    }
}

fn proved(key: &str, hash: &mut Hasher, claimed: &str) -> Result<(), ReadFailure> {
    let sha256 = hash.take_hex();
    if sha256 == claimed {
        return Ok(());
    }
    let reason = format!("its content's SHA-256 is {sha256}, its entry says {claimed}");
    Err(ReadFailure::Damaged { key: key.to_owned(), reason })
}
