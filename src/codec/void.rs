//! Voids: objects that hold nothing, in the place of one that can never come.
//!
//! Owns their bytes and how they are told from objects with records. When one is put is `shard`'s to decide.

use crate::model::batch::Compression;
use crate::model::ledger::BatchBody;
use crate::model::metadata;
use crate::ports::Head;

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

/// Whether the object's metadata say that it is a void.
pub fn is_marked(head: &Head) -> bool {
    head.meta(metadata::VOID).is_some()
}

/// Whether the batch's object is a void, also where metadata do not exist: in a copied folder its
/// length tells, since no object that holds a line is as short. (One of payloads holds none where none of
/// them can be a line; its entry says so.)
pub fn is_void(head: &Head, batch: &BatchBody) -> bool {
    is_marked(head) || (head.size == of(batch).len() as u64 && batch.content_size > 0)
}
