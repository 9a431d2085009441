//! The archive held against what the stream still holds: every record of it must be in a batch, and
//! every batch must be rendered from it to the bytes that its entry claims.
//!
//! Owns the comparison. That objects are what their entries claim is `verify`'s to prove.

use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::Serialize;

use super::fault::{Fault, FaultKind};
use super::held::Held;
use super::ledgers::LedgerAt;
use super::verify::selected;
use super::{Archive, Selection};
use crate::codec::Renderer;
use crate::codec::aggregate::for_each_user_record;
use crate::model::ledger::{BatchBody, Begin, BeginBody, Body, GapBody, GapCause};
use crate::model::record::RawRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::HashKeyRange;
use crate::model::timestamp::Timestamp;
use crate::ports::{IteratorStart, StoreError, Stream, StreamError};
use crate::stop::Stop;

/// Only hashes are wanted of what is rendered.
const LEVEL: u32 = 1;

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Records that the stream gave.
    pub records: u64,
    /// Batches that were rendered whole and are the same.
    pub batches: u64,
    /// Batches of which the stream holds the end alone.
    pub trimmed: u64,
    /// Records after the newest entry: still to be archived.
    pub to_come: u64,
}

impl Compared {
    const fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.batches += other.batches;
        self.trimmed += other.trimmed;
        self.to_come += other.to_come;
    }
}

/// Why the comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The bucket did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream did not.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Compares the selected part of every shard that has a ledger, so many shards at once: each holds a
/// reply and a batch.
pub fn compare(
    archive: &Archive,
    selection: &Selection,
    stream: &dyn Stream,
    at_once: usize,
    stop: &Stop,
) -> Result<(Compared, Vec<Fault>), CompareError> {
    let created = stream.describe(stop)?.value.identity.created;
    let (ledgers, _) = archive.ledgers(selection, stop)?;
    let mut told: (Compared, Vec<Fault>) = Default::default();
    let of_stream = |ledger: &&LedgerAt| ledger.created == created.as_seconds();
    let left = Mutex::new(ledgers.iter().filter(of_stream));
    let results: Mutex<Vec<Result<_, CompareError>>> = Mutex::default();
    // A panic of one ends the scope with it: nothing is called the same that was not compared.
    thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(ledger) = next else { return };
                    let result = Shard::compare(archive, ledger, selection, stream, stop);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    for result in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let (compared, mut faults) = result?;
        told.0.add(&compared);
        told.1.append(&mut faults);
    }
    for shard in stream.list_shards(stop)? {
        let wanted = selection.shard.as_ref().is_none_or(|wanted| *wanted == shard.id);
        if wanted && !ledgers.iter().filter(of_stream).any(|ledger| ledger.shard == shard.id) {
            let key = archive.keys.ledger(&shard.id, created);
            told.1.push(Fault::new(
                FaultKind::RecordMissing,
                key,
                "the stream lists the shard, and it has no ledger",
            ));
        }
    }
    Ok(told)
}

/// A batch entry that claims records.
struct Claim {
    serial: u64,
    batch: Box<BatchBody>,
    /// A gap is recorded between it and the batch before it.
    after_gap: bool,
}

/// How far a claim is rendered.
enum Rendered {
    Nothing,
    /// Its beginning was trimmed.
    Partly,
    Lines(Box<Renderer>),
}

/// Records in a row that no batch claims.
struct Unclaimed {
    first: SequenceNumber,
    last: SequenceNumber,
    records: u64,
    in_gap: bool,
}

/// One shard's comparison.
struct Shard<'a> {
    archive: &'a Archive,
    ledger: &'a LedgerAt,
    stop: &'a Stop,
    range: HashKeyRange,
    /// The entries that are still to be read.
    indices: std::ops::Range<usize>,
    rendered: Rendered,
    unclaimed: Option<Unclaimed>,
    compared: Compared,
    faults: Vec<Fault>,
}

