//! A stream that holds what an archive holds, for tests of what compares and repairs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::scribe::{start, stream};
use crate::codec::{LineReader, parse_line};
use crate::model::record::RawRecord;
use crate::model::shard::{HashKeyRange, Shard, ShardId, StreamDescription, StreamStatus};
use crate::ports::{IteratorStart, Reply, Served, Stream, StreamError, StreamErrorKind};
use crate::stop::Stop;
use crate::testing::Shelf;

/// Records by shard; what is removed was trimmed.
pub(super) struct Canned {
    pub(super) shards: BTreeMap<ShardId, Vec<RawRecord>>,
}

impl Canned {
    /// All records of an archive.
    pub(super) fn of(shelf: &Shelf) -> Self {
        let mut shards: BTreeMap<ShardId, Vec<RawRecord>> = BTreeMap::new();
        for (key, object) in shelf.objects().iter().filter(|(key, _)| key.ends_with(".gz")) {
            let name = key.rsplit_once('/').unwrap().1;
            let shard = ShardId::new(name.rsplit_once('-').unwrap().0);
            let mut lines = LineReader::new(object.bytes.as_slice());
            while let Some(line) = lines.next_line().unwrap() {
                let record = parse_line(line.text).unwrap();
                let archived = record.as_archived();
                shards.entry(shard.clone()).or_default().push(RawRecord {
                    sequence_number: archived.sequence_number.clone(),
                    arrival: archived.arrival,
                    partition_key: archived.partition_key.map(|key| key.to_owned().into()),
                    data: archived.data.to_vec().into(),
                });
            }
        }
        for records in shards.values_mut() {
            records.sort_by(|one, other| one.sequence_number.cmp(&other.sequence_number));
        }
        Self { shards }
    }

    fn records_of(&self, shard: &ShardId, call: &'static str) -> Result<&[RawRecord], StreamError> {
        let gone = || StreamError { call, kind: StreamErrorKind::NotFound, message: String::new() };
        self.shards.get(shard).map(Vec::as_slice).ok_or_else(gone)
    }
}

impl Stream for Canned {
    fn describe(&self, _stop: &Stop) -> Result<Served<StreamDescription>, StreamError> {
        let value = StreamDescription {
            identity: stream(),
            status: StreamStatus::Active,
            retention: Duration::from_secs(86_400),
        };
        Ok(Served { at: start(), value })
    }

    fn list_shards(&self, _stop: &Stop) -> Result<Vec<Shard>, StreamError> {
        let shard = |id: &ShardId| Shard {
            id: id.clone(),
            parents: Vec::new(),
            range: HashKeyRange::WHOLE,
            closed: false,
        };
        Ok(self.shards.keys().map(shard).collect())
    }

    fn iterator(
        &self,
        shard: &ShardId,
        from: &IteratorStart,
        _stop: &Stop,
    ) -> Result<Served<String>, StreamError> {
        let records = self.records_of(shard, "GetShardIterator")?;
        let at = match from {
            IteratorStart::TrimHorizon | IteratorStart::AtTime(_) => 0,
            IteratorStart::At(number) => records.partition_point(|record| record.sequence_number < *number),
            IteratorStart::After(number) => {
                records.partition_point(|record| record.sequence_number <= *number)
            }
        };
        Ok(Served { at: start(), value: at.to_string() })
    }

    fn records(&self, shard: &ShardId, iterator: &str, _stop: &Stop) -> Result<Served<Reply>, StreamError> {
        let records = self.records_of(shard, "GetRecords")?;
        let at: usize = iterator.parse().unwrap();
        let value = Reply {
            records: records[at..].to_vec(),
            next_iterator: Some(records.len().to_string()),
            millis_behind_latest: 0,
            children: Vec::new(),
            bytes: 0,
            complete_to: start(),
            pushed: false,
        };
        Ok(Served { at: start(), value })
    }
}
