//! Gzip members: one text in, one member out, the same bytes every time.
//!
//! Owns the compressor and what it needs while a batch is open. Does not decide where a member ends.

use libdeflater::{CompressionLvl, Compressor};

/// The longest stored block of deflate, in bytes.
const STORED: usize = 0xffff;

/// Makes gzip members (RFC 1952; mtime 0, no name, system "unknown").
#[derive(Default)]
pub(super) struct GzipPacker {
    level: CompressionLvl,
    /// State and scratch, made when first needed: an idle shard holds neither.
    open: Option<Open>,
}

struct Open {
    compressor: Compressor,
    scratch: Vec<u8>,
}

impl GzipPacker {
    /// A packer at libdeflate's `level`, 1 to 12; others are brought into that range.
    pub(super) fn new(level: u32) -> Self {
        let level = i32::try_from(level.clamp(1, 12)).unwrap_or(6);
        Self { level: CompressionLvl::new(level).unwrap_or_default(), open: None }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.scratch.capacity() + state_size(self.level))
    }

    /// Gives back all that it holds.
    pub(super) fn clear(&mut self) {
        self.open = None;
    }

    /// Gives back the scratch if it is larger than `keep` bytes.
    pub(super) fn shrink(&mut self, keep: usize) {
        if let Some(open) = &mut self.open
            && open.scratch.capacity() > keep
        {
            open.scratch = Vec::new();
        }
    }

    /// The member that holds `text`.
    pub(super) fn pack(&mut self, text: &[u8]) -> Vec<u8> {
        let level = self.level;
        let open =
            self.open.get_or_insert_with(|| Open { compressor: Compressor::new(level), scratch: Vec::new() });
        let bound = open.compressor.gzip_compress_bound(text.len());
        if open.scratch.len() < bound {
            open.scratch.reserve_exact(bound - open.scratch.len());
            open.scratch.resize(bound, 0);
        }
        match open.compressor.gzip_compress(text, &mut open.scratch) {
            Ok(len) => open.scratch[..len].to_vec(),
            // Cannot be with libdeflate's own bound; if it ever is, the text is kept all the same.
            Err(libdeflater::CompressionError::InsufficientSpace) => stored(text),
        }
    }
}

/// What libdeflate 1.26 allocates for a compressor, in bytes: it does not say so itself.
fn state_size(level: CompressionLvl) -> usize {
    match i32::from(level) {
        ..=1 => 200 << 10,
        2..=9 => 660 << 10,
        10.. => 9 << 20,
    }
}

/// A member that holds `text` uncompressed.
fn stored(text: &[u8]) -> Vec<u8> {
    let blocks = text.len().div_ceil(STORED).max(1);
    let mut member = Vec::with_capacity(text.len() + 5 * blocks + 18);
    member.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    for index in 0..blocks {
        let block = &text[index * STORED..text.len().min((index + 1) * STORED)];
        let len = block.len() as u16;
        member.push(u8::from(index + 1 == blocks));
        member.extend_from_slice(&len.to_le_bytes());
        member.extend_from_slice(&(!len).to_le_bytes());
        member.extend_from_slice(block);
    }
    member.extend_from_slice(&libdeflater::crc32(text).to_le_bytes());
    // RFC 1952: the length modulo 2^32.
    member.extend_from_slice(&(text.len() as u32).to_le_bytes());
    member
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(member: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        let mut gz = flate2::bufread::GzDecoder::new(member);
        gz.read_to_end(&mut text).unwrap();
        assert!(gz.into_inner().is_empty(), "one member and nothing behind it");
        text
    }

    #[test]
    fn the_header_is_always_the_same() {
        for level in [0, 1, 6, 12, 99] {
            let member = GzipPacker::new(level).pack(b"text\n");
            assert_eq!(member[..4], [0x1f, 0x8b, 8, 0], "deflate, no name, no further fields");
            assert_eq!(member[4..8], [0; 4], "mtime");
            assert_eq!(member[9], 255, "system");
            assert_eq!(unpack(&member), b"text\n");
        }
    }

    #[test]
    fn a_stored_member_is_a_member_too() {
        let long: Vec<u8> = (0..200_000_u32).map(|n| (n * 7 / 3) as u8).collect();
        for text in [&b""[..], b"x", &long[..STORED], &long[..STORED + 1], &long] {
            assert_eq!(unpack(&stored(text)), text);
        }
    }

    #[test]
    fn it_holds_nothing_once_cleared() {
        let mut packer = GzipPacker::new(6);
        assert_eq!(packer.memory(), 0);
        let _ = packer.pack(&[b'a'; 100_000]);
        assert!(packer.memory() > 100_000);
        packer.shrink(1000);
        assert_eq!(packer.memory(), state_size(packer.level));
        packer.clear();
        assert_eq!(packer.memory(), 0);
    }
}
