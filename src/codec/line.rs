//! Envelope lines, built by hand into one reused buffer.
//!
//! Owns the text of a line: its fields, their order, JSON's escapes. Does not compress or hash it.

use base64_simd::AsOut;

use crate::model::record::ArchivedRecord;
use crate::model::timestamp::Timestamp;

/// How much of a text is escaped at once: room for its worst case is made beforehand.
const CHUNK: usize = 4096;
/// A block whose bytes to escape are found together.
const BLOCK: usize = 64;
/// A run between two escapes is mostly shorter than this and then copied in one fixed-size move.
const RUN: usize = 16;
/// `\u001f`, the longest escape of one byte.
const LONGEST_ESCAPE: usize = 6;
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
            Some(_) | None => {
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
            self.make_room(LONGEST_ESCAPE * chunk.len() + RUN);
            self.len = escape(chunk, &mut self.bytes, self.len);
        }
    }

    fn make_room(&mut self, more: usize) {
        let need = self.len + more;
        if need > self.bytes.len() {
            let room = need.max(self.bytes.len() + self.bytes.len().clamp(FIRST_ROOM, STEP));
            self.bytes.reserve_exact(room - self.bytes.len());
            self.bytes.resize(room, 0);
        }
    }
}

/// Writes `text` escaped to `out[at..]` and returns where it ends. `out` has room for the worst case and
/// [`RUN`] bytes more.
fn escape(mut text: &[u8], out: &mut [u8], mut at: usize) -> usize {
    while let (Some(block), Some(ahead)) = (text.first_chunk(), text.get(..BLOCK + RUN)) {
        at = escape_block(ahead, BLOCK, must_escape(block), out, at);
        text = &text[BLOCK..];
    }
    while !text.is_empty() {
        // The rest, with room behind it so that runs can be read in fixed-size moves.
        let len = text.len().min(BLOCK);
        let mut rest = [b' '; BLOCK + RUN];
        rest[..len].copy_from_slice(&text[..len]);
        let hits = rest.first_chunk().map_or(0, must_escape);
        at = escape_block(&rest, len, hits, out, at);
        text = &text[len..];
    }
    at
}

/// Writes the first `len` bytes of `block`, of which those in `hits` are escaped.
#[inline]
fn escape_block(block: &[u8], len: usize, mut hits: u64, out: &mut [u8], mut at: usize) -> usize {
    let mut start = 0;
    while hits != 0 {
        let hit = hits.trailing_zeros() as usize;
        hits &= hits - 1;
        at = copy_run(block, start, hit, out, at);
        at = put_escape(block[hit], out, at);
        start = hit + 1;
    }
    copy_run(block, start, len, out, at)
}

#[inline]
fn copy_run(block: &[u8], start: usize, end: usize, out: &mut [u8], at: usize) -> usize {
    let len = end - start;
    if len <= RUN {
        out[at..at + RUN].copy_from_slice(&block[start..start + RUN]);
    } else {
        out[at..at + len].copy_from_slice(&block[start..end]);
    }
    at + len
}

/// Which bytes of a block must be escaped, as a bit each: the quote, the backslash, controls. Written so
/// that compilers make vector code of it.
#[inline]
fn must_escape(block: &[u8; BLOCK]) -> u64 {
    let mut flags = [0_u8; BLOCK];
    for (flag, byte) in flags.iter_mut().zip(block) {
        *flag = u8::from(*byte == b'"') | u8::from(*byte == b'\\') | u8::from(*byte < 0x20);
    }
    let mut mask = 0;
    for (index, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
        // Gathers the lowest bit of each of eight bytes in the topmost byte.
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask |= bits << (8 * index);
    }
    mask
}

#[inline]
fn put_escape(byte: u8, out: &mut [u8], at: usize) -> usize {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let long = [b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out[at..at + LONGEST_ESCAPE].copy_from_slice(&long);
            return at + LONGEST_ESCAPE;
        }
    };
    out[at..at + 2].copy_from_slice(&[b'\\', short]);
    at + 2
}
