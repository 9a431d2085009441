//! The open batch: records in, envelope lines packed as they come.
//!
//! Owns the batch's text, members, hashes and counts until it is finished. Does not decide when that is,
//! nor write anything to a disk.

use super::reader::LineRef;
pub use super::row::MEMBER_TEXT;
use super::row::{EndedRow, Row};
use crate::model::batch::{Compression, Content};
use crate::model::record::ArchivedRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;

/// The open batch of one shard.
///
/// Where members end depends on the lines alone, so the same records at the same level give the same
/// bytes however they came. While it is empty it holds no memory.
pub struct BatchWriter {
    row: Row,
    ends: Option<Ends>,
}

/// The first and the last record.
pub(super) struct Ends {
    pub(super) first: SequenceNumber,
    pub(super) first_arrival: Timestamp,
    pub(super) last: SequenceNumber,
    pub(super) last_arrival: Timestamp,
}

impl Ends {
    /// Takes the next record.
    #[inline]
    pub(super) fn take(ends: &mut Option<Self>, number: &SequenceNumber, arrival: Timestamp) {
        match ends {
            Some(ends) => {
                // User records of one aggregate share a number: no need to copy it again.
                if ends.last != *number {
                    ends.last = number.clone();
                }
                ends.last_arrival = arrival;
            }
            None => {
                *ends = Some(Self {
                    first: number.clone(),
                    first_arrival: arrival,
                    last: number.clone(),
                    last_arrival: arrival,
                });
            }
        }
    }

    /// What is known of a row with these ends, and its parts.
    pub(super) fn content(self, row: EndedRow) -> (Content, Vec<Vec<u8>>) {
        let content = Content {
            first_sequence_number: self.first,
            last_sequence_number: self.last,
            records: row.lines,
            first_arrival: self.first_arrival,
            last_arrival: self.last_arrival,
            content_size: row.content_size,
            content_sha256: row.content_sha256,
            size: row.size,
            sha256: row.sha256,
        };
        (content, row.parts)
    }
}

/// A finished batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What is known of it.
    pub content: Content,
    /// The file, member by member: written one after the other they are the file (behind the members
    /// that were dropped before).
    pub parts: Vec<Vec<u8>>,
    /// The side object, if some of its records can't be lines of their format.
    pub side: Option<Side>,
}

/// Records of a batch that can't be lines of its object's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// What is known of them.
    pub content: Content,
    /// The file, member by member.
    pub parts: Vec<Vec<u8>>,
}

impl BatchWriter {
    /// An empty batch, to be compressed at libdeflate's `level` (1 to 12; others are brought into that range).
    pub fn new(level: u32) -> Self {
        Self::packed(Compression::Gzip, level)
    }

    /// An empty batch, to be compressed so, at a level of that compressor.
    pub fn packed(compression: Compression, level: u32) -> Self {
        Self { row: Row::new(compression, level), ends: None }
    }

    /// Closes members at another size of their text than the mebibyte that all archives have: for tests
    /// whose batches are small.
    #[must_use]
    pub const fn with_members_of(mut self, bytes: usize) -> Self {
        self.row.set_member_text(bytes);
        self
    }

    /// Chooses the level of the batch that begins now; a batch that has begun keeps its own.
    pub fn set_level(&mut self, level: u32) {
        if self.is_empty() {
            self.row.set_level(level);
        }
    }

    /// Appends a record as an envelope line.
    pub fn append(&mut self, record: &ArchivedRecord<'_>) {
        self.row.text.write_line(record);
        Ends::take(&mut self.ends, record.sequence_number, record.arrival);
        self.row.end_line();
    }

    /// Appends an existing envelope line as it is, for cutting a batch anew.
    pub fn append_line(&mut self, line: &LineRef<'_>) {
        self.row.text.put(line.text);
        Ends::take(&mut self.ends, &line.sequence_number, line.arrival);
        self.row.end_line();
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    /// Lines, that is, user records.
    pub fn records(&self) -> u64 {
        self.row.lines()
    }

    /// Uncompressed bytes so far.
    pub fn content_size(&self) -> u64 {
        self.row.content_size()
    }

    /// Bytes held: pending text and compressed members.
    pub fn memory(&self) -> u64 {
        self.row.memory()
    }

    /// Bytes of the compressed members that it holds.
    pub const fn members_size(&self) -> u64 {
        self.row.members_size()
    }

    /// The compressed members that it holds, the file's next bytes.
    pub fn members(&self) -> &[Vec<u8>] {
        self.row.members()
    }

    /// Drops the compressed members, which lie elsewhere now. What [`Self::finish`] hands out follows them;
    /// the batch's content still tells of all.
    pub fn drop_members(&mut self) {
        self.row.drop_members();
    }

    /// Gives back room that a batch which grows slowly will not need soon.
    pub fn give_back_room(&mut self) {
        self.row.give_back_room();
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
        let (content, parts) = self.ends.take()?.content(self.row.finish());
        Some(Finished { content, parts, side: None })
    }

    /// Drops all records; the writer is empty afterwards.
    pub fn clear(&mut self) {
        self.row.clear();
        self.ends = None;
    }
}

impl std::fmt::Debug for BatchWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchWriter")
            .field("records", &self.records())
            .field("content_size", &self.content_size())
            .field("first", &self.first())
            .field("last", &self.last())
            .finish_non_exhaustive()
    }
}
