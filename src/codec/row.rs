//! A row of lines on its way into an object: text packed into members as it comes, with its hashes.
//!
//! Owns where members end. Does not know what a line says.

use super::hash::Hasher;
use super::line::Text;
use super::packer::{KEEP, Packer};
use super::shelf::Shelf;
use super::void;
use crate::model::batch::Compression;

/// A member is closed once its text has reached this many bytes (contract, section 3).
pub const MEMBER_TEXT: usize = 1 << 20;
/// The first member is closed at one of so many sizes.
const FIRST_SIZES: usize = 8;
/// As much of the first line decides which.
const DECIDES: usize = 256;

/// Lines, packed as they come. While it is empty it holds no memory.
///
/// Where members end depends on the lines alone. The first ends early, by an eighth to all of a member's
/// text: of a thousand shards that began their batches together not all hold a whole member's text at once.
pub(super) struct Row {
    /// Where the next line is written; [`Row::end_line`] ends it.
    pub(super) text: Text,
    /// The text of the open member before that, if the batch grows slowly.
    shelf: Shelf,
    compression: Compression,
    packer: Packer,
    /// The members that were not dropped.
    parts: Vec<Vec<u8>>,
    parts_size: u64,
    /// At which size of its text a member is closed: the open one, and those after it.
    limit: usize,
    member_text: usize,
    lines: u64,
    content: Hasher,
    object: Hasher,
}

/// A row that has ended.
pub(super) struct EndedRow {
    pub(super) lines: u64,
    pub(super) content_size: u64,
    pub(super) content_sha256: String,
    pub(super) size: u64,
    pub(super) sha256: String,
    pub(super) parts: Vec<Vec<u8>>,
}

impl Row {
    pub(super) fn new(compression: Compression, level: u32) -> Self {
        Self {
            text: Text::default(),
            shelf: Shelf::default(),
            compression,
            packer: Packer::new(compression, level),
            parts: Vec::new(),
            parts_size: 0,
            limit: MEMBER_TEXT,
            member_text: MEMBER_TEXT,
            lines: 0,
            content: Hasher::default(),
            object: Hasher::default(),
        }
    }

    /// Closes members at another size than all archives have.
    pub(super) const fn set_member_text(&mut self, bytes: usize) {
        self.member_text = bytes;
    }

    /// What is written from now on is compressed at this level.
    pub(super) fn set_level(&mut self, level: u32) {
        self.packer = Packer::new(self.compression, level);
    }

    pub(super) const fn lines(&self) -> u64 {
        self.lines
    }

    /// Uncompressed bytes so far.
    pub(super) fn content_size(&self) -> u64 {
        self.content.len() + self.pending() as u64
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> u64 {
        let vectors = self.parts.capacity() * size_of::<Vec<u8>>();
        (self.text.memory() + self.shelf.memory() + vectors) as u64 + self.parts_size
    }

    /// Bytes of the open member's text.
    const fn pending(&self) -> usize {
        self.shelf.len() + self.text.len()
    }

    /// Counts the line that was just written and closes the member if it is full.
    #[inline]
    pub(super) fn end_line(&mut self) {
        self.lines += 1;
        if self.lines == 1 {
            self.limit = first_limit(self.text.as_bytes(), self.member_text);
        }
        if self.pending() >= self.limit {
            self.close_member();
            self.limit = self.member_text;
        }
    }

    /// Bytes of closed members that were not dropped.
    pub(super) const fn members_size(&self) -> u64 {
        self.parts_size
    }

    /// The closed members that were not dropped.
    pub(super) fn members(&self) -> &[Vec<u8>] {
        &self.parts
    }

    /// Drops the closed members, which lie elsewhere now; those to come follow them.
    pub(super) fn drop_members(&mut self) {
        self.parts_size = 0;
        self.parts = Vec::new();
    }

    /// Holds no more than it must: the next line will be long in coming.
    pub(super) fn give_back_room(&mut self) {
        self.shelf.put(self.text.as_bytes());
        self.text.clear(0);
    }

    /// Ends the row; it is empty again afterwards. Without a line it is a file that holds nothing.
    pub(super) fn finish(&mut self) -> EndedRow {
        if self.pending() > 0 {
            self.close_member();
        } else if self.object.is_empty() {
            let nothing = void::packed(self.compression);
            self.object.update(nothing);
            self.parts.push(nothing.to_vec());
        }
        let ended = EndedRow {
            lines: self.lines,
            content_size: self.content.len(),
            content_sha256: self.content.take_hex(),
            size: self.object.len(),
            sha256: self.object.take_hex(),
            parts: std::mem::take(&mut self.parts),
        };
        self.clear();
        ended
    }

    pub(super) fn clear(&mut self) {
        self.text.clear(0);
        self.shelf = Shelf::default();
        self.parts = Vec::new();
        self.parts_size = 0;
        self.lines = 0;
        self.content = Hasher::default();
        self.object = Hasher::default();
    }

    fn close_member(&mut self) {
        let Self { text, shelf, content, packer, .. } = self;
        let mut pack = |whole: &[u8]| {
            content.update(whole);
            packer.pack(whole)
        };
        let rest = text.as_bytes();
        let member = if shelf.len() == 0 { pack(rest) } else { shelf.take(rest, pack) };
        self.object.update(&member);
        self.parts_size += member.capacity() as u64;
        self.parts.push(member);
        self.text.clear(KEEP);
    }
}

/// At which size of its text the first member is closed, as its first line decides.
fn first_limit(line: &[u8], member_text: usize) -> usize {
    let eighth = libdeflater::crc32(&line[..line.len().min(DECIDES)]) as usize % FIRST_SIZES;
    member_text / FIRST_SIZES * (1 + eighth)
}
