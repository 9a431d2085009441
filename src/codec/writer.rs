//! The open batch: records in, envelope lines packed into gzip members as they come.
//!
//! Owns the batch's text, members, hashes and counts until it is finished. Does not decide when that is,
//! nor write anything to a disk.

use super::hash::Hasher;
use super::line::Text;
use super::member::Packer;
use super::reader::LineRef;
use crate::model::batch::Content;
use crate::model::record::ArchivedRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;

/// A member is closed once its text has reached this many bytes.
const MEMBER_TEXT: usize = 1 << 20;
/// Buffers larger than this are given back after the huge record that needed them.
const KEEP: usize = 4 * MEMBER_TEXT;

/// The open batch of one shard.
///
/// Where members end depends on the lines alone, so the same records at the same level give the same
/// bytes however they came. While it is empty it holds no memory.
pub struct BatchWriter {
    text: Text,
    packer: Packer,
    parts: Vec<Vec<u8>>,
    parts_size: u64,
    records: u64,
    ends: Option<Ends>,
    content: Hasher,
    object: Hasher,
}

/// The first and the last record.
struct Ends {
    first: SequenceNumber,
    first_arrival: Timestamp,
    last: SequenceNumber,
    last_arrival: Timestamp,
}

/// A finished batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What is known of it.
    pub content: Content,
    /// The gzip file, member by member: written one after the other they are the file.
    pub parts: Vec<Vec<u8>>,
}

impl BatchWriter {
    /// An empty batch, to be compressed at libdeflate's `level` (1 to 12; others are brought into that range).
    pub fn new(level: u32) -> Self {
        Self {
            text: Text::default(),
            packer: Packer::new(level),
            parts: Vec::new(),
            parts_size: 0,
            records: 0,
            ends: None,
            content: Hasher::default(),
            object: Hasher::default(),
        }
    }

    /// Appends a record as an envelope line.
    pub fn append(&mut self, record: &ArchivedRecord<'_>) {
        self.text.write_line(record);
        self.count(record.sequence_number, record.arrival);
    }

    /// Appends an existing envelope line as it is, for cutting a batch anew.
    pub fn append_line(&mut self, line: &LineRef<'_>) {
        self.text.put(line.text);
        self.count(&line.sequence_number, line.arrival);
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Lines, that is, user records.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Uncompressed bytes so far.
    pub fn content_size(&self) -> u64 {
        self.content.len() + self.text.len() as u64
    }

    /// Bytes held: pending text, compressed members, and the compressor while it is in use.
    pub fn memory(&self) -> u64 {
        let vectors = self.parts.capacity() * size_of::<Vec<u8>>();
        (self.text.memory() + self.packer.memory() + vectors) as u64 + self.parts_size
    }

    /// The first record's sequence number.
    pub fn first(&self) -> Option<&SequenceNumber> {
        self.ends.as_ref().map(|ends| &ends.first)
    }

    /// The last record's sequence number.
    pub fn last(&self) -> Option<&SequenceNumber> {
        self.ends.as_ref().map(|ends| &ends.last)
    }

    /// The first record's arrival.
    pub fn first_arrival(&self) -> Option<Timestamp> {
        self.ends.as_ref().map(|ends| ends.first_arrival)
    }

    /// Ends the batch and hands it out; `None` if it is empty. The writer is empty again afterwards.
    pub fn finish(&mut self) -> Option<Finished> {
        let ends = self.ends.take()?;
        if self.text.len() > 0 {
            self.close_member();
        }
        let content = Content {
            first_sequence_number: ends.first,
            last_sequence_number: ends.last,
            records: self.records,
            first_arrival: ends.first_arrival,
            last_arrival: ends.last_arrival,
            content_size: self.content.len(),
            content_sha256: self.content.take_hex(),
            size: self.object.len(),
            sha256: self.object.take_hex(),
        };
        let parts = std::mem::take(&mut self.parts);
        self.clear();
        Some(Finished { content, parts })
    }

    /// Drops all records; the writer is empty afterwards.
    pub fn clear(&mut self) {
        self.text.clear(0);
        self.packer.clear();
        self.parts = Vec::new();
        self.parts_size = 0;
        self.records = 0;
        self.ends = None;
        self.content = Hasher::default();
        self.object = Hasher::default();
    }

    /// Notes the line that was just added and closes the member if it is full.
    fn count(&mut self, number: &SequenceNumber, arrival: Timestamp) {
        self.records += 1;
        match &mut self.ends {
            Some(ends) => {
                // User records of one aggregate share a number: no need to copy it again.
                if ends.last != *number {
                    ends.last = number.clone();
                }
                ends.last_arrival = arrival;
            }
            None => {
                self.ends = Some(Ends {
                    first: number.clone(),
                    first_arrival: arrival,
                    last: number.clone(),
                    last_arrival: arrival,
                });
            }
        }
        if self.text.len() >= MEMBER_TEXT {
            self.close_member();
        }
    }

    fn close_member(&mut self) {
        let text = self.text.as_bytes();
        self.content.update(text);
        let member = self.packer.pack(text);
        self.object.update(&member);
        self.parts_size += member.capacity() as u64;
        self.parts.push(member);
        self.text.clear(KEEP);
        self.packer.shrink(KEEP);
    }
}

impl std::fmt::Debug for BatchWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchWriter")
            .field("records", &self.records)
            .field("content_size", &self.content_size())
            .field("first", &self.first())
            .field("last", &self.last())
            .finish_non_exhaustive()
    }
}
