//! Objects back to lines: what a line of a file is, and what is told of a damaged one.
//!
//! Owns envelope lines as they are read, and the errors of reading. Does not judge the order
//! of records, nor whether the file is the one that the ledger means.

use std::io::{self, Read};

use super::hash::Hasher;
use super::parse::{NotALine, parse_head, parse_time};
use super::text::TextLines;
use super::writer::BatchWriter;
use crate::model::batch::{Compression, Content};
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;

/// A file could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes could not be had; the file may be whole.
    #[error("the file could not be read beyond byte {at}: {cause}")]
    Source {
        /// Compressed bytes that were read before.
        at: u64,
        /// Why.
        cause: io::Error,
    },
    /// The file is damaged, cut, or followed by something else.
    #[error(
        "{kind} {member}, which begins after {at} bytes of the file, is damaged after line {lines}: {what}"
    )]
    Damaged {
        /// What the file is a row of.
        kind: &'static str,
        /// Which member, counted from 1.
        member: u64,
        /// Where the member begins.
        at: u64,
        /// Whole lines that were read before.
        lines: u64,
        /// What is wrong.
        what: String,
    },
    /// A line is not an envelope line.
    #[error("line {line}: {cause}")]
    Line {
        /// Which, counted from 1.
        line: u64,
        /// What is wrong with it.
        cause: NotALine,
    },
    /// A line is longer than any that the archive writes.
    #[error("line {line} is longer than any record")]
    TooLong {
        /// Which, counted from 1.
        line: u64,
    },
    /// The last line is cut.
    #[error("line {line}, the last, does not end with a line feed")]
    Unended {
        /// Which, counted from 1.
        line: u64,
    },
    /// The file holds no line at all.
    #[error("the file holds no record")]
    Empty,
    /// The reader was used again after an error.
    #[error("the file was found damaged before")]
    Broken,
}

impl ReadError {
    /// Whether the file itself is at fault, and not the way to it.
    pub const fn is_damage(&self) -> bool {
        !matches!(self, Self::Source { .. })
    }
}

/// One line of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRef<'a> {
    /// The line with its `\n`.
    pub text: &'a [u8],
    /// Its record's sequence number.
    pub sequence_number: SequenceNumber,
    /// Its record's arrival.
    pub arrival: Timestamp,
}

/// Reads the envelope lines of a file.
pub struct LineReader<R> {
    lines: TextLines<R>,
    /// The arrival read last: neighbours often share it.
    stamp: Option<([u8; 24], Timestamp)>,
}

impl<R: Read> LineReader<R> {
    /// Reads the gzip file `gz`.
    pub fn new(gz: R) -> Self {
        Self::packed(Compression::Gzip, gz)
    }

    /// Reads a file that is packed so.
    pub fn packed(compression: Compression, file: R) -> Self {
        Self { lines: TextLines::new(compression, file), stamp: None }
    }

    /// The next line; `None` at the end of a whole file.
    pub fn next_line(&mut self) -> Result<Option<LineRef<'_>>, ReadError> {
        let Some(line) = self.lines.advance()? else { return Ok(None) };
        let head = head(&mut self.stamp, self.lines.at(line.clone()));
        let (sequence_number, arrival) = head.map_err(|cause| {
            self.lines.broken = true;
            ReadError::Line { line: self.lines.lines(), cause }
        })?;
        Ok(Some(LineRef { text: self.lines.at(line), sequence_number, arrival }))
    }

    /// Lines handed out so far.
    pub const fn lines(&self) -> u64 {
        self.lines.lines()
    }

    /// The first member so far that ended in the middle of a line: what it is, and which, counted from 1.
    pub fn split_member(&self) -> Option<(&'static str, u64)> {
        self.lines.split_member()
    }

    /// Bytes of the file that were read, and their SHA-256 in hex.
    pub fn take_source_hash(&mut self) -> (u64, String) {
        self.lines.take_source_hash()
    }
}

fn head(
    stamp: &mut Option<([u8; 24], Timestamp)>,
    line: &[u8],
) -> Result<(SequenceNumber, Timestamp), NotALine> {
    let head = parse_head(line)?;
    let number = head.sequence_number.parse::<SequenceNumber>();
    let number = number.map_err(|cause| NotALine { reason: cause.to_string() })?;
    let arrival = match stamp {
        Some((text, known)) if *text == *head.arrival => *known,
        Some(_) | None => {
            let arrival = parse_time(head.arrival)?;
            *stamp = Some((*head.arrival, arrival));
            arrival
        }
    };
    Ok((number, arrival))
}

/// Reads a whole gzip file and tells everything that can be known of its content.
pub fn inspect<R: Read>(gz: R) -> Result<Content, ReadError> {
    inspect_packed(Compression::Gzip, gz)
}

/// As [`inspect`], for a file that is packed so.
pub fn inspect_packed<R: Read>(compression: Compression, file: R) -> Result<Content, ReadError> {
    let mut reader = LineReader::packed(compression, file);
    let mut text = Hasher::default();
    let mut content: Option<Content> = None;
    while let Some(line) = reader.next_line()? {
        text.update(line.text);
        match &mut content {
            Some(content) => {
                content.records += 1;
                content.last_sequence_number = line.sequence_number;
                content.last_arrival = line.arrival;
            }
            None => {
                content = Some(Content {
                    first_sequence_number: line.sequence_number.clone(),
                    last_sequence_number: line.sequence_number,
                    records: 1,
                    first_arrival: line.arrival,
                    last_arrival: line.arrival,
                    content_size: 0,
                    content_sha256: String::new(),
                    size: 0,
                    sha256: String::new(),
                });
            }
        }
    }
    let mut content = content.ok_or(ReadError::Empty)?;
    content.content_size = text.len();
    content.content_sha256 = text.take_hex();
    (content.size, content.sha256) = reader.take_source_hash();
    Ok(content)
}

/// Takes lines that were read.
pub trait TakesLines {
    /// Takes one.
    fn take(&mut self, line: &LineRef<'_>) -> Result<(), NotALine>;
}

impl TakesLines for BatchWriter {
    fn take(&mut self, line: &LineRef<'_>) -> Result<(), NotALine> {
        self.append_line(line);
        Ok(())
    }
}

/// Gives `to` those lines of a gzip file whose sequence number is to be kept.
///
/// After an error it holds some of them, and is to be cleared.
pub fn recut<R: Read>(
    gz: R,
    keep: impl Fn(&SequenceNumber) -> bool,
    to: &mut impl TakesLines,
) -> Result<(), ReadError> {
    let mut reader = LineReader::new(gz);
    while let Some(line) = reader.next_line()? {
        if keep(&line.sequence_number)
            && let Err(cause) = to.take(&line)
        {
            return Err(ReadError::Line { line: reader.lines(), cause });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
