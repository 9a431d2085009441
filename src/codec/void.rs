//! Voids: objects that hold nothing, in the place of one that can never come.
//!
//! Owns their bytes and their length. What marks one in its metadata is `model::metadata`'s; when one is put is `shard`'s to decide.

use super::hash::sha256_hex;
use crate::model::batch::{Compression, Content};
use crate::model::ledger::BatchBody;

/// A gzip file that holds nothing.
const EMPTY_GZIP: [u8; 20] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// A zstd frame that holds nothing, with its length and checksum.
const EMPTY_ZSTD: [u8; 13] = [0x28, 0xb5, 0x2f, 0xfd, 0x24, 0, 1, 0, 0, 0x99, 0xe9, 0xd8, 0x51];

/// A file that holds nothing: what every reader of a void sees.
pub const fn packed(compression: Compression) -> &'static [u8] {
    match compression {
        Compression::Gzip => &EMPTY_GZIP,
        Compression::Zstd => &EMPTY_ZSTD,
    }
}

/// The void that takes the place of this batch's object.
pub const fn of(batch: &BatchBody) -> &'static [u8] {
    packed(batch.compression)
}

/// What a void says of itself: the place of the batch that it stands for, and no record.
pub fn content(batch: &BatchBody) -> Content {
    let bytes = of(batch);
    Content {
        first_sequence_number: batch.first_sequence_number.clone(),
        last_sequence_number: batch.last_sequence_number.clone(),
        records: 0,
        first_arrival: batch.first_arrival,
        last_arrival: batch.last_arrival,
        content_size: 0,
        content_sha256: sha256_hex(b""),
        size: bytes.len() as u64,
        sha256: sha256_hex(bytes),
    }
}

/// Whether an object of this length, of which no metadata exist (in a copied folder), is a void: no
/// object that holds a line is as short. (One of payloads holds none where none of them can be a
/// line; its entry says so.)
pub const fn has_its_length(size: u64, batch: &BatchBody) -> bool {
    size == of(batch).len() as u64 && batch.content_size > 0
}
