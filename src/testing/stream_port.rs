//! One keeper's view of a [`MemoryStream`]: iterators, replies, and faults.

use std::sync::Arc;
use std::time::Duration;

use super::stream::{MemoryStream, ShardHistory};
use super::trouble::Trouble;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::{Shard, ShardId, StreamDescription};
use crate::model::timestamp::Timestamp;
use crate::ports::{
    IteratorStart, KmsTrouble, Received, Reply, Served, Stream, StreamError, StreamErrorKind,
};
use crate::stop::Stop;

/// After this long AWS refuses an iterator.
const ITERATOR_LIFE: Duration = Duration::from_secs(300);

/// A keeper's [`Stream`].
#[derive(Debug)]
pub struct StreamOf {
    stream: Arc<MemoryStream>,
    trouble: Arc<Trouble>,
}

impl StreamOf {
    /// The stream as the keeper of this trouble sees it.
    pub fn new(stream: Arc<MemoryStream>, trouble: Arc<Trouble>) -> Arc<Self> {
        Arc::new(Self { stream, trouble })
    }

    fn faulty(&self, call: &'static str) -> Result<(), StreamError> {
        if self.trouble.faults().stream_down {
            return Err(failed(call, StreamErrorKind::NoAnswer));
        }
        if self.trouble.happens(|faults| faults.throttled) {
            let kms = self.trouble.draw(|random| random.u8(0..8) == 0);
            let kind = if kms { StreamErrorKind::KmsThrottled } else { StreamErrorKind::Throttled };
            return Err(failed(call, kind));
        }
        if self.trouble.happens(|faults| faults.stream_error) {
            let kinds = [
                StreamErrorKind::NoAnswer,
                StreamErrorKind::Other,
                StreamErrorKind::AccessDenied,
                StreamErrorKind::Kms(KmsTrouble::Disabled),
                StreamErrorKind::ExpiredIterator,
            ];
            // Only a read can tell of an expired iterator.
            let choice = if call == "GetRecords" { kinds.len() } else { kinds.len() - 1 };
            let kind = self.trouble.draw(|random| kinds[random.usize(0..choice)]);
            return Err(failed(call, kind));
        }
        Ok(())
    }

    fn served<T>(&self, value: T) -> Served<T> {
        Served { at: self.trouble.world.date(), value }
    }

    /// Runs `look` on the shard, which must be listed still.
    fn with_shard<T>(
        &self,
        call: &'static str,
        shard: &ShardId,
        look: impl FnOnce(&ShardHistory) -> Result<T, StreamError>,
    ) -> Result<T, StreamError> {
        let state = self.stream.state();
        let log = state.shards.get(shard).filter(|log| self.stream.is_listed(log));
        log.map_or_else(|| Err(failed(call, StreamErrorKind::NotFound)), look)
    }

    /// A sequence number tells which stream it came from, whatever that one was called.
    fn must_be_of_this_stream(&self, start: &IteratorStart) -> Result<(), StreamError> {
        let (IteratorStart::At(number) | IteratorStart::After(number)) = start else { return Ok(()) };
        if self.stream.state().earlier.as_ref().is_some_and(|earlier| number <= earlier) {
            return Err(failed("GetShardIterator", StreamErrorKind::InvalidArgument));
        }
        Ok(())
    }

    fn index_of(&self, log: &ShardHistory, start: &IteratorStart) -> Result<usize, StreamError> {
        let horizon = self.stream.horizon(log);
        let index = match start {
            IteratorStart::TrimHorizon => horizon,
            IteratorStart::AtTime(from) => {
                if *from > self.trouble.world.now() {
                    return Err(failed("GetShardIterator", StreamErrorKind::InvalidArgument));
                }
                let late = log.records.iter().skip(horizon).position(|logged| logged.record.arrival >= *from);
                late.map_or(log.records.len(), |later| horizon + later)
            }
            IteratorStart::At(number) => self.named(log, number, horizon)?,
            IteratorStart::After(number) => {
                let at = self.named(log, number, horizon)?;
                let there =
                    log.records.get(at).is_some_and(|logged| &logged.record.sequence_number == number);
                if there { at + 1 } else { at }
            }
        };
        Ok(index.max(horizon))
    }

