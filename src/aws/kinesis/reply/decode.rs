//! The bytes of a GetRecords answer to records, as they come, without an allocation for each record.
//!
//! Owns the one shape of an answer that Kinesis sends: JSON without spaces, each field at most once. All else
//! is [`NotRead`] and left to the SDK's parser; what is read here is what that parser would read.

use cursor::{Cursor, integer};
use memchr::memchr;
use records::Records;

use crate::model::record::RawRecord;

mod cursor;
mod records;

const RECORDS: &[u8] = b"\"Records\":[";
const CHILDREN: &[u8] = b"\"ChildShards\":";

/// Of a piece so much, or as much as is held of what was cut, is tried for the rest of it.
const MORE: usize = 2 << 10;

/// How often that is tried before the end of the answer: the brace that ends a record else stands only in keys, so a
/// record of which it was tried more often is not read here, and need not be looked at with each piece.
const TRIES: u32 = 8;

/// The sequence number of a record that stands for all that were read before.
pub const STANDS_IN: &str = "read before";

/// An answer of GetRecords.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The records; payloads and keys of neighbours share buffers.
    pub records: Vec<RawRecord>,
    /// Bytes of payload and keys.
    pub bytes: u64,
    /// `NextShardIterator`, if it is there and not null.
    pub next_iterator: Option<String>,
    /// `MillisBehindLatest`, if it is there and not null.
    pub millis_behind_latest: Option<u64>,
}

/// An answer that is not, or not all of it, read here; it may be a good one.
#[derive(Debug, PartialEq, Eq)]
pub struct NotRead {
    /// What is left to the SDK's parser: the answer, in which one record ([`STANDS_IN`]) stands for all
    /// that were read.
    pub rest: Vec<u8>,
    /// The records that were read, and nothing else of the answer.
    pub before: Decoded,
    /// Why not.
    pub why: Why,
}

/// Why an answer is not read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It names the shards that took over, as happens once in a shard's life.
    Children,
    /// It is unusual.
    Odd {
        /// At this byte.
        at: usize,
    },
}

/// Reads an answer that is there as a whole.
pub fn decode(answer: &[u8]) -> Result<Decoded, NotRead> {
    let mut decoder = Decoder::new(answer.len());
    decoder.take(answer);
    decoder.finish()
}

/// Reads an answer piece by piece, wherever it is cut. It holds what the records take, and of the answer only what was
/// not read yet.
#[derive(Debug)]
pub struct Decoder {
    /// How long the answer will be, as far as is known.
    length: usize,
    stage: Stage,
    /// The answer without its records.
    frame: Vec<u8>,
    /// Where in it the records were.
    head: usize,
    records: Records,
    /// How many bytes they were in the answer.
    read: usize,
    /// The head or the record that was cut; or one that is not read here, and all behind it.
    open: Vec<u8>,
    /// How often it was tried in vain.
    tries: u32,
}

/// Which part of an answer comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What stands before the records.
    Head,
    Records,
    /// What stands behind them.
    Tail,
}

impl Decoder {
    /// Nothing of the answer has come yet. That it will have `length` bytes is a guess, for making room.
    pub fn new(length: usize) -> Self {
        Self {
            length,
            stage: Stage::Head,
            frame: Vec::new(),
            head: 0,
            records: Records::default(),
            read: 0,
            open: Vec::new(),
            tries: 0,
        }
    }

    /// Reads the next bytes of the answer.
    pub fn take(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if !self.open.is_empty() {
            rest = self.read_open(rest);
        }
        if self.stage != Stage::Tail {
            rest = &rest[self.read(rest)..];
        }
        match self.stage {
            Stage::Head | Stage::Records => self.open.extend_from_slice(rest),
            Stage::Tail => self.frame.extend_from_slice(rest),
        }
    }

    /// What the answer says, now that all of it has come.
    pub fn finish(mut self) -> Result<Decoded, NotRead> {
        if self.tries == TRIES {
            // A key may have that many braces.
            let open = std::mem::take(&mut self.open);
            self.tries = 0;
            self.take(&open);
        }
        let frame = if self.stage == Stage::Head { &self.open } else { &self.frame };
        let mut cursor = Cursor::new(frame);
        let fields = fields(&mut cursor);
        let mut at = cursor.at;
        if frame[..at].ends_with(CHILDREN) {
            return Err(self.not_read(Why::Children));
        }
        match fields {
            Some(Fields { next_iterator, millis_behind_latest, .. }) if self.stage == Stage::Tail => {
                let (records, bytes) = self.records.finish();
                return Ok(Decoded { records, bytes, next_iterator, millis_behind_latest });
            }
            _ if self.stage == Stage::Records => {
                let mut cursor = Cursor::new(&self.open);
                let _ = self.records.read(&mut cursor, 0);
                at = self.head + self.read + cursor.at;
            }
            _ if at >= self.head => at += self.read,
            _ => {}
        }
        Err(self.not_read(Why::Odd { at }))
    }

