//! Zstd frames, and the choice between them and gzip members: one text in, one part of a file out.
//!
//! Owns how a frame is made, the same bytes every time. Gzip members are `member`'s.

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::member::GzipPacker;
use super::pool::Pool;
use crate::model::batch::Compression;

/// The longest block of a frame, in bytes.
const BLOCK: usize = 128 << 10;

/// Scratch, or room for text, beyond this many bytes is given back after the huge record that needed it.
pub(super) const KEEP: usize = 4 << 20;

/// Shared by all batches: an open one holds none while it only grows.
static POOL: Pool<Open> = Pool::new();

/// Makes the parts of a file, each of which can be unpacked on its own. Holds nothing itself.
#[derive(Clone, Copy)]
pub(super) enum Packer {
    Gzip(GzipPacker),
    /// At libzstd's level.
    Zstd(i32),
}

impl Packer {
    /// At this level of its compressor; others are brought into its range.
    pub(super) fn new(compression: Compression, level: u32) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip(GzipPacker::new(level)),
            Compression::Zstd => Self::Zstd(i32::try_from(level.clamp(1, 22)).unwrap_or(6)),
        }
    }

    /// The part that holds `text`.
    pub(super) fn pack(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Gzip(gzip) => gzip.pack(text),
            Self::Zstd(level) => POOL.with(level, Open::default, |open| open.pack(text, level)),
        }
    }
}

/// Makes room in a scratch for so many bytes.
pub(super) fn make_room(scratch: &mut Vec<u8>, bytes: usize) {
    if scratch.len() < bytes {
        scratch.reserve_exact(bytes - scratch.len());
        scratch.resize(bytes, 0);
    }
}

/// Gives a scratch back that a huge text needed.
pub(super) fn shrink(scratch: &mut Vec<u8>) {
    if scratch.capacity() > KEEP {
        *scratch = Vec::new();
    }
}

/// Makes zstd frames (RFC 8878) with the length and the checksum of their content.
#[derive(Default)]
struct Open {
    /// Made when first needed.
    compressor: Option<Compressor<'static>>,
    scratch: Vec<u8>,
}

impl Open {
    fn pack(&mut self, text: &[u8], level: i32) -> Vec<u8> {
        // Neither can fail while there is memory; if one ever does, the text is kept all the same.
        let frame = self.try_pack(text, level).unwrap_or_else(|_| raw_frame(text));
        shrink(&mut self.scratch);
        frame
    }

    fn try_pack(&mut self, text: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => {
                let mut compressor = Compressor::new(level)?;
                compressor.set_parameter(CParameter::ChecksumFlag(true))?;
                none.insert(compressor)
            }
        };
        make_room(&mut self.scratch, compress_bound(text.len()));
        let len = compressor.compress_to_buffer(text, self.scratch.as_mut_slice())?;
        Ok(self.scratch[..len].to_vec())
    }
}

/// A frame that holds `text` uncompressed.
fn raw_frame(text: &[u8]) -> Vec<u8> {
    let blocks = text.len().div_ceil(BLOCK).max(1);
    let mut frame = Vec::with_capacity(text.len() + 3 * blocks + 13);
    // One segment, its length in eight bytes, no checksum.
    frame.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 0xe0]);
    frame.extend_from_slice(&(text.len() as u64).to_le_bytes());
    for index in 0..blocks {
        let block = &text[index * BLOCK..text.len().min((index + 1) * BLOCK)];
        let header = (block.len() as u32) << 3 | u32::from(index + 1 == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::super::void;
    use super::*;

    fn unpack(frame: &[u8]) -> Vec<u8> {
        zstd::stream::decode_all(frame).unwrap()
    }

    #[test]
    fn a_raw_frame_is_a_frame_too() {
        let long: Vec<u8> = (0..600_000_u32).map(|n| (n * 7 / 3) as u8).collect();
        for text in [&b""[..], b"x", &long[..BLOCK], &long[..BLOCK + 1], &long] {
            assert_eq!(unpack(&raw_frame(text)), text);
        }
    }

    #[test]
    fn a_frame_is_the_same_whatever_was_packed_before() {
        let text: Vec<u8> = (0..1_200_000_u32).map(|n| (n.wrapping_mul(n) / 977) as u8).collect();
        for level in [1, 6, 19, 22] {
            let packed = Open::default().pack(&text, level);
            let mut used = Open::default();
            let _ = used.pack(&text[..700_000], level);
            let _ = used.pack(b"short\n", level);
            assert_eq!(used.pack(&text, level), packed, "level {level}");
            let packer = Packer::new(Compression::Zstd, level as u32);
            assert_eq!(packer.pack(&text), packed);
            assert_eq!(unpack(&packed), text);
            assert_eq!(packer.pack(b""), void::packed(Compression::Zstd));
        }
        assert_eq!(unpack(&Packer::new(Compression::Zstd, 99).pack(&text)), text);
    }

    #[test]
    fn the_scratch_of_a_huge_text_is_given_back() {
        let mut open = Open::default();
        let _ = open.pack(&vec![b'x'; 1 << 20], 1);
        assert!(open.scratch.capacity() > 1 << 20);
        let _ = open.pack(&vec![b'x'; 2 * KEEP], 1);
        assert_eq!(open.scratch.capacity(), 0);
    }
}
