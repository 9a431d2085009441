//! Voids: objects that hold nothing, in the place of one that can never come.
//!
//! Owns their bytes and how they are told from objects with records. When one is put is `shard`'s to decide.

use crate::model::ledger::BatchBody;
use crate::model::metadata;
use crate::ports::Head;

/// A gzip file that holds nothing: what every reader of a void sees.
pub const EMPTY_GZIP: [u8; 20] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The void that takes the place of this batch's object.
pub const fn of(_batch: &BatchBody) -> &'static [u8] {
    &EMPTY_GZIP
}

/// Whether the object's metadata say that it is a void.
pub fn is_marked(head: &Head) -> bool {
    head.meta(metadata::VOID).is_some()
}

/// Whether the batch's object is a void, also where metadata do not exist: in a copied folder its
/// length tells, since no object that holds a line is as short.
pub fn is_void(head: &Head, batch: &BatchBody) -> bool {
    is_marked(head) || head.size == of(batch).len() as u64
}