    /// The first record at or after `number`; that one trimmed is refused or passed over in silence.
    fn named(
        &self,
        log: &ShardHistory,
        number: &SequenceNumber,
        horizon: usize,
    ) -> Result<usize, StreamError> {
        let index = log.records.partition_point(|logged| &logged.record.sequence_number < number);
        if index < horizon && !self.stream.setup.silent_trim {
            return Err(failed("GetShardIterator", StreamErrorKind::InvalidArgument));
        }
        Ok(index)
    }

    fn reply(&self, log: &ShardHistory, index: usize) -> Reply {
        let from = index.max(self.stream.horizon(log));
        let left = log.records.len() - from;
        let empty = self.trouble.happens(|faults| faults.empty_reply);
        let most = self.trouble.draw(|random| random.usize(1..=self.stream.setup.reply_limit.max(1)));
        let count = if empty { 0 } else { left.min(most) };
        let to = from + count;
        let records: Vec<_> = log.records[from..to].iter().map(|logged| logged.record.clone()).collect();
        let behind = log.records.get(to).map_or(0, |next| {
            // At least how long the next record waits; at most since the one before it was written.
            let least = self.trouble.world.now().since(next.written);
            let most = match to.checked_sub(1).map(|last| &log.records[last]) {
                Some(last) if count > 0 => self.trouble.world.now().since(last.written),
                _ => least,
            };
            let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            self.trouble.draw(|random| random.u64(millis(least)..=millis(most)))
        });
        let bytes = records.iter().map(|record| record.data.len() as u64).sum();
        let ended = log.shard.closed && to == log.records.len() && !empty;
        let next_iterator = if ended { None } else { Some(self.issue(log, to)) };
        let complete_to = self.trouble.world.date() - Duration::from_millis(behind);
        let (children, pushed) = (Vec::new(), false);
        Reply { records, next_iterator, millis_behind_latest: behind, children, bytes, complete_to, pushed }
    }

    /// `it/{creation}/{shard}/{index}/{issued}`; opaque to the keeper.
    fn issue(&self, log: &ShardHistory, index: usize) -> String {
        let issued = self.trouble.world.now().as_millis();
        format!("it/{}/{}/{index}/{issued}", log.created.as_seconds(), log.shard.id)
    }

    fn index_in(&self, log: &ShardHistory, iterator: &str) -> Result<usize, StreamError> {
        let refused = || failed("GetRecords", StreamErrorKind::InvalidArgument);
        let mut fields = iterator.split('/').skip(1);
        let mut field = || fields.next().ok_or_else(refused);
        let (created, shard, index, issued) = (field()?, field()?, field()?, field()?);
        let issued = Timestamp::from_millis(issued.parse().map_err(|_| refused())?);
        if self.trouble.world.now().since(issued) > ITERATOR_LIFE {
            return Err(failed("GetRecords", StreamErrorKind::ExpiredIterator));
        }
        if created != log.created.as_seconds().to_string() || shard != log.shard.id.as_str() {
            return Err(refused());
        }
        index.parse().map_err(|_| refused())
    }

    fn read(&self, shard: &ShardId, iterator: &str) -> Result<Served<Reply>, StreamError> {
        self.faulty("GetRecords")?;
        let mut reply = self.with_shard("GetRecords", shard, |log| {
            let index = self.index_in(log, iterator)?;
            Ok(self.reply(log, index))
        })?;
        if reply.next_iterator.is_none() && !self.trouble.happens(|faults| faults.childless_end) {
            reply.children = self.stream.state().children(shard);
        }
        Ok(self.served(reply))
    }

