//! One object, read whole and held against its metadata and its ledger entry.

use std::io::Read;

use crate::codec::hash::Hasher;
use crate::codec::{LineReader, OwnedRecord, ReadError, TextLines, parse_line};
use crate::model::batch::{Content, Format};
use crate::model::ledger::{BatchBody, Entry};
use crate::model::metadata::{self, Source};
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;
use crate::ports::Head;

/// What reading an object told.
pub(super) enum Examined {
    /// It holds records.
    Content(Box<Content>),
    /// It is damaged, and why.
    Damaged(String),
    /// Its bytes could not be had: says nothing of the object.
    Unread(String),
}

/// Reads the batch's object to its end, every line as a record.
pub(super) fn examine(file: Box<dyn Read + Send>, batch: &BatchBody) -> Examined {
    if batch.format == Format::Payload {
        return examine_payload(file, batch);
    }
    let mut reader = LineReader::packed(batch.compression, file);
    let mut lines = Lines::default();
    loop {
        match reader.next_line() {
            Ok(Some(line)) => {
                if let Err(why) = lines.take(line.text) {
                    return Examined::Damaged(format!("line {}: {why}", lines.records));
                }
            }
            Ok(None) => break,
            Err(error @ ReadError::Source { .. }) => return Examined::Unread(error.to_string()),
            Err(error) => return Examined::Damaged(error.to_string()),
        }
    }
    if let Some((kind, member)) = reader.split_member() {
        return Examined::Damaged(format!("{kind} {member} ends in the middle of a line"));
    }
    let (size, sha256) = reader.take_source_hash();
    lines
        .content(size, sha256)
        .map_or_else(|| Examined::Damaged("it holds no record".to_owned()), Examined::Content)
}

/// Reads an object of payloads: its lines do not say of which records they are.
fn examine_payload(file: Box<dyn Read + Send>, batch: &BatchBody) -> Examined {
    let mut lines = TextLines::new(batch.compression, file);
    let mut text = Hasher::default();
    loop {
        match lines.next_line() {
            Ok(Some(line)) => text.update(line),
            Ok(None) => break,
            Err(error @ ReadError::Source { .. }) => return Examined::Unread(error.to_string()),
            Err(error) => return Examined::Damaged(error.to_string()),
        }
    }
    if let Some((kind, member)) = lines.split_member() {
        return Examined::Damaged(format!("{kind} {member} ends in the middle of a line"));
    }
    let (size, sha256) = lines.take_source_hash();
    Examined::Content(Box::new(Content {
        first_sequence_number: batch.first_sequence_number.clone(),
        last_sequence_number: batch.last_sequence_number.clone(),
        records: lines.lines(),
        first_arrival: batch.first_arrival,
        last_arrival: batch.last_arrival,
        content_size: text.len(),
        content_sha256: text.take_hex(),
        size,
        sha256,
    }))
}

/// The lines so far.
#[derive(Default)]
pub(super) struct Lines {
    text: Hasher,
    records: u64,
    first: Option<(SequenceNumber, Timestamp)>,
    last: Option<(SequenceNumber, Option<u64>, Timestamp)>,
}

impl Lines {
    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    /// The next line: whole, a record, and behind the one before it.
    fn take(&mut self, text: &[u8]) -> Result<(), String> {
        let record = parse_line(text).map_err(|error| error.to_string());
        match record {
            Ok(record) => self.take_record(text, &record),
            Err(why) => {
                self.records += 1;
                Err(why)
            }
        }
    }

    /// The next line, and the record that it is.
    pub(super) fn take_record(&mut self, text: &[u8], record: &OwnedRecord) -> Result<(), String> {
        self.text.update(text);
        self.records += 1;
        let (number, arrival) = (&record.sequence_number, record.arrival);
        if let Some((before, sub, _)) = &self.last {
            let follows =
                number > before || (number == before && *sub < record.sub_sequence_number && sub.is_some());
            if !follows {
                return Err(format!("record {number} does not follow {before}"));
            }
        }
        if self.first.is_none() {
            self.first = Some((number.clone(), arrival));
        }
        self.last = Some((number.clone(), record.sub_sequence_number, arrival));
        Ok(())
    }

    pub(super) fn content(mut self, size: u64, sha256: String) -> Option<Box<Content>> {
        let (first_sequence_number, first_arrival) = self.first?;
        let (last_sequence_number, _, last_arrival) = self.last?;
        Some(Box::new(Content {
            first_sequence_number,
            last_sequence_number,
            records: self.records,
            first_arrival,
            last_arrival,
            content_size: self.text.len(),
            content_sha256: self.text.take_hex(),
            size,
            sha256,
        }))
    }
}

/// Why the content is not the one that the entry claims.
pub(super) fn against_entry(content: &Content, batch: &BatchBody) -> Result<(), String> {
    let facts: [(&str, &dyn PartialEqText, &dyn PartialEqText); 6] = [
        ("content_sha256", &content.content_sha256, &batch.content_sha256),
        ("records", &content.records, &batch.records),
        ("content_size", &content.content_size, &batch.content_size),
        ("first_sequence_number", &content.first_sequence_number, &batch.first_sequence_number),
        ("last_sequence_number", &content.last_sequence_number, &batch.last_sequence_number),
        ("first_arrival", &content.first_arrival, &batch.first_arrival),
    ];
    for (name, here, there) in facts {
        let (here, there) = (here.text(), there.text());
        if here != there {
            return Err(format!("its {name} is {here}, its ledger entry says {there}"));
        }
    }
    if content.last_arrival == batch.last_arrival {
        Ok(())
    } else {
        Err(format!(
            "its last_arrival is {}, its ledger entry says {}",
            content.last_arrival, batch.last_arrival
        ))
    }
}

/// Why the metadata do not fit the object and its entry. (Its level may be any.)
pub(super) fn against_metadata(head: &Head, content: &Content, entry: &Entry) -> Result<(), String> {
    let source = Source {
        stream: &entry.stream,
        created: entry.stream_created,
        shard: &entry.shard,
        serial: Some(entry.serial),
    };
    for (name, expected) in metadata::of(&source, content, None) {
        match head.meta(name) {
            Some(found) if found == expected => {}
            Some(found) => return Err(format!("{name} is {found}, not {expected}")),
            None => return Err(format!("{name} is missing")),
        }
    }
    Ok(())
}

/// Something that a report can show and compare.
trait PartialEqText {
    fn text(&self) -> String;
}

impl<T: std::fmt::Display> PartialEqText for T {
    fn text(&self) -> String {
        self.to_string()
    }
}
