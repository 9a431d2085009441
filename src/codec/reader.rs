//! Objects back to lines: a gzip stream read member by member, with bounded memory.
//!
//! Owns decompression, the finding of lines and what is told of a damaged file. Does not judge the order
//! of records, nor whether the file is the one that the ledger means.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::hash::Hasher;
use super::parse::{NotALine, parse_head, parse_time};
use super::writer::BatchWriter;
use crate::model::batch::Content;
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;

/// Compressed bytes asked for at once.
const SOURCE_BUFFER: usize = 64 << 10;
/// Text made at once.
const TEXT_BUFFER: usize = 256 << 10;
/// No line is longer: 10 MiB of payload and as much of key, every byte of them escaped by six. What is
/// longer is a damaged file, and must not fill the memory.
const LONGEST_LINE: usize = 128 << 20;

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
    /// The gzip stream is damaged, cut, or followed by something else.
    #[error(
        "gzip member {member}, which begins after {at} bytes of the file, is damaged after line {lines}: {what}"
    )]
    Damaged {
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

/// Reads the lines of a gzip file of envelope lines.
///
/// Holds one line and a few hundred KiB. A member's checksum is compared when its end is reached: only
/// after `Ok(None)` are all lines known to be whole.
pub struct LineReader<R> {
    members: Members<R>,
    /// Text of which `start..end` was made and not handed out.
    text: Vec<u8>,
    start: usize,
    end: usize,
    lines: u64,
    broken: bool,
    /// The arrival read last: neighbours often share it.
    stamp: Option<([u8; 24], Timestamp)>,
}

impl<R: Read> LineReader<R> {
    /// Reads the gzip file `gz`.
    pub fn new(gz: R) -> Self {
        Self {
            members: Members::new(gz),
            text: Vec::new(),
            start: 0,
            end: 0,
            lines: 0,
            broken: false,
            stamp: None,
        }
    }

    /// The next line; `None` at the end of a whole file.
    pub fn next_line(&mut self) -> Result<Option<LineRef<'_>>, ReadError> {
        if self.broken {
            return Err(ReadError::Broken);
        }
        // Taken back once the line is known to be good.
        self.broken = true;
        let Some(len) = self.find_line()? else {
            self.broken = false;
            return Ok(None);
        };
        self.lines += 1;
        let (sequence_number, arrival) =
            self.head(len).map_err(|cause| ReadError::Line { line: self.lines, cause })?;
        self.broken = false;
        let text = &self.text[self.start..self.start + len];
        self.start += len;
        Ok(Some(LineRef { text, sequence_number, arrival }))
    }

    /// Lines handed out so far.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The first member so far that ended in the middle of a line, counted from 1.
    pub const fn split_member(&self) -> Option<u64> {
        self.members.split
    }

    /// Bytes of the file that were read, and their SHA-256 in hex.
    pub fn take_source_hash(&mut self) -> (u64, String) {
        self.members
            .source()
            .map_or_else(Default::default, |source| (source.hash.len(), source.hash.take_hex()))
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
        if self.end == self.text.len() {
            let room = (2 * self.text.len()).max(TEXT_BUFFER);
            self.text.resize(room, 0);
        }
        let made = self.members.read(&mut self.text[self.end..]);
        let made = made.map_err(|cause| self.members.explain(cause, self.lines))?;
        self.end += made;
        Ok(made)
    }

    fn head(&mut self, len: usize) -> Result<(SequenceNumber, Timestamp), NotALine> {
        let head = parse_head(&self.text[self.start..self.start + len])?;
        let number = head.sequence_number.parse::<SequenceNumber>();
        let number = number.map_err(|cause| NotALine { reason: cause.to_string() })?;
        let arrival = match self.stamp {
            Some((text, known)) if text == *head.arrival => known,
            Some(_) | None => {
                let arrival = parse_time(head.arrival)?;
                self.stamp = Some((*head.arrival, arrival));
                arrival
            }
        };
        Ok((number, arrival))
    }
}

