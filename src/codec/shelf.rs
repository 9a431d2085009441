//! Pending text of a batch that grows slowly, in pieces of one size.
//!
//! Owns where such text lies until its member is closed. A thousand batches that each grew one long text would
//! leave the allocator with as much memory between them as they use.

use super::packer::{make_room, shrink};
use super::pool::Pool;

/// On average half of one is unused by each open batch; the allocator does well with many of one size.
const PIECE: usize = 32 << 10;

/// Where the pieces of a member's text are put together; shared by all batches.
static WHOLE: Pool<Vec<u8>> = Pool::new();

/// Text in pieces, all of them full but the last.
#[derive(Default)]
pub(super) struct Shelf {
    pieces: Vec<Vec<u8>>,
    len: usize,
}

impl Shelf {
    /// Its length.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes held, room included.
    pub(super) fn memory(&self) -> usize {
        self.pieces.len() * PIECE + self.pieces.capacity() * size_of::<Vec<u8>>()
    }

    /// Appends bytes as they are.
    pub(super) fn put(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            if self.pieces.last().is_none_or(|last| last.len() == PIECE) {
                self.pieces.push(Vec::with_capacity(PIECE));
            }
            let Some(last) = self.pieces.last_mut() else { return };
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - last.len()));
            last.extend_from_slice(now);
            bytes = later;
        }
    }

    /// Empties it; `work` gets all of it in one piece, and what follows it.
    pub(super) fn take<R>(&mut self, rest: &[u8], work: impl FnOnce(&[u8]) -> R) -> R {
        let Self { pieces, len } = std::mem::take(self);
        WHOLE.with(0, Vec::new, |scratch| {
            make_room(scratch, len + rest.len());
            let mut at = 0;
            for piece in pieces.iter().map(Vec::as_slice).chain([rest]) {
                scratch[at..at + piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
            drop(pieces);
            let result = work(&scratch[..at]);
            shrink(scratch);
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_pieces_is_the_text() {
        let mut shelf = Shelf::default();
        let mut all = Vec::new();
        for (round, len) in [0, 1, PIECE - 1, PIECE, 3 * PIECE + 5, 7].into_iter().enumerate() {
            let text = vec![b'a' + round as u8; len];
            shelf.put(&text);
            all.extend(text);
            assert_eq!(shelf.len(), all.len());
            assert!(shelf.memory() < all.len() + 2 * PIECE);
        }
        assert!(shelf.take(b"rest", |whole| whole == [all.as_slice(), b"rest"].concat()));
        assert_eq!((shelf.len(), shelf.memory()), (0, 0));
        shelf.put(b"next");
        assert!(shelf.take(b"", |whole| whole == b"next"), "of a scratch that was longer, only the text");
    }
}
