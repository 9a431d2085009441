//! How far `put` is with its input.
//!
//! Owns the counts, the numbers of the sources' first items, and what is left after a stop: what came from a
//! pipe is kept, and of the rest only the place is, where it is to be read again.

use std::time::Duration;

use bytes::Bytes;

use crate::producer::Record;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// When it began.
    pub(super) begun: Duration,
    /// The number of the next item, over all sources.
    pub(super) next: u64,
    /// The number of each source's first item, as far as they were begun.
    pub(super) starts: Vec<u64>,
    /// Sources of which the last item was taken.
    pub(super) ended: usize,
    pub(super) empty: u64,
    pub(super) skipped: u64,
    /// After a stop: until when what was read from a pipe still goes at its pace.
    pub(super) last_call: Option<Duration>,
    /// Why the producer takes no more.
    pub(super) fatal: Option<String>,
    /// At the end: what was not put, and why not. It is buried when all of it is known.
    pub(super) left: Vec<(Record, String)>,
    /// The first item that was not put and is not kept either: its source can be read again.
    pub(super) again: Option<u64>,
    /// The last item, if its end was never read.
    pub(super) cut: Option<Bytes>,
    pub(super) ticked: Duration,
    pub(super) saved: Duration,
}

impl State {
    /// Nothing was read yet.
    pub(super) fn new(now: Duration) -> Self {
        Self { begun: now, ..Self::default() }
    }

    /// The source of an item.
    pub(super) fn source_of(&self, number: u64) -> usize {
        self.starts.partition_point(|start| *start <= number).saturating_sub(1)
    }

    /// Whether all items of so many sources were taken.
    pub(super) const fn is_through(&self, sources: usize) -> bool {
        self.ended == sources && self.again.is_none()
    }

    /// Where it is to go on: the source, and the line there.
    pub(super) fn goes_on_at(&self) -> (usize, u64) {
        let number = self.again.unwrap_or(self.next);
        let source = self.source_of(number);
        if self.again.is_none() && self.ended > source {
            return (self.ended, 1);
        }
        (source, self.line(number))
    }

    /// An item's line in its source.
    pub(super) fn line(&self, number: u64) -> u64 {
        number - self.starts.get(self.source_of(number)).copied().unwrap_or_default() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_at_the_first_item_that_can_be_read_again_or_where_reading_ended() {
        // Ten items of the first source, none of the second, and three of the third so far.
        let state = State { next: 13, starts: vec![0, 10, 10], ended: 2, ..State::default() };
        assert_eq!((state.source_of(9), state.source_of(10), state.line(12)), (0, 2, 3));
        assert_eq!(state.goes_on_at(), (2, 4));
        assert!(!state.is_through(3));
        let state = State { again: Some(7), ..state };
        assert_eq!(state.goes_on_at(), (0, 8));
        let silent = State { next: 10, starts: vec![0], ended: 1, ..State::default() };
        assert_eq!((silent.goes_on_at(), silent.is_through(2), silent.is_through(1)), ((1, 1), false, true));
        assert_eq!(State::default().goes_on_at(), (0, 1));
    }
}