/// The text of a row of gzip members, one after the other.
struct Members<R> {
    state: State<R>,
    /// The member being read, counted from 1; 0 before the first.
    member: u64,
    /// Where it begins in the file.
    begins: u64,
    /// The byte of text made last.
    last: u8,
    split: Option<u64>,
}

enum State<R> {
    Between(BufReader<Source<R>>),
    Within(Box<GzDecoder<BufReader<Source<R>>>>),
    /// Only while one of the above is made of the other.
    Moving,
}

impl<R: Read> Members<R> {
    fn new(gz: R) -> Self {
        let source = Source { inner: gz, hash: Hasher::default(), failed: false };
        let state = State::Between(BufReader::with_capacity(SOURCE_BUFFER, source));
        Self { state, member: 0, begins: 0, last: b'\n', split: None }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, State::Moving) {
                State::Within(mut gz) => {
                    let made = gz.read(into);
                    self.state = match made {
                        Ok(0) => State::Between(gz.into_inner()),
                        Ok(_) | Err(_) => State::Within(gz),
                    };
                    match made {
                        Ok(0) if self.last != b'\n' => self.split = self.split.or(Some(self.member)),
                        Ok(0) => {}
                        Ok(len) => {
                            self.last = into.get(len - 1).copied().unwrap_or(self.last);
                            return made;
                        }
                        Err(_) => return made,
                    }
                }
                State::Between(mut file) => {
                    let at_end = match file.fill_buf() {
                        Ok(ahead) => ahead.is_empty(),
                        Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {
                            self.state = State::Between(file);
                            continue;
                        }
                        Err(cause) => {
                            self.state = State::Between(file);
                            return Err(cause);
                        }
                    };
                    if at_end {
                        self.state = State::Between(file);
                        return if self.member == 0 { Err(no_member()) } else { Ok(0) };
                    }
                    self.member += 1;
                    self.begins = file.get_ref().hash.len() - file.buffer().len() as u64;
                    self.state = State::Within(Box::new(GzDecoder::new(file)));
                }
                State::Moving => return Err(io::ErrorKind::Other.into()),
            }
        }
    }

    fn source(&mut self) -> Option<&mut Source<R>> {
        match &mut self.state {
            State::Between(file) => Some(file.get_mut()),
            State::Within(gz) => Some(gz.get_mut().get_mut()),
            State::Moving => None,
        }
    }

    /// What an error means: the way to the file, or the file itself.
    fn explain(&mut self, cause: io::Error, lines: u64) -> ReadError {
        let (member, at) = (self.member.max(1), self.begins);
        if let Some(source) = self.source()
            && source.failed
        {
            return ReadError::Source { at: source.hash.len(), cause };
        }
        let cut = cause.kind() == io::ErrorKind::UnexpectedEof;
        let what = if cut { "it is cut".to_owned() } else { cause.to_string() };
        ReadError::Damaged { member, at, lines, what }
    }
}

fn no_member() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// The file's bytes, hashed as they are read; remembers whether an error was its own.
struct Source<R> {
    inner: R,
    hash: Hasher,
    failed: bool,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(into) {
                Ok(len) => {
                    self.hash.update(&into[..len]);
                    return Ok(len);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    self.failed = true;
                    return Err(cause);
                }
            }
        }
    }
}

/// Reads a whole file and tells everything that can be known of its content.
pub fn inspect<R: Read>(gz: R) -> Result<Content, ReadError> {
    let mut reader = LineReader::new(gz);
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

/// Appends to `writer` those lines of a file whose sequence number is to be kept.
///
/// After an error `writer` holds some of them, and is to be cleared.
pub fn recut<R: Read>(
    gz: R,
    keep: impl Fn(&SequenceNumber) -> bool,
    writer: &mut BatchWriter,
) -> Result<(), ReadError> {
    let mut reader = LineReader::new(gz);
    while let Some(line) = reader.next_line()? {
        if keep(&line.sequence_number) {
            writer.append_line(&line);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
