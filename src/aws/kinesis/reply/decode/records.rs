//! The records of an answer, one after the other, into memory that they share.
//!
//! Owns the one shape of a record that Kinesis sends. A record that is not read leaves nothing behind.

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

/// Records while they are read: what they share is cut up at the end.
#[derive(Debug, Default)]
pub(super) struct Records {
    list: Vec<RawRecord>,
    /// Where the key and the payload of each lie in `shared`.
    spans: Vec<(Range<usize>, Range<usize>)>,
    /// Keys and payloads, one after the other.
    shared: Buffer,
    /// How long the last sequence number was.
    digits: usize,
}

/// A record while its fields are read.
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
    pub(super) fn finish(self) -> (Vec<RawRecord>, u64) {
        let bytes = self.shared.len() as u64;
        let shared = Bytes::from_owner(self.shared);
        let mut records = self.list;
        for (record, (key, data)) in records.iter_mut().zip(self.spans) {
            record.data = shared.slice(data);
            if !key.is_empty() {
                // Every key was looked at when it was read.
                record.partition_key = Some(Text::of_utf8(shared.slice(key)));
            }
        }
        (records, bytes)
    }

    /// Reads the next record, with the comma that parts it from the last one. `to_come` bytes of the answer, this
    /// record among them, are yet to be read.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>, to_come: usize) -> Option<()> {
        let held = self.shared.len();
        let start = cursor.at;
        let first = self.is_empty();
        if first {
            // Payloads are three quarters of their base64, and the names around a key longer than it is cut short.
            self.make_room(to_come / 4 * 3);
        } else {
            cursor.must(b",")?;
        }
        let read = self.record(cursor);
        if read.is_none() {
            self.shared.truncate(held);
        } else if first {
            // Neighbours are alike, so most answers need no second room.
            let more = to_come / (cursor.at - start).max(1) * 17 / 16 + 1;
            self.list.reserve(more.min(MOST_RECORDS));
            self.spans.reserve(more.min(MOST_RECORDS));
        }
        read
    }

    fn make_room(&mut self, bytes: usize) {
        if self.shared.capacity() < bytes {
            self.shared = Buffer::with_room(bytes);
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
        self.spans.push((key, data));
        Some(())
    }

    /// From behind the opening quote of a field's name to behind its value.
    #[inline]
    fn field(&mut self, cursor: &mut Cursor<'_>, parts: &mut Parts) -> Option<u8> {
        Some(match cursor.rest().first()? {
            b'S' => {
                cursor.must(b"SequenceNumber\":\"")?;
                parts.sequence_number = Some(SequenceNumber::from_digits(self.digits(cursor)?)?);
                field::NUMBER
            }
            b'A' => {
                cursor.must(b"ApproximateArrivalTimestamp\":")?;
                parts.arrival = cursor.arrival()?;
                field::ARRIVAL
            }
            b'D' => {
                cursor.must(b"Data\":\"")?;
                let from = self.shared.len();
                STANDARD.decode_append(cursor.before_quote()?, &mut *self.shared).ok()?;
                parts.data = from..self.shared.len();
                field::DATA
            }
            b'P' => {
                cursor.must(b"PartitionKey\":\"")?;
                let from = self.shared.len();
                self.shared.extend_from_slice(&cursor.string()?);
                parts.key = from..self.shared.len();
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

    /// What may be digits before a quote, and goes behind the quote. Numbers of a shard have one length for years.
    #[inline]
    fn digits<'a>(&mut self, cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
        let rest = cursor.rest();
        if rest.get(self.digits) == Some(&b'"') {
            cursor.at += self.digits + 1;
            return Some(&rest[..self.digits]);
        }
        let digits = cursor.before_quote()?;
        self.digits = digits.len();
        Some(digits)
    }
}
