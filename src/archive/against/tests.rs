use std::sync::Arc;

use super::*;
use crate::archive::canned::Canned;
use crate::archive::fault::FaultKind::*;
use crate::archive::scribe::{HOUR, Scribe, archive_of, keys, number, start};
use crate::model::shard::ShardId;
use crate::ports::ObjectStore;
use crate::testing::Shelf;

const PARENT: &str = "shardId-000000000000";

fn held(shelf: &Arc<Shelf>, stream: &Canned, selection: &Selection) -> (Compared, Vec<Fault>) {
    let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
    let archive = Archive { store, keys: keys(), has_metadata: true };
    compare(&archive, selection, stream, 2, &Stop::new()).unwrap()
}

fn kinds(faults: &[Fault]) -> Vec<FaultKind> {
    faults.iter().map(|fault| fault.kind).collect()
}

/// The archive and its stream, of which the parent's records can be changed.
fn changed(change: impl FnOnce(&mut Vec<RawRecord>)) -> (Compared, Vec<Fault>) {
    let shelf = archive_of(8, 3);
    let mut stream = Canned::of(&shelf);
    change(stream.shards.get_mut(&ShardId::new(PARENT)).unwrap());
    held(&shelf, &stream, &Selection::default())
}

#[test]
fn what_was_archived_whole_is_the_same() {
    let (compared, faults) = changed(|_| ());
    assert_eq!(faults, []);
    assert_eq!(compared, Compared { records: 85 + 60, batches: 9 + 6, trimmed: 0, to_come: 0 });
}

#[test]
fn what_the_stream_has_trimmed_is_no_fault() {
    let (compared, faults) = changed(|records| drop(records.drain(..25)));
    assert_eq!(faults, []);
    assert_eq!((compared.batches, compared.trimmed), (6 + 6, 1));
}

#[test]
fn a_record_that_no_batch_has_is_named() {
    let new = |n: u64, like: &RawRecord| RawRecord { sequence_number: number(n), ..like.clone() };
    // Within the recorded gap.
    let (_, faults) = changed(|records| {
        let record = new(1000, &records[0]);
        records.insert(80, record);
    });
    assert_eq!(kinds(&faults), [RecordMissing]);
    assert!(faults[0].reason.contains("tells of a gap"), "{}", faults[0].reason);
    // Within a batch: its lines are others.
    let (_, faults) = changed(|records| records[33].data = "other".into());
    assert_eq!(kinds(&faults), [RecordsDiffer]);
    let (_, faults) = changed(|records| drop(records.remove(33)));
    assert_eq!(kinds(&faults), [RecordsDiffer]);
    // After the newest entry: to be archived yet.
    let (compared, faults) = changed(|records| {
        let record = new(5000, &records[0]);
        records.push(record);
    });
    assert_eq!((compared.to_come, kinds(&faults)), (1, vec![]));
}

#[test]
fn a_batch_of_which_the_stream_has_nothing_is_named() {
    let (_, faults) = changed(|records| drop(records.drain(30..40)));
    assert_eq!(kinds(&faults), [RecordsDiffer]);
    assert!(faults[0].reason.contains("holds none of them"), "{}", faults[0].reason);
}

#[test]
fn a_range_is_compared_without_the_rest() {
    let shelf = archive_of(150, 3);
    let stream = Canned::of(&shelf);
    let (from, to) = (start() + HOUR, start() + 2 * HOUR);
    let shard = Some(ShardId::new(PARENT));
    let (compared, faults) = held(&shelf, &stream, &Selection { from: Some(from), to: Some(to), shard });
    assert_eq!(faults, []);
    assert!((30..=90).contains(&compared.batches), "{compared:?}");
}

#[test]
fn a_range_after_all_batches_begins_where_they_end() {
    for lost in [false, true] {
        let shelf = archive_of(8, 3);
        let mut stream = Canned::of(&shelf);
        let child = ShardId::new("shardId-000000000001");
        if lost {
            // The newest batch is given up, and nobody knows where its records end: all of them may come.
            let mut scribe = Scribe::new(&shelf, "shardId-000000000003", &[], (0, 9));
            scribe.batch(3000, 10, start());
            scribe.batch(3010, 10, start());
            scribe.append(Body::Gap(GapBody {
                after: Some(number(3009)),
                resumes_at: None,
                why: GapCause::Lost,
                certain: false,
                from: start(),
                to: start(),
            }));
            stream = Canned::of(&shelf);
        }
        let shard = if lost { ShardId::new("shardId-000000000003") } else { child };
        let records = stream.shards.get_mut(&shard).unwrap();
        let new = |n: u64, like: &RawRecord| RawRecord { sequence_number: number(n), ..like.clone() };
        records.extend([5000, 5001].map(|n| new(n, &records[0].clone())));
        let from = Some(start() + 50 * HOUR);
        let selection = Selection { from, to: None, shard: Some(shard) };
        let (compared, faults) = held(&shelf, &stream, &selection);
        let to_come = if lost { 12 } else { 2 };
        assert_eq!((compared.to_come, compared.records, faults), (to_come, to_come, vec![]));
    }
}

#[test]
fn a_shard_without_a_ledger_is_named() {
    let shelf = archive_of(8, 3);
    let stream = Canned::of(&shelf);
    shelf.objects().retain(|key, _| !key.contains("shardId-000000000002"));
    let (_, faults) = held(&shelf, &stream, &Selection::default());
    assert_eq!(kinds(&faults), [RecordMissing]);
}

/// A stream that fails again and again ends the comparison; nothing is called right or wrong then.
#[test]
fn a_stream_that_cannot_be_read_is_an_error() {
    struct Deaf(Canned);
    impl Stream for Deaf {
        fn describe(
            &self,
            stop: &Stop,
        ) -> Result<crate::ports::Served<crate::model::shard::StreamDescription>, StreamError> {
            self.0.describe(stop)
        }
        fn list_shards(&self, stop: &Stop) -> Result<Vec<crate::model::shard::Shard>, StreamError> {
            self.0.list_shards(stop)
        }
        fn iterator(
            &self,
            shard: &ShardId,
            start: &IteratorStart,
            stop: &Stop,
        ) -> Result<crate::ports::Served<String>, StreamError> {
            self.0.iterator(shard, start, stop)
        }
        fn records(
            &self,
            _: &ShardId,
            _: &str,
            _: &Stop,
        ) -> Result<crate::ports::Served<crate::ports::Reply>, StreamError> {
            let kind = crate::ports::StreamErrorKind::AccessDenied;
            Err(StreamError { call: "GetRecords", kind, message: "denied".into() })
        }
    }
    let shelf = archive_of(8, 3);
    let store: Arc<dyn ObjectStore> = Arc::clone(&shelf) as Arc<dyn ObjectStore>;
    let archive = Archive { store, keys: keys(), has_metadata: true };
    let deaf = Deaf(Canned::of(&shelf));
    let error = compare(&archive, &Selection::default(), &deaf, 2, &Stop::new()).unwrap_err();
    assert!(error.to_string().contains("GetRecords failed: denied"), "{error}");
}
