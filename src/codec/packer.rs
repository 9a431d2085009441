//! Zstd frames, and the choice between them and gzip members: one text in, one part of a file out.
//!
//! Owns how a frame is made, the same bytes every time. Gzip members are `member`'s.

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::member::GzipPacker;
use crate::model::batch::Compression;

/// The longest block of a frame, in bytes.
const BLOCK: usize = 128 << 10;

/// Makes the parts of a file, each of which can be unpacked on its own.
pub(super) enum Packer {
    Gzip(GzipPacker),
    Zstd(ZstdPacker),
}

impl Packer {
    pub(super) fn new(compression: Compression, level: u32) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip(GzipPacker::new(level)),
            Compression::Zstd => Self::Zstd(ZstdPacker::new(level)),
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Gzip(gzip) => gzip.memory(),
            Self::Zstd(zstd) => zstd.memory(),
        }
    }

    /// Gives back all that it holds.
    pub(super) fn clear(&mut self) {
        match self {
            Self::Gzip(gzip) => gzip.clear(),
            Self::Zstd(zstd) => zstd.open = None,
        }
    }

    /// Gives back the scratch if it is larger than `keep` bytes.
    pub(super) fn shrink(&mut self, keep: usize) {
        match self {
            Self::Gzip(gzip) => gzip.shrink(keep),
            Self::Zstd(zstd) => zstd.shrink(keep),
        }
    }

    /// The part that holds `text`.
    pub(super) fn pack(&mut self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Gzip(gzip) => gzip.pack(text),
            Self::Zstd(zstd) => zstd.pack(text),
        }
    }
}

/// Makes zstd frames (RFC 8878) with the length and the checksum of their content.
pub(super) struct ZstdPacker {
    level: i32,
    /// State and scratch, made when first needed.
    open: Option<Open>,
}

struct Open {
    compressor: Compressor<'static>,
    scratch: Vec<u8>,
}

impl ZstdPacker {
    /// A packer at libzstd's `level`, 1 to 22; others are brought into that range.
    fn new(level: u32) -> Self {
        Self { level: i32::try_from(level.clamp(1, 22)).unwrap_or(6), open: None }
    }

    fn memory(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.scratch.capacity() + state_size(self.level))
    }

    fn shrink(&mut self, keep: usize) {
        if let Some(open) = &mut self.open
            && open.scratch.capacity() > keep
        {
            open.scratch = Vec::new();
        }
    }

    fn pack(&mut self, text: &[u8]) -> Vec<u8> {
        // Neither can fail while there is memory; if one ever does, the text is kept all the same.
        self.try_pack(text).unwrap_or_else(|_| raw_frame(text))
    }

    fn try_pack(&mut self, text: &[u8]) -> std::io::Result<Vec<u8>> {
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let mut compressor = Compressor::new(self.level)?;
                compressor.set_parameter(CParameter::ChecksumFlag(true))?;
                none.insert(Open { compressor, scratch: Vec::new() })
            }
        };
        let bound = compress_bound(text.len());
        if open.scratch.len() < bound {
            open.scratch.reserve_exact(bound - open.scratch.len());
            open.scratch.resize(bound, 0);
        }
        let len = open.compressor.compress_to_buffer(text, open.scratch.as_mut_slice())?;
        Ok(open.scratch[..len].to_vec())
    }
}

/// About what libzstd holds for texts of a mebibyte, in bytes.
const fn state_size(level: i32) -> usize {
    match level {
        ..=4 => 2 << 20,
        5..=12 => 8 << 20,
        _ => 20 << 20,
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
    fn a_frame_is_the_same_whatever_was_packed_before_and_holds_nothing_once_cleared() {
        let text: Vec<u8> = (0..1_200_000_u32).map(|n| (n.wrapping_mul(n) / 977) as u8).collect();
        for level in [0, 1, 6, 19, 22, 99] {
            let mut packer = Packer::new(Compression::Zstd, level);
            assert_eq!(packer.memory(), 0);
            let _ = packer.pack(&text[..700_000]);
            let _ = packer.pack(b"short\n");
            let used = packer.pack(&text);
            packer.clear();
            assert_eq!(packer.memory(), 0);
            assert_eq!(used, packer.pack(&text), "level {level}");
            assert_eq!(unpack(&used), text);
            assert_eq!(packer.pack(b""), void::packed(Compression::Zstd));
            assert!(packer.memory() > text.len());
            packer.shrink(1000);
            assert_eq!(packer.memory(), state_size(level.clamp(1, 22) as i32));
        }
    }
}
