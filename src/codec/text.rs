//! A file's text, line by line, with bounded memory.
//!
//! Owns the finding of lines. Does not know what a line says.

use std::io::Read;
use std::ops::Range;

use super::members::Members;
use super::reader::ReadError;
use crate::model::batch::Compression;

/// Text made at once.
const TEXT_BUFFER: usize = 256 << 10;
/// No line is longer: 10 MiB of payload and as much of key, every byte of them escaped by six. What is
/// longer is a damaged file, and must not fill the memory.
const LONGEST_LINE: usize = 128 << 20;

/// Reads the lines of a file, whatever they say.
///
/// Holds one line and a few hundred KiB. A member's checksum is compared when its end is reached: only
/// after `Ok(None)` are all lines known to be whole.
pub struct TextLines<R> {
    members: Members<R>,
    /// Text of which `start..end` was made and not handed out.
    text: Vec<u8>,
    start: usize,
    end: usize,
    lines: u64,
    pub(super) broken: bool,
}

impl<R: Read> TextLines<R> {
    /// Reads a file that is packed so.
    pub fn new(compression: Compression, file: R) -> Self {
        Self {
            members: Members::new(compression, file),
            text: Vec::new(),
            start: 0,
            end: 0,
            lines: 0,
            broken: false,
        }
    }

    /// The next line with its `\n`; `None` at the end of a whole file.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, ReadError> {
        Ok(self.advance()?.map(|line| self.at(line)))
    }

    /// Finds the next line.
    pub(super) fn advance(&mut self) -> Result<Option<Range<usize>>, ReadError> {
        if self.broken {
            return Err(ReadError::Broken);
        }
        // Taken back once the line is known to be good.
        self.broken = true;
        let found = self.find_line()?;
        self.broken = false;
        Ok(found.map(|len| {
            self.lines += 1;
            let line = self.start..self.start + len;
            self.start += len;
            line
        }))
    }

    /// The line that [`Self::advance`] found last.
    pub(super) fn at(&self, line: Range<usize>) -> &[u8] {
        &self.text[line]
    }

    /// Lines handed out so far.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The first member so far that ended in the middle of a line: what it is, and which, counted from 1.
    pub fn split_member(&self) -> Option<(&'static str, u64)> {
        self.members.split.map(|member| (self.members.kind(), member))
    }

    /// Bytes of the file that were read, and their SHA-256 in hex.
    pub fn take_source_hash(&mut self) -> (u64, String) {
        self.members.take_source_hash()
    }

    /// Length of the line at `start`, its `\n` included.
    fn find_line(&mut self) -> Result<Option<usize>, ReadError> {
        let mut searched = 0;
        loop {
            let pending = &self.text[self.start..self.end];
            if let Some(at) = memchr::memchr(b'\n', &pending[searched..]) {
                return Ok(Some(searched + at + 1));
            }
            searched = pending.len();
            if searched > LONGEST_LINE {
                return Err(ReadError::TooLong { line: self.lines + 1 });
            }
            if self.fill()? == 0 {
                return match searched {
                    0 => Ok(None),
                    _ => Err(ReadError::Unended { line: self.lines + 1 }),
                };
            }
        }
    }

    /// Makes more text behind what is pending.
    fn fill(&mut self) -> Result<usize, ReadError> {
        if self.start > 0 {
            self.text.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.text.is_empty() {
            // The allocator's own zeros: most files are small, and filling so much room is most of reading them.
            self.text = vec![0; TEXT_BUFFER];
        } else if self.end == self.text.len() {
            self.text.resize(2 * self.text.len(), 0);
        }
        let made = self.members.read(&mut self.text[self.end..]);
        let made = made.map_err(|cause| self.members.explain(cause, self.lines))?;
        self.end += made;
        Ok(made)
    }
}
