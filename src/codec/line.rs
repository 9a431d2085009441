//! Envelope lines, built by hand into one reused buffer.
//!
//! Owns the text of a line: its fields, their order, JSON's escapes. Does not compress or hash it.

use base64_simd::AsOut;
use wide::u8x16;

use crate::model::record::ArchivedRecord;
use crate::model::timestamp::Timestamp;

/// How much of a text is escaped at once: room for its worst case is made beforehand.
const CHUNK: usize = 4096;
/// A block whose bytes to escape are found together.
const BLOCK: usize = 64;
/// A run between two escapes is mostly shorter than this and then copied in one fixed-size move.
const RUN: usize = 32;
/// No block is longer when escaped; a power of two, so that a remainder by it costs nothing.
const MOST: usize = 512;
/// Room for a block's escapes, and for what fixed-size moves write behind them.
const WINDOW: usize = MOST + BLOCK;
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
            self.make_room(LONGEST_ESCAPE * chunk.len() + WINDOW);
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
/// [`WINDOW`] bytes more.
fn escape(mut text: &[u8], out: &mut [u8], mut at: usize) -> usize {
    while let Some(ahead) = text.first_chunk() {
        at += escape_block(ahead, BLOCK, &mut out[at..]);
        text = &text[BLOCK..];
    }
    while !text.is_empty() {
        // The rest, with room behind it so that runs can be read in fixed-size moves.
        let len = text.len().min(BLOCK);
        let mut rest = [b' '; BLOCK + RUN];
        rest[..len].copy_from_slice(&text[..len]);
        at += escape_block(&rest, len, &mut out[at..]);
        text = &text[len..];
    }
    at
}

/// Writes the first `len` bytes of `block` escaped, and returns how many bytes that made.
#[inline]
fn escape_block(block: &[u8; BLOCK + RUN], len: usize, out: &mut [u8]) -> usize {
    let out = &mut out[..WINDOW].as_chunks_mut().0[0];
    let (mut hits, controls) = must_escape(block);
    let (mut start, mut at) = (0, 0);
    while hits != 0 {
        let hit = hits.trailing_zeros() as usize;
        hits &= hits - 1;
        at = copy_run(block, start, hit, out, at);
        out[at % MOST] = b'\\';
        at += 1;
        // A quote or a backslash stands behind its backslash as it is: the next run begins with it.
        start = hit;
        if controls >> hit & 1 == 1 {
            at = put_control(block[hit], out, at);
            start += 1;
        }
    }
    copy_run(block, start, len, out, at)
}

/// Writes what stands behind the backslash of a control's escape.
#[inline(never)]
fn put_control(byte: u8, out: &mut [u8; WINDOW], at: usize) -> usize {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let long = [b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out[at..at + long.len()].copy_from_slice(&long);
            return at + long.len();
        }
    };
    out[at] = short;
    at + 1
}

/// The remainders spare a check of each bound. They change nothing: `at` is below [`MOST`], and `start` is at the block's
/// end only where nothing is left to copy.
#[inline]
fn copy_run(block: &[u8; BLOCK + RUN], start: usize, end: usize, out: &mut [u8; WINDOW], at: usize) -> usize {
    let (from, to) = (start % BLOCK, at % MOST);
    out[to..to + RUN].copy_from_slice(&block[from..from + RUN]);
    if end - start > RUN {
        let more = BLOCK - RUN;
        let from = (start + RUN) % BLOCK;
        out[to + RUN..to + RUN + more].copy_from_slice(&block[from..][..more]);
    }
    at + end - start
}

/// Which bytes of a block must be escaped, as a bit each: the quote, the backslash and controls; and the
/// controls alone.
#[inline]
fn must_escape(block: &[u8; BLOCK + RUN]) -> (u64, u64) {
    let (mut hits, mut controls) = (0, 0);
    for (index, lane) in block[..BLOCK].as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::from(*lane);
        let doubled = bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\'));
        hits |= u64::from(doubled.to_bitmask()) << (16 * index);
        controls |= u64::from(bytes.simd_le(u8x16::splat(0x1f)).to_bitmask()) << (16 * index);
    }
    (hits | controls, controls)
}