    fn note<T>(&self, call: &str, result: &Result<T, StreamError>, say: impl FnOnce(&T) -> String) {
        self.trouble.world.note(|| {
            let said = match result {
                Ok(value) => say(value),
                Err(error) => error.kind.as_str().to_owned(),
            };
            format!("{} stream {call}: {said}", self.trouble.identity())
        });
    }
}

impl Stream for StreamOf {
    fn describe(&self, _stop: &Stop) -> Result<Served<StreamDescription>, StreamError> {
        self.trouble.crash.around(|| {
            self.faulty("DescribeStreamSummary")?;
            let description = self.stream.description();
            let description =
                description.ok_or_else(|| failed("DescribeStreamSummary", StreamErrorKind::NotFound))?;
            Ok(self.served(description))
        })
    }

    fn list_shards(&self, _stop: &Stop) -> Result<Vec<Shard>, StreamError> {
        self.trouble.crash.around(|| {
            self.faulty("ListShards")?;
            Ok(self.stream.listing())
        })
    }

    fn iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
        _stop: &Stop,
    ) -> Result<Served<String>, StreamError> {
        self.trouble.crash.around(|| {
            let found = self.faulty("GetShardIterator").and_then(|()| {
                self.must_be_of_this_stream(start)?;
                self.with_shard("GetShardIterator", shard, |log| {
                    self.index_of(log, start).map(|index| self.issue(log, index))
                })
            });
            self.note("iterator", &found, |iterator| format!("{shard} {start:?} -> {iterator}"));
            found.map(|iterator| self.served(iterator))
        })
    }

    fn records(&self, shard: &ShardId, iterator: &str, _stop: &Stop) -> Result<Served<Reply>, StreamError> {
        self.trouble.crash.around(|| {
            let reply = self.read(shard, iterator);
            self.note("records", &reply, |reply| {
                let (value, numbers) = (&reply.value, reply.value.records.iter());
                let numbers: Vec<_> = numbers.map(|record| record.sequence_number.as_str()).collect();
                let (behind, end) = (value.millis_behind_latest, value.next_iterator.is_none());
                format!("{shard} {iterator} -> {numbers:?} behind {behind} ms, end {end}")
            });
            reply
        })
    }

    /// Where replies are pushed, there may be none yet.
    fn receive(&self, shard: &ShardId, iterator: &str, stop: &Stop) -> Result<Received, StreamError> {
        let pushes = self.trouble.faults().nothing_yet > 0.0;
        if self.trouble.happens(|faults| faults.nothing_yet) {
            return Ok(Received::NothingYet(Duration::from_millis(
                self.trouble.draw(|random| random.u64(0..5000)),
            )));
        }
        let mut reply = self.records(shard, iterator, stop)?;
        // Nothing pushes empty replies without end.
        reply.value.pushed = pushes && !reply.value.records.is_empty();
        Ok(Received::Reply(reply))
    }
}