impl<'a> Shard<'a> {
    fn compare(
        archive: &'a Archive,
        ledger: &'a LedgerAt,
        selection: &Selection,
        stream: &dyn Stream,
        stop: &Stop,
    ) -> Result<(Compared, Vec<Fault>), CompareError> {
        let Some(Ok(begin)) = archive.entry(ledger, 0, stop)? else { return Ok(Default::default()) };
        let Body::Begin(begin) = begin.entry.body else { return Ok(Default::default()) };
        let indices = selected(archive, ledger, selection, stop)?;
        let from_beginning = indices.start == 0;
        let end = indices.end;
        let to_end = end == ledger.serials.len();
        let range = range_of(&begin);
        let mut shard = Shard {
            archive,
            ledger,
            stop: &stop.clone(),
            range,
            indices,
            rendered: Rendered::Nothing,
            unclaimed: None,
            compared: Compared::default(),
            faults: Vec::new(),
        };
        let mut claim = shard.next_claim()?;
        let start = match &claim {
            Some(claim) if !from_beginning => IteratorStart::At(claim.batch.first_sequence_number.clone()),
            Some(_) => IteratorStart::TrimHorizon,
            None => behind(archive, ledger, end, stop)?,
        };
        let wanted_from = if let Begin::At(time) = begin.begin { Some(time) } else { None };
        let mut held = Held::from(stream, &ledger.shard, start, stop);
        while let Some(record) = held.next()? {
            let number = &record.sequence_number;
            while let Some(done) = claim.take_if(|claim| *number > claim.batch.last_sequence_number) {
                shard.settle(&done, true);
                claim = shard.next_claim()?;
            }
            if claim.is_none() && !to_end {
                break;
            }
            shard.take(claim.as_ref(), &record, wanted_from);
        }
        if let Some(claim) = claim {
            shard.settle(&claim, false);
        }
        shard.tell_unclaimed();
        Ok((shard.compared, shard.faults))
    }

    /// The next batch whose object is none that was given up.
    fn next_claim(&mut self) -> Result<Option<Claim>, StoreError> {
        let mut after_gap = false;
        let mut found: Option<Claim> = None;
        // One entry further: a `lost` gap tells that the batch before it is void.
        while let Some(index) = self.indices.next() {
            let Some(Ok(read)) = self.archive.entry(self.ledger, self.ledger.serials[index], self.stop)?
            else {
                continue;
            };
            match (read.entry.body, found.is_some()) {
                (Body::Gap(gap), true) if gap.why == GapCause::Lost => (found, after_gap) = (None, true),
                (Body::Begin(_) | Body::Batch(_) | Body::Gap(_) | Body::End(_), true) => {
                    self.indices.start = index;
                    return Ok(found);
                }
                (Body::Batch(batch), false) => {
                    found = Some(Claim { serial: read.entry.serial, batch, after_gap });
                }
                (Body::Gap(_), false) => after_gap = true,
                (Body::Begin(_) | Body::End(_), false) => {}
            }
        }
        Ok(found)
    }

    fn take(&mut self, claim: Option<&Claim>, record: &RawRecord, wanted_from: Option<Timestamp>) {
        self.compared.records += 1;
        // What arrived before the stream's start was never wanted.
        let wanted = wanted_from.is_none_or(|from| record.arrival >= from);
        let Some(claim) = claim else {
            self.compared.to_come += u64::from(wanted);
            return;
        };
        let number = &record.sequence_number;
        if *number < claim.batch.first_sequence_number {
            if wanted {
                self.note_unclaimed(number, claim.after_gap);
            }
            return;
        }
        self.tell_unclaimed();
        if matches!(self.rendered, Rendered::Nothing) {
            self.rendered = if *number == claim.batch.first_sequence_number {
                Rendered::Lines(Box::new(Renderer::new(claim.batch.form(), LEVEL)))
            } else {
                Rendered::Partly
            };
        }
        if let Rendered::Lines(lines) = &mut self.rendered {
            for_each_user_record(record, self.range, claim.batch.deaggregate, &mut |user| lines.append(user));
        }
    }

