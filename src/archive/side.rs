//! The side object of an entry, held against what the entry says of it.

use std::io::Read;

use super::fault::{Fault, FaultKind};
use super::ledgers::ReadEntry;
use super::object::{Examined, Lines, against_metadata};
use super::stretch::{READ_TRIES, unread};
use super::terms::Terms;
use crate::codec::render::parse_side_line;
use crate::codec::{ReadError, TextLines, parse_line};
use crate::model::batch::Content;
use crate::model::key::Keys;
use crate::model::ledger::{BatchBody, SideBody};
use crate::ports::StoreError;

/// What is wrong with the side object of an entry whose object is there; its content, if that is right.
pub(super) fn prove(
    terms: &Terms<'_>,
    read: &ReadEntry,
    batch: &BatchBody,
    side: &SideBody,
) -> Result<(Option<Content>, Vec<Fault>), StoreError> {
    let fault = |kind, why: String| Ok((None, vec![Fault::new(kind, &side.key, why)]));
    if side.key != Keys::side(&batch.key) {
        return fault(FaultKind::ObjectUnknown, format!("it is not the side object of {}", batch.key));
    }
    let Some(head) = terms.archive.store.head(&side.key, terms.stop)? else {
        if terms.has_expired(&side.key, read.entry.written_at) {
            return Ok((None, Vec::new()));
        }
        let told = format!("entry {} claims it, with {} records", read.entry.serial, side.records);
        return fault(FaultKind::ObjectMissing, told);
    };
    let mut tries = 0;
    let content = loop {
        let Some(file) = terms.archive.store.open(&side.key, terms.stop)? else {
            return fault(FaultKind::ObjectDamaged, "it was there and is gone".to_owned());
        };
        match examine(file, batch, side) {
            Examined::Content(content) => break content,
            Examined::Damaged(why) => return fault(FaultKind::ObjectDamaged, why),
            Examined::Unread(why) => {
                tries += 1;
                if tries == READ_TRIES {
                    return Err(unread(&side.key, why));
                }
            }
        }
    };
    let mut faults = Vec::new();
    if terms.archive.has_metadata
        && let Err(why) = against_metadata(&head, &content, &read.entry)
    {
        faults.push(Fault::new(FaultKind::MetadataAltered, &side.key, why));
    }
    Ok((Some(*content), faults))
}

/// Reads it to its end: records of the batch, in order, each with its place among the lines, and
/// together what the entry claims.
pub(super) fn examine(file: Box<dyn Read + Send>, batch: &BatchBody, side: &SideBody) -> Examined {
    let mut text = TextLines::new(batch.compression, file);
    let mut lines = Lines::default();
    let mut before = 0;
    loop {
        let line = match text.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error @ ReadError::Source { .. }) => return Examined::Unread(error.to_string()),
            Err(error) => return Examined::Damaged(error.to_string()),
        };
        if let Err(why) = take(&mut lines, line, &mut before, batch) {
            return Examined::Damaged(format!("line {}: {why}", lines.records()));
        }
    }
    if let Some((kind, member)) = text.split_member() {
        return Examined::Damaged(format!("{kind} {member} ends in the middle of a line"));
    }
    let (size, sha256) = text.take_source_hash();
    match lines.content(size, sha256) {
        Some(content) => match against_claim(&content, side) {
            Ok(()) => Examined::Content(content),
            Err(why) => Examined::Damaged(why),
        },
        None => Examined::Damaged("it holds no record".to_owned()),
    }
}

fn take(lines: &mut Lines, line: &[u8], before: &mut u64, batch: &BatchBody) -> Result<(), String> {
    let (after, envelope) = parse_side_line(line).map_err(|error| error.to_string())?;
    let record = parse_line(&envelope).map_err(|error| error.to_string())?;
    lines.take_record(line, &record)?;
    if after < *before || after > batch.records {
        return Err(format!("it stands after {after} of {} lines", batch.records));
    }
    *before = after;
    let number = &record.sequence_number;
    if *number < batch.first_sequence_number || *number > batch.last_sequence_number {
        return Err(format!("record {number} is none of the batch"));
    }
    Ok(())
}

fn against_claim(content: &Content, side: &SideBody) -> Result<(), String> {
    let facts = [
        ("content_sha256", content.content_sha256.clone(), side.content_sha256.clone()),
        ("records", content.records.to_string(), side.records.to_string()),
        ("content_size", content.content_size.to_string(), side.content_size.to_string()),
    ];
    for (name, here, there) in facts {
        if here != there {
            return Err(format!("its {name} is {here}, its ledger entry says {there}"));
        }
    }
    Ok(())
}
