//! Buffers of answers, used again: getting a megabyte from the system anew for each answer costs as much as
//! decoding it.
//!
//! Owns which buffers are kept, and how much memory they hold. Does not know what lies in them.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All buffers that wait for an answer hold so much at most: three of the longest answer (10 MiB of data).
const MOST: usize = 32 << 20;

/// Smaller ones are as cheap to get anew, and would only be searched through.
const SMALLEST: usize = 4 << 10;

/// Answers differ a little in length: what one needed shall do for the next.
const STEP: usize = 256 << 10;

/// Shared by all shards: who has read an answer leaves its buffers, still in the cache, to the next.
static KEPT: Mutex<Kept> = Mutex::new(Kept { buffers: Vec::new(), held: 0 });

/// Empty buffers, the one used last at the end.
struct Kept {
    buffers: Vec<Vec<u8>>,
    /// Bytes that they hold.
    held: usize,
}

impl Kept {
    fn get() -> MutexGuard<'static, Self> {
        KEPT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&mut self, at: usize) -> Vec<u8> {
        let buffer = self.buffers.remove(at);
        self.held -= buffer.capacity();
        buffer
    }
}

/// Bytes that grow like those of a `Vec`; the room is kept for another answer once they are dropped.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty one with room for so many bytes.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self(Self::kept(bytes).unwrap_or_else(|| {
            // Room that is never written to is no memory yet.
            let step = bytes.next_power_of_two().clamp(SMALLEST, STEP);
            Vec::with_capacity(bytes.next_multiple_of(step))
        }))
    }

    /// The one used last of those that have so much room.
    fn kept(bytes: usize) -> Option<Vec<u8>> {
        let mut kept = Kept::get();
        let at = kept.buffers.iter().rposition(|buffer| buffer.capacity() >= bytes)?;
        Some(kept.take(at))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        if !(SMALLEST..=MOST).contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        let mut kept = Kept::get();
        kept.held += buffer.capacity();
        kept.buffers.push(buffer);
        let mut surplus = Vec::new();
        while kept.held > MOST {
            surplus.push(kept.take(0));
        }
        drop(kept);
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All tests of this process share what is kept, so only what holds at any time can be asserted.
    #[test]
    fn what_is_kept_is_empty_bounded_and_large_enough() {
        let threads = (0..4_usize).map(|thread| {
            std::thread::spawn(move || {
                for round in 0..200 {
                    let bytes = [0, 1, 5_000, 300_000, 9 << 20, 40 << 20][(round * 7 + thread) % 6];
                    let mut buffer = Buffer::with_room(bytes);
                    assert!(buffer.is_empty() && buffer.capacity() >= bytes);
                    buffer.extend_from_slice(b"left behind");
                    drop(buffer);
                    let kept = Kept::get();
                    assert!(kept.held <= MOST);
                    assert_eq!(kept.held, kept.buffers.iter().map(Vec::capacity).sum::<usize>());
                }
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
    }
}
