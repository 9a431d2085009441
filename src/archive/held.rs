//! What the stream still holds of one shard, record by record, for comparing it and for repairing.
//!
//! Owns iterators, pacing and tries. Reading for the archive itself is `shard`'s: this here may give up.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::record::RawRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::ShardId;
use crate::ports::{IteratorStart, Stream, StreamError, StreamErrorKind};
use crate::retry::{Backoff, Pace};
use crate::stop::Stop;

/// Between two calls at least: a running keeper reads the same shard, which allows five a second.
const TURN: Duration = Duration::from_millis(400);

/// Half of what a shard gives out in a second; the other half is left to the keeper.
const BYTES_PER_SECOND: f64 = (1 << 20) as f64;

/// So many failures in a row end it.
const TRIES: u32 = 8;

/// A shard being read.
pub(super) struct Held<'a> {
    stream: &'a dyn Stream,
    shard: &'a ShardId,
    stop: &'a Stop,
    start: IteratorStart,
    iterator: Option<String>,
    last: Option<SequenceNumber>,
    waiting: VecDeque<RawRecord>,
    backoff: Backoff,
    random: fastrand::Rng,
    done: bool,
}

impl<'a> Held<'a> {
    /// From `start` on; from the oldest record where that is gone.
    pub(super) fn from(
        stream: &'a dyn Stream,
        shard: &'a ShardId,
        start: IteratorStart,
        stop: &'a Stop,
    ) -> Self {
        Self {
            stream,
            shard,
            stop,
            start,
            iterator: None,
            last: None,
            waiting: VecDeque::new(),
            backoff: Backoff::new(Pace::REMOTE),
            random: fastrand::Rng::with_seed(0),
            done: false,
        }
    }

    /// The next record; `None` once all that had come when it was asked for was given, or the shard
    /// is not there any more.
    pub(super) fn next(&mut self) -> Result<Option<RawRecord>, StreamError> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                self.last = Some(record.sequence_number.clone());
                return Ok(Some(record));
            }
            if self.done {
                return Ok(None);
            }
            if let Err(error) = self.ask() {
                self.failed(error)?;
            }
        }
    }

    fn ask(&mut self) -> Result<(), StreamError> {
        let Some(iterator) = self.iterator.take() else {
            let start = self.last.clone().map_or_else(|| self.start.clone(), IteratorStart::After);
            self.iterator = Some(self.stream.iterator(self.shard, &start, self.stop)?.value);
            return Ok(());
        };
        let reply = self.stream.records(self.shard, &iterator, self.stop)?.value;
        self.backoff.reset();
        self.done = reply.millis_behind_latest == 0 || reply.next_iterator.is_none();
        self.iterator = reply.next_iterator;
        let new = |record: &RawRecord| self.last.as_ref().is_none_or(|last| record.sequence_number > *last);
        self.waiting.extend(reply.records.into_iter().filter(new));
        if !self.done {
            let price = Duration::from_secs_f64(reply.bytes as f64 / BYTES_PER_SECOND);
            self.stop.wait(self.stop.seen(), TURN.max(price));
        }
        Ok(())
    }

    /// Waits before the next try, or gives up.
    fn failed(&mut self, error: StreamError) -> Result<(), StreamError> {
        match error.kind {
            StreamErrorKind::NotFound => self.done = true,
            StreamErrorKind::InvalidArgument if self.last.is_none() && self.start_is_a_place() => {
                self.start = IteratorStart::TrimHorizon;
            }
            StreamErrorKind::ExpiredIterator
            | StreamErrorKind::Throttled
            | StreamErrorKind::KmsThrottled
            | StreamErrorKind::NoAnswer
            | StreamErrorKind::Other
                if self.backoff.failures() < TRIES && self.stop.reason().is_none() =>
            {
                let wait = self.backoff.next(&mut self.random);
                self.stop.wait(self.stop.seen(), wait);
            }
            StreamErrorKind::ExpiredIterator
            | StreamErrorKind::Throttled
            | StreamErrorKind::KmsThrottled
            | StreamErrorKind::NoAnswer
            | StreamErrorKind::Other
            | StreamErrorKind::InvalidArgument
            | StreamErrorKind::PositionRefused
            | StreamErrorKind::Kms(_)
            | StreamErrorKind::AccessDenied
            | StreamErrorKind::Stopped => return Err(error),
        }
        Ok(())
    }

    fn start_is_a_place(&self) -> bool {
        matches!(self.start, IteratorStart::At(_) | IteratorStart::After(_))
    }
}