fn failed(call: &'static str, kind: StreamErrorKind) -> StreamError {
    StreamError { call, kind, message: "simulated".into() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::testing::{StreamSetup, World};

    const HOUR: Duration = Duration::from_secs(3600);

    fn reader(silent_trim: bool) -> (Arc<World>, Arc<MemoryStream>, Arc<StreamOf>, ShardId) {
        let world = World::new(Timestamp::from_seconds(1_700_000_000));
        let setup =
            StreamSetup { retention: 2 * HOUR, silent_trim, reply_limit: 1, arrival_jitter: Duration::ZERO };
        let stream = MemoryStream::new(Arc::clone(&world), setup, 1, fastrand::Rng::with_seed(1));
        let trouble = Trouble::new(Arc::clone(&world), "a", fastrand::Rng::with_seed(2));
        let port = StreamOf::new(Arc::clone(&stream), trouble);
        let shard = stream.open_shards().remove(0);
        for data in ["one", "two", "three"] {
            stream.write(&shard, Some("key".into()), Bytes::from_static(data.as_bytes()));
            world.advance(HOUR);
        }
        (world, stream, port, shard)
    }

    fn numbers(stream: &MemoryStream) -> Vec<SequenceNumber> {
        stream.history()[0].records.iter().map(|logged| logged.record.sequence_number.clone()).collect()
    }

    #[test]
    fn it_reads_on_and_says_how_far_behind() {
        let (_, stream, port, shard) = reader(true);
        let stop = Stop::new();
        let all = numbers(&stream);
        let start = port.iterator(&shard, &IteratorStart::TrimHorizon, &stop).unwrap().value;
        let reply = port.records(&shard, &start, &stop).unwrap().value;
        // The first was written three hours ago and is trimmed.
        assert_eq!(reply.records[0].sequence_number, all[1]);
        assert!((3_600_000..=7_200_000).contains(&reply.millis_behind_latest));
        let reply = port.records(&shard, &reply.next_iterator.unwrap(), &stop).unwrap().value;
        assert_eq!((&reply.records[0].sequence_number, reply.millis_behind_latest), (&all[2], 0));
        assert!(port.records(&shard, &reply.next_iterator.unwrap(), &stop).unwrap().value.records.is_empty());
    }

    #[test]
    fn a_trimmed_number_is_refused_or_passed_over() {
        for silent in [true, false] {
            let (_, stream, port, shard) = reader(silent);
            let stop = Stop::new();
            let all = numbers(&stream);
            let at = port.iterator(&shard, &IteratorStart::At(all[0].clone()), &stop);
            if silent {
                let reply = port.records(&shard, &at.unwrap().value, &stop).unwrap().value;
                assert_eq!(reply.records[0].sequence_number, all[1]);
            } else {
                assert_eq!(at.unwrap_err().kind, StreamErrorKind::InvalidArgument);
            }
            let after = port.iterator(&shard, &IteratorStart::After(all[1].clone()), &stop).unwrap().value;
            let reply = port.records(&shard, &after, &stop).unwrap().value;
            assert_eq!(reply.records[0].sequence_number, all[2]);
        }
    }

    #[test]
    fn iterators_expire_and_die_with_the_stream() {
        let (world, stream, port, shard) = reader(true);
        let stop = Stop::new();
        let iterator = port.iterator(&shard, &IteratorStart::TrimHorizon, &stop).unwrap().value;
        stream.recreate(1);
        let refused = port.records(&shard, &iterator, &stop).unwrap_err();
        assert_eq!(refused.kind, StreamErrorKind::InvalidArgument);
        let iterator = port.iterator(&shard, &IteratorStart::TrimHorizon, &stop).unwrap().value;
        world.advance(ITERATOR_LIFE + Duration::from_millis(1));
        let expired = port.records(&shard, &iterator, &stop).unwrap_err();
        assert_eq!(expired.kind, StreamErrorKind::ExpiredIterator);
    }

    #[test]
    fn a_closed_shard_ends_with_children_and_expires_from_the_listing() {
        let (world, stream, port, shard) = reader(true);
        let stop = Stop::new();
        stream.split(&shard);
        let all = numbers(&stream);
        let last = port.iterator(&shard, &IteratorStart::At(all[2].clone()), &stop).unwrap().value;
        let reply = port.records(&shard, &last, &stop).unwrap().value;
        assert_eq!((reply.records.len(), reply.next_iterator, reply.children.len()), (1, None, 2));
        assert_eq!(port.list_shards(&stop).unwrap().len(), 3);
        world.advance(3 * HOUR);
        assert_eq!(port.list_shards(&stop).unwrap().len(), 2);
        let gone = port.iterator(&shard, &IteratorStart::TrimHorizon, &stop).unwrap_err();
        assert_eq!(gone.kind, StreamErrorKind::NotFound);
        let open = stream.open_shards();
        stream.merge(&open[0], &open[1]);
        assert_eq!(stream.open_shards().len(), 1);
    }
}
