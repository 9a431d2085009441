//! Gzip members: one text in, one member out, the same bytes every time.
//!
//! Owns how a member is made. Does not decide where a member ends.

use libdeflater::{CompressionLvl, Compressor};

use super::packer::{make_room, shrink};
use super::pool::Pool;

/// The longest stored block of deflate, in bytes.
const STORED: usize = 0xffff;

/// Shared by all batches: an open one holds none while it only grows.
static POOL: Pool<Open> = Pool::new();

struct Open {
    compressor: Compressor,
    scratch: Vec<u8>,
}

/// Makes gzip members (RFC 1952; mtime 0, no name, system "unknown") at libdeflate's `level`, 1 to 12;
/// others are brought into that range.
#[derive(Clone, Copy)]
pub(super) struct GzipPacker {
    level: CompressionLvl,
}

impl GzipPacker {
    pub(super) fn new(level: u32) -> Self {
        let level = i32::try_from(level.clamp(1, 12)).unwrap_or(6);
        Self { level: CompressionLvl::new(level).unwrap_or_default() }
    }

    /// Whether ISA-L makes the members of this level: of the others it makes none that are as small.
    fn uses_isal(self) -> bool {
        cfg!(feature = "isal") && i32::from(self.level) == 1
    }

    fn compressor(self) -> Compressor {
        Compressor::new(self.level)
    }

    /// The member that holds `text`.
    pub(super) fn pack(self, text: &[u8]) -> Vec<u8> {
        let make = || Open { compressor: self.compressor(), scratch: Vec::new() };
        POOL.with(self.level.into(), make, |open| open.pack(text, self.uses_isal()))
    }
}

impl Open {
    fn pack(&mut self, text: &[u8], by_isal: bool) -> Vec<u8> {
        let bound = self.compressor.gzip_compress_bound(text.len());
        make_room(&mut self.scratch, bound);
        let fast = if by_isal { pack_by_isal(text, &mut self.scratch) } else { None };
        let packed = fast.or_else(|| self.compressor.gzip_compress(text, &mut self.scratch).ok());
        // Without room it cannot be with libdeflate's own bound; if it ever is, the text is kept all the same.
        let member = packed.map_or_else(|| stored(text), |len| self.scratch[..len].to_vec());
        shrink(&mut self.scratch);
        member
    }
}

/// The length of the member that ISA-L's level 1 made of `text`; `None` if it does not fit.
#[cfg(feature = "isal")]
fn pack_by_isal(text: &[u8], scratch: &mut [u8]) -> Option<usize> {
    // Nothing is faster for nothing, and what it makes of it is not promised.
    let text = Some(text).filter(|text| !text.is_empty())?;
    isal::compress_into(text, scratch, isal::CompressionLevel::One, isal::Codec::Gzip).ok()
}

#[cfg(not(feature = "isal"))]
fn pack_by_isal(_: &[u8], _: &mut [u8]) -> Option<usize> {
    None
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
            assert_eq!(unpack(&GzipPacker::new(level).pack(b"")), b"");
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
    fn a_member_is_the_same_whatever_was_packed_before() {
        let text: Vec<u8> = (0..1_200_000_u32).map(|n| (n.wrapping_mul(n) / 977) as u8).collect();
        for level in [1, 6, 12] {
            let packer = GzipPacker::new(level);
            let open = || Open { compressor: packer.compressor(), scratch: Vec::new() };
            let packed = open().pack(&text, packer.uses_isal());
            let mut used = open();
            let _ = used.pack(&text[..700_000], packer.uses_isal());
            let _ = used.pack(b"short\n", packer.uses_isal());
            assert_eq!(used.pack(&text, packer.uses_isal()), packed, "level {level}");
            assert_eq!(packer.pack(&text), packed);
            assert_eq!(unpack(&packed), text);
        }
    }
}