    /// Reads what was cut, if its rest is in this piece; returns what follows it.
    fn read_open<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let mut open = std::mem::take(&mut self.open);
        let held = open.len();
        let (mut taken, mut read) = (0, 0);
        while read == 0 && taken < piece.len() {
            let more = open.len().max(MORE).min(piece.len() - taken);
            let next = &piece[taken..taken + more];
            open.extend_from_slice(next);
            taken += more;
            // Megabytes of a payload are not searched again for each piece of it.
            if self.tries < TRIES && memchr(self.last_byte(), next).is_some() {
                read = self.read(&open);
                self.tries += 1;
            }
        }
        let rest = if read == 0 {
            &[]
        } else {
            open.clear();
            self.tries = 0;
            // What is held could not be read without more: what was read ends behind it.
            &piece[read.saturating_sub(held)..]
        };
        self.open = open;
        rest
    }

    /// What stands at the end of what is open, and hardly anywhere else in it.
    const fn last_byte(&self) -> u8 {
        match self.stage {
            Stage::Head => b'[',
            Stage::Records | Stage::Tail => b'}',
        }
    }

    /// Reads the head and the records that are all there, and returns how many bytes they are.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut cursor = Cursor::new(bytes);
        if self.stage == Stage::Head {
            if head(&mut cursor).is_none() {
                return 0;
            }
            self.frame.extend_from_slice(&bytes[..cursor.at]);
            (self.head, self.stage) = (cursor.at, Stage::Records);
        }
        let start = cursor.at;
        let mut end = start;
        let to_come = self.length.saturating_sub(self.head + self.read);
        while self.records.read(&mut cursor, to_come).is_some() {
            end = cursor.at;
        }
        if bytes.get(end) == Some(&b']') {
            self.stage = Stage::Tail;
        }
        self.read += end - start;
        end
    }

    fn not_read(self, why: Why) -> NotRead {
        let (head, tail) = self.frame.split_at(self.head);
        let stand_in = match self.records.is_empty() {
            true => String::new(),
            false => format!("{{\"SequenceNumber\":\"{STANDS_IN}\",\"Data\":\"\",\"PartitionKey\":\"\"}}"),
        };
        let rest = [head, stand_in.as_bytes(), tail, &self.open].concat();
        let (records, bytes) = self.records.finish();
        NotRead { rest, before: Decoded { records, bytes, ..Decoded::default() }, why }
    }
}

/// What an answer says besides its records.
#[derive(Default)]
struct Fields {
    next_iterator: Option<String>,
    millis_behind_latest: Option<u64>,
    /// Which of them were there, as bits.
    seen: u8,
}

/// Up to behind the bracket that opens the records.
fn head(cursor: &mut Cursor<'_>) -> Option<()> {
    let mut fields = Fields::default();
    cursor.must(b"{")?;
    while !cursor.take(RECORDS) {
        fields.read(cursor)?;
        cursor.must(b",")?;
    }
    Some(())
}

/// All of an answer but its records.
fn fields(cursor: &mut Cursor<'_>) -> Option<Fields> {
    let mut fields = Fields::default();
    let mut seen_records = false;
    cursor.must(b"{")?;
    loop {
        if cursor.take(RECORDS) {
            cursor.must(b"]")?;
            (!std::mem::replace(&mut seen_records, true)).then_some(())?;
        } else {
            fields.read(cursor)?;
        }
        if !cursor.take(b",") {
            cursor.must(b"}")?;
            return (seen_records && cursor.rest().is_empty()).then_some(fields);
        }
    }
}

impl Fields {
    /// The next of them.
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let field = if cursor.take(b"\"NextShardIterator\":") {
            if !cursor.take(b"null") {
                cursor.must(b"\"")?;
                self.next_iterator = Some(String::from_utf8(cursor.string()?.into_owned()).ok()?);
            }
            1
        } else if cursor.take(b"\"MillisBehindLatest\":") {
            if !cursor.take(b"null") {
                self.millis_behind_latest = Some(integer(cursor.number())?);
            }
            2
        } else if cursor.take(CHILDREN) {
            (cursor.take(b"null") || cursor.take(b"[]")).then_some(())?;
            4
        } else {
            return None;
        };
        let once = self.seen & field == 0;
        self.seen |= field;
        once.then_some(())
    }
}
