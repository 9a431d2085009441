//! Rendering: records in, the object of a batch out, in whatever form its entry says.
//!
//! Owns which records can be lines of a payload object, and the side object of those that can't.

use super::line::Text;
use super::parse::{NotALine, OwnedRecord, parse_line};
use super::reader::{LineRef, TakesLines};
use super::row::Row;
use super::writer::{BatchWriter, Ends, Finished, Side};
use crate::model::batch::{Form, Format};
use crate::model::record::ArchivedRecord;
use crate::model::sequence::SequenceNumber;

/// A batch on its way into an object of some form.
pub struct Renderer {
    level: u32,
    writer: Writer,
}

enum Writer {
    /// An envelope line a record.
    Envelope(Box<BatchWriter>),
    /// The payloads alone.
    Payload(Box<PayloadWriter>),
}

impl Renderer {
    /// An empty batch, to be written in this form; `level` is brought into its compressor's range.
    pub fn new(form: Form, level: u32) -> Self {
        let level = form.compression.nearest_level(level);
        let writer = match form.format {
            Format::Envelope => Writer::Envelope(Box::new(BatchWriter::packed(form.compression, level))),
            Format::Payload => Writer::Payload(Box::new(PayloadWriter {
                lines: Row::new(form.compression, level),
                side: Row::new(form.compression, level),
                ends: None,
                side_ends: None,
                aggregate: Vec::new(),
            })),
        };
        Self { level, writer }
    }

    /// The level at which it compresses.
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// Appends a record.
    pub fn append(&mut self, record: &ArchivedRecord<'_>) {
        match &mut self.writer {
            Writer::Envelope(writer) => writer.append(record),
            Writer::Payload(writer) => writer.append(record),
        }
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.last().is_none()
    }

    /// The last record's sequence number.
    pub fn last(&self) -> Option<&SequenceNumber> {
        match &self.writer {
            Writer::Envelope(writer) => writer.last(),
            Writer::Payload(writer) => writer.ends.as_ref().map(|ends| &ends.last),
        }
    }

    /// Bytes held.
    pub fn memory(&self) -> u64 {
        match &self.writer {
            Writer::Envelope(writer) => writer.memory(),
            Writer::Payload(writer) => {
                let aggregate: usize = writer.aggregate.iter().map(|record| record.data.capacity()).sum();
                writer.lines.memory() + writer.side.memory() + aggregate as u64
            }
        }
    }

    /// Ends the batch and hands it out; `None` if it is empty.
    pub fn finish(&mut self) -> Option<Finished> {
        match &mut self.writer {
            Writer::Envelope(writer) => writer.finish(),
            Writer::Payload(writer) => writer.finish(),
        }
    }

    /// Drops all records.
    pub fn clear(&mut self) {
        match &mut self.writer {
            Writer::Envelope(writer) => writer.clear(),
            Writer::Payload(writer) => writer.clear(),
        }
    }
}

impl TakesLines for Renderer {
    fn take(&mut self, line: &LineRef<'_>) -> Result<(), NotALine> {
        match &mut self.writer {
            Writer::Envelope(writer) => writer.append_line(line),
            Writer::Payload(writer) => writer.append(&parse_line(line.text)?.as_archived()),
        }
        Ok(())
    }
}

/// Writes payloads, a line each, and what can't be a line to the side.
struct PayloadWriter {
    lines: Row,
    side: Row,
    ends: Option<Ends>,
    side_ends: Option<Ends>,
    /// The user records of an aggregate that may not be over: they go one way together.
    aggregate: Vec<OwnedRecord>,
}

impl PayloadWriter {
    fn append(&mut self, record: &ArchivedRecord<'_>) {
        if self.aggregate.first().is_some_and(|first| first.sequence_number != *record.sequence_number) {
            self.end_aggregate();
        }
        Ends::take(&mut self.ends, record.sequence_number, record.arrival);
        if record.sub_sequence_number.is_some() {
            self.aggregate.push(OwnedRecord::of(record));
        } else {
            self.write(record, false);
        }
    }

    /// Without its mark a user record outside of the shard could not be told from others: an
    /// aggregate that has one goes to the side, where marks are kept.
    fn end_aggregate(&mut self) {
        let aggregate = std::mem::take(&mut self.aggregate);
        let marked = aggregate.iter().any(|record| record.outside_hash_range);
        for record in &aggregate {
            self.write(&record.as_archived(), marked);
        }
    }

    fn write(&mut self, record: &ArchivedRecord<'_>, aside: bool) {
        if aside || !can_be_a_line(record.data) {
            self.side.text.write_side_line(self.lines.lines(), record);
            Ends::take(&mut self.side_ends, record.sequence_number, record.arrival);
            self.side.end_line();
        } else {
            self.lines.text.put(record.data);
            self.lines.text.put(b"\n");
            self.lines.end_line();
        }
    }

    fn finish(&mut self) -> Option<Finished> {
        self.end_aggregate();
        let (content, parts) = self.ends.take()?.content(self.lines.finish());
        let side = self.side_ends.take().map(|ends| {
            let (content, parts) = ends.content(self.side.finish());
            Side { content, parts }
        });
        Some(Finished { content, parts, side })
    }

    fn clear(&mut self) {
        self.lines.clear();
        self.side.clear();
        (self.ends, self.side_ends) = (None, None);
        self.aggregate = Vec::new();
    }
}

/// Whether a payload can be a line of a text file: UTF-8 without a line feed. (An empty one can.)
fn can_be_a_line(data: &[u8]) -> bool {
    memchr::memchr(b'\n', data).is_none() && simdutf8::basic::from_utf8(data).is_ok()
}

/// A line of a side object: how many lines of the object stand before its record, and the record's
/// envelope line.
pub fn parse_side_line(text: &[u8]) -> Result<(u64, Vec<u8>), NotALine> {
    let wrong = || NotALine { reason: "it has no `after_lines` in its place".to_owned() };
    let rest = text.strip_prefix(b"{\"after_lines\":").ok_or_else(wrong)?;
    let len = rest.iter().position(|byte| !byte.is_ascii_digit()).ok_or_else(wrong)?;
    let (digits, rest) = rest.split_at(len);
    let after = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let fields = rest.strip_prefix(b",").ok_or_else(wrong)?;
    Ok((after, [b"{", fields].concat()))
}

/// A payload as an envelope line that has nothing else.
pub fn data_line(data: &[u8]) -> Vec<u8> {
    let mut text = Text::default();
    text.write_data_line(data);
    text.as_bytes().to_vec()
}

#[cfg(test)]
mod tests;
