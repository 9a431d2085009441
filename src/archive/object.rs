//! One object, read whole and held against its metadata and its ledger entry.

use std::io::Read;

use crate::codec::hash::Hasher;
use crate::codec::{LineReader, ReadError, parse_line};
use crate::model::batch::Content;
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

/// Reads the object to its end, every line as a record.
pub(super) fn examine(gz: Box<dyn Read + Send>) -> Examined {
    let mut reader = LineReader::new(gz);
    let mut lines = Lines::default();
    loop {
        match reader.next_line() {
            Ok(Some(line)) => {
                if let Err(why) = lines.take(line.text, &line.sequence_number, line.arrival) {
                    return Examined::Damaged(format!("line {}: {why}", lines.records));
                }
            }
            Ok(None) => break,
            Err(error @ ReadError::Source { .. }) => return Examined::Unread(error.to_string()),
            Err(error) => return Examined::Damaged(error.to_string()),
        }
    }
    if let Some(member) = reader.split_member() {
        return Examined::Damaged(format!("gzip member {member} ends in the middle of a line"));
    }
    let (size, sha256) = reader.take_source_hash();
    lines
        .content(size, sha256)
        .map_or_else(|| Examined::Damaged("it holds no record".to_owned()), Examined::Content)
}

/// The lines so far.
#[derive(Default)]
struct Lines {
    text: Hasher,
    records: u64,
    first: Option<(SequenceNumber, Timestamp)>,
    last: Option<(SequenceNumber, Option<u64>, Timestamp)>,
}

impl Lines {
    /// The next line: whole, a record, and behind the one before it.
    fn take(&mut self, text: &[u8], number: &SequenceNumber, arrival: Timestamp) -> Result<(), String> {
        self.text.update(text);
        self.records += 1;
        let record = parse_line(text).map_err(|error| error.to_string())?;
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

    fn content(mut self, size: u64, sha256: String) -> Option<Box<Content>> {
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

/// Why the metadata do not fit the object and its entry.
pub(super) fn against_metadata(head: &Head, content: &Content, entry: &Entry) -> Result<(), String> {
    let source = Source {
        stream: &entry.stream,
        created: entry.stream_created,
        shard: &entry.shard,
        serial: Some(entry.serial),
    };
    for (name, expected) in metadata::of(&source, content) {
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
