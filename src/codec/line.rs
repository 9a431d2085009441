//! Envelope lines, built by hand into one reused buffer.
//!
//! Owns the text of a line: its fields and their order. Does not compress or hash it.

use base64_simd::AsOut;

use super::escape::{escape, room};
use crate::model::record::ArchivedRecord;
use crate::model::timestamp::Timestamp;

/// How much of a text is escaped at once: room for its worst case is made beforehand.
const CHUNK: usize = 4096;
/// The first room that is made, so that small batches do not grow byte by byte.
const FIRST_ROOM: usize = 32 << 10;
/// Room doubles up to this step and then grows by it: many open batches have little room to spare.
const STEP: usize = 128 << 10;

/// Pending text. The bytes behind `len` are room that was zeroed once: writing into it is cheaper than
/// appending to a vector, and needs no unsafe code.
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    len: usize,
    /// The arrival written last: neighbours often share it.
    stamp: Option<(Timestamp, [u8; 24])>,
}

impl Text {
    /// The text.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Its length.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes held, room included.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Empties it; room beyond `keep` bytes is given back.
    pub(super) fn clear(&mut self, keep: usize) {
        self.len = 0;
        if self.bytes.capacity() > keep {
            self.bytes = Vec::new();
        }
    }

    /// Appends one envelope line.
    pub(super) fn write_line(&mut self, record: &ArchivedRecord<'_>) {
        self.put(b"{\"sequence_number\":\"");
        self.write_fields(record);
    }

    /// Appends one line of a side object: an envelope line that also tells how many lines of the
    /// object itself stand before its record.
    pub(super) fn write_side_line(&mut self, after_lines: u64, record: &ArchivedRecord<'_>) {
        self.put(b"{\"after_lines\":");
        self.put(itoa::Buffer::new().format(after_lines).as_bytes());
        self.put(b",\"sequence_number\":\"");
        self.write_fields(record);
    }

    /// Appends a line that holds a payload alone, as an envelope would.
    pub(super) fn write_data_line(&mut self, data: &[u8]) {
        self.put(b"{");
        self.write_data(data);
    }

    fn write_fields(&mut self, record: &ArchivedRecord<'_>) {
        let mut digits = itoa::Buffer::new();
        self.put(record.sequence_number.as_bytes());
        self.put(b"\"");
        if let Some(sub) = record.sub_sequence_number {
            self.put(b",\"sub_sequence_number\":");
            self.put(digits.format(sub).as_bytes());
        }
        self.put(b",\"approximate_arrival_timestamp\":\"");
        self.put_time(record.arrival);
        self.put(b"\"");
        if let Some(key) = record.partition_key {
            self.put(b",\"partition_key\":\"");
            self.put_escaped(key.as_bytes());
            self.put(b"\"");
        }
        if let Some(key) = record.explicit_hash_key {
            self.put(b",\"explicit_hash_key\":\"");
            self.put_escaped(key.as_bytes());
            self.put(b"\"");
        }
        if record.outside_hash_range {
            self.put(b",\"outside_hash_range\":true");
        }
        self.put(b",");
        self.write_data(record.data);
    }

    /// The payload, and the line's end.
    fn write_data(&mut self, data: &[u8]) {
        if simdutf8::basic::from_utf8(data).is_ok() {
            self.put(b"\"data\":\"");
            self.put_escaped(data);
        } else {
            self.put(b"\"data_base64\":\"");
            self.put_base64(data);
        }
        self.put(b"\"}\n");
    }

    /// Appends bytes as they are.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_time(&mut self, at: Timestamp) {
        let text = match self.stamp {
            Some((known, text)) if known == at => text,
            Some((known, mut text)) if known.as_seconds() == at.as_seconds() => {
                // Neighbours mostly differ in their milliseconds alone.
                let millis = at.as_millis().rem_euclid(1000) as u32;
                for (digit, of) in text[20..23].iter_mut().zip([100, 10, 1]) {
                    *digit = b'0' + (millis / of % 10) as u8;
                }
                self.stamp = Some((at, text));
                text
            }
            _ => {
                let mut text = Vec::with_capacity(24);
                at.write_to(&mut text);
                let Ok(text) = <[u8; 24]>::try_from(text.as_slice()) else {
                    // Not reached while times are 24 bytes; if that ever changes, still right.
                    return self.put(&text);
                };
                self.stamp = Some((at, text));
                text
            }
        };
        self.put(&text);
    }

    fn put_base64(&mut self, data: &[u8]) {
        let len = base64_simd::STANDARD.encoded_length(data.len());
        self.make_room(len);
        let _ = base64_simd::STANDARD.encode(data, self.bytes[self.len..self.len + len].as_out());
        self.len += len;
    }

    /// Appends the text of a JSON string: what `serde_json` would write between the quotes.
    fn put_escaped(&mut self, text: &[u8]) {
        for chunk in text.chunks(CHUNK) {
            self.make_room(room(chunk.len()));
            self.len = escape(chunk, &mut self.bytes, self.len);
        }
    }

    /// Asked for each field: only the comparison is put in its place.
    #[inline]
    fn make_room(&mut self, more: usize) {
        let need = self.len + more;
        if need > self.bytes.len() {
            self.grow(need);
        }
    }

    #[cold]
    fn grow(&mut self, need: usize) {
        let room = need.max(self.bytes.len() + self.bytes.len().clamp(FIRST_ROOM, STEP));
        if self.bytes.is_empty() {
            self.bytes = vec![0; room];
        } else {
            self.bytes.reserve_exact(room - self.bytes.len());
            self.bytes.resize(room, 0);
        }
    }
}
