//! The records of an answer, one after the other, into buffers that neighbours share.
//!
//! Owns the one shape of a record that Kinesis sends. A record that is not read leaves nothing behind.

use std::mem;
use std::ops::Range;

use base64_simd::STANDARD;
use bytes::Bytes;

use super::super::buffer::Buffer;
use super::cursor::Cursor;
use crate::model::record::RawRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::text::Text;
use crate::model::timestamp::Timestamp;

/// The most records that a reply has.
const MOST_RECORDS: usize = 10_000;

/// Keys and payloads share buffers of so many bytes (one that is longer has its own): a buffer and the records in it
/// still lie in a core's own cache when it is cut up among them, which with one buffer for all they do not.
const SHARED: usize = 256 << 10;

/// Records while they are read: what some share is cut up among them once it is full.
#[derive(Debug, Default)]
pub(super) struct Records {
    list: Vec<RawRecord>,
    /// Where the key and the payload of each of the last records lie in `shared`.
    spans: Vec<(Range<usize>, Range<usize>)>,
    /// Keys and payloads, one after the other.
    shared: Buffer,
    /// Where in it the record that is read now begins.
    begins: usize,
    /// Bytes of all buffers before it.
    before: usize,
    /// Bytes of the answer that are yet to be read, the record among them that is read now.
    to_come: usize,
    /// How long the last sequence number was.
    digits: usize,
}

/// A record while its fields are read. Ranges are those behind where it begins in the shared buffer.
#[derive(Default)]
struct Parts {
    sequence_number: Option<SequenceNumber>,
    arrival: Timestamp,
    key: Range<usize>,
    data: Range<usize>,
}

/// The fields of a record, as bits: each at most once, and three of them always.
mod field {
    pub(super) const ARRIVAL: u8 = 1;
    pub(super) const DATA: u8 = 2;
    pub(super) const NUMBER: u8 = 4;
    pub(super) const KEY: u8 = 8;
    pub(super) const ENCRYPTION: u8 = 16;
    pub(super) const ALWAYS: u8 = ARRIVAL | DATA | NUMBER;
}

impl Records {
    /// Whether none was read yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All that were read, and how many bytes of payload and keys they are.
    pub(super) fn finish(mut self) -> (Vec<RawRecord>, u64) {
        let last = mem::take(&mut self.shared);
        self.cut_up(last);
        (self.list, self.before as u64)
    }

    /// Reads the next record, with the comma that parts it from the last one. `to_come` bytes of the answer, this
    /// record among them, are yet to be read.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>, to_come: usize) -> Option<()> {
        let start = cursor.at;
        let first = self.is_empty();
        if !first {
            cursor.must(b",")?;
        }
        (self.begins, self.to_come) = (self.shared.len(), to_come);
        let read = self.record(cursor);
        if read.is_none() {
            self.shared.truncate(self.begins);
        } else if first {
            // Neighbours are alike, so most answers need no second room.
            let more = to_come / (cursor.at - start).max(1) * 17 / 16 + 1;
            self.list.reserve(more.min(MOST_RECORDS));
        }
        read
    }

    /// Makes room for so many bytes more in the shared buffer: another takes its place where they do not fit, to
    /// which only what there is of the record moves that is read now.
    fn make_room(&mut self, bytes: usize) {
        if self.shared.capacity() - self.shared.len() >= bytes {
            return;
        }
        let begun = self.shared.len() - self.begins;
        // Payloads are three quarters of their base64, and the names around a key longer than it is cut short.
        let room = SHARED.min(self.to_come / 4 * 3).max(begun + bytes);
        let mut full = mem::replace(&mut self.shared, Buffer::with_room(room));
        self.shared.extend_from_slice(&full[self.begins..]);
        full.truncate(self.begins);
        self.begins = 0;
        self.cut_up(full);
    }

    /// Gives the last records what is theirs of the buffer that they share.
    fn cut_up(&mut self, shared: Buffer) {
        self.before += shared.len();
        let last = self.list.len() - self.spans.len();
        let shared = Bytes::from_owner(shared);
        for (record, (key, data)) in self.list[last..].iter_mut().zip(self.spans.drain(..)) {
            record.data = shared.slice(data);
            if !key.is_empty() {
                // Every key was looked at when it was read.
                record.partition_key = Some(Text::of_utf8(shared.slice(key)));
            }
        }
    }

    fn record(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let mut parts = Parts::default();
        let mut seen = 0;
        cursor.must(b"{\"")?;
        loop {
            let field = self.field(cursor, &mut parts)?;
            if seen & field != 0 {
                return None;
            }
            seen |= field;
            if !cursor.take(b",\"") {
                break;
            }
        }
        cursor.must(b"}")?;
        if seen & field::ALWAYS != field::ALWAYS {
            return None;
        }
        let Parts { sequence_number, arrival, key, data } = parts;
        let (sequence_number, later) = (sequence_number?, Bytes::new());
        self.list.push(RawRecord { sequence_number, arrival, partition_key: None, data: later });
        let at = |range: Range<usize>| self.begins + range.start..self.begins + range.end;
        self.spans.push((at(key), at(data)));
        Some(())
    }

    /// From behind the opening quote of a field's name to behind its value.
    #[inline]
    fn field(&mut self, cursor: &mut Cursor<'_>, parts: &mut Parts) -> Option<u8> {
        Some(match cursor.rest().first()? {
            b'S' => {
                cursor.must(b"SequenceNumber\":\"")?;
                parts.sequence_number = Some(self.number(cursor)?);
                field::NUMBER
            }
            b'A' => {
                cursor.must(b"ApproximateArrivalTimestamp\":")?;
                parts.arrival = cursor.arrival()?;
                field::ARRIVAL
            }
            b'D' => {
                cursor.must(b"Data\":\"")?;
                let text = cursor.before_quote()?;
                self.make_room(text.len() / 4 * 3);
                let from = self.shared.len() - self.begins;
                STANDARD.decode_append(text, &mut *self.shared).ok()?;
                parts.data = from..self.shared.len() - self.begins;
                field::DATA
            }
            b'P' => {
                cursor.must(b"PartitionKey\":\"")?;
                let key = cursor.string()?;
                self.make_room(key.len());
                let from = self.shared.len() - self.begins;
                self.shared.extend_from_slice(&key);
                parts.key = from..self.shared.len() - self.begins;
                field::KEY
            }
            b'E' => {
                cursor.must(b"EncryptionType\":\"")?;
                (cursor.take(b"KMS\"") || cursor.take(b"NONE\"")).then_some(())?;
                field::ENCRYPTION
            }
            _ => return None,
        })
    }

    /// A number, and goes behind its quote. Numbers of a shard have one length for years; where a quote stands there by
    /// chance, the first one counts.
    #[inline]
    fn number(&mut self, cursor: &mut Cursor<'_>) -> Option<SequenceNumber> {
        let rest = cursor.rest();
        if rest.get(self.digits) == Some(&b'"')
            && let Some(number) = SequenceNumber::from_digits(&rest[..self.digits])
        {
            cursor.at += self.digits + 1;
            return Some(number);
        }
        let digits = cursor.before_quote()?;
        let number = SequenceNumber::from_digits(digits)?;
        self.digits = digits.len();
        Some(number)
    }
}