    fn note_unclaimed(&mut self, number: &SequenceNumber, in_gap: bool) {
        match &mut self.unclaimed {
            Some(row) => {
                row.last = number.clone();
                row.records += 1;
            }
            None => {
                let (first, last) = (number.clone(), number.clone());
                self.unclaimed = Some(Unclaimed { first, last, records: 1, in_gap });
            }
        }
    }

    fn tell_unclaimed(&mut self) {
        let Some(row) = self.unclaimed.take() else { return };
        let Unclaimed { first, last, records, in_gap } = row;
        let gap = if in_gap { "; the ledger tells of a gap there" } else { "" };
        let told =
            format!("the stream holds {records} records from {first} to {last}, and no batch does{gap}");
        self.faults.push(Fault::new(FaultKind::RecordMissing, &self.ledger.folder, told));
    }

    /// All that the stream holds of the claim was taken; `passed`: and something after it.
    fn settle(&mut self, claim: &Claim, passed: bool) {
        let Claim { serial, batch, .. } = claim;
        let finished = match std::mem::replace(&mut self.rendered, Rendered::Nothing) {
            // Trimmed, unless the stream gave something before it.
            Rendered::Nothing => {
                if self.compared.records > 0 {
                    let told = format!(
                        "entry {serial} claims {} records, and the stream holds none of them",
                        batch.records
                    );
                    self.faults.push(Fault::new(FaultKind::RecordsDiffer, &batch.key, told));
                }
                return;
            }
            Rendered::Partly => {
                self.compared.trimmed += 1;
                return;
            }
            Rendered::Lines(mut lines) => lines.finish(),
        };
        let Some(finished) = finished else { return };
        if batch.is(&finished.content, finished.side.as_ref().map(|side| &side.content)) {
            self.compared.batches += 1;
            return;
        }
        let content = finished.content;
        let came = if passed { "" } else { ", and nothing after it" };
        let told = format!(
            "the stream holds {} records with content {} from {} to {}{came}; entry {serial} claims {} with {}",
            content.records,
            content.content_sha256,
            content.first_sequence_number,
            content.last_sequence_number,
            batch.records,
            batch.content_sha256
        );
        self.faults.push(Fault::new(FaultKind::RecordsDiffer, &batch.key, told));
    }
}

/// Where the stream goes on behind the entries up to an index: those before it have claimed what lies before.
fn behind(
    archive: &Archive,
    ledger: &LedgerAt,
    end: usize,
    stop: &Stop,
) -> Result<IteratorStart, StoreError> {
    let mut lost = false;
    for index in (0..end).rev() {
        let Some(Ok(read)) = archive.entry(ledger, ledger.serials[index], stop)? else { continue };
        // The batch before a `lost` gap is void, and has claimed nothing.
        let void = std::mem::take(&mut lost);
        match read.entry.body {
            Body::Batch(batch) if !void => return Ok(IteratorStart::After(batch.last_sequence_number)),
            Body::Gap(GapBody { resumes_at: Some(number), .. }) => return Ok(IteratorStart::At(number)),
            Body::Gap(gap) => lost = gap.why == GapCause::Lost,
            Body::Batch(_) | Body::Begin(_) | Body::End(_) => {}
        }
    }
    Ok(IteratorStart::TrimHorizon)
}

/// The shard's hash keys as its first entry has them; a broken one is `verify`'s to tell.
pub(super) fn range_of(begin: &BeginBody) -> HashKeyRange {
    match (begin.starting_hash_key.parse(), begin.ending_hash_key.parse()) {
        (Ok(start), Ok(end)) => HashKeyRange { start, end },
        _ => HashKeyRange::WHOLE,
    }
}

#[cfg(test)]
mod tests;
