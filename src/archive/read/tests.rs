use std::io;
use std::sync::Arc;

use super::*;
use crate::archive::scribe::{HOUR, Scribe, archive_of, good, keys, mixed, start, stream, with_gaps};
use crate::codec::{parse_data, parse_line};
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::ObjectStore;
use crate::testing::Shelf;

#[derive(Default)]
struct Kept {
    lines: Vec<u8>,
    remarks: Vec<Remark>,
    /// Take no more than this.
    most: Option<usize>,
}

impl Taker for Kept {
    fn lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.lines.extend_from_slice(lines);
        if self.most.is_some_and(|most| self.lines.len() > most) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    fn remark(&mut self, remark: Remark) {
        self.remarks.push(remark);
    }
}

fn archive(shelf: &Arc<Shelf>) -> Archive {
    let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
    Archive { store, keys: keys(), has_metadata: true }
}

fn read(shelf: &Arc<Shelf>, query: &Query) -> (Vec<(u64, Timestamp)>, Vec<Remark>) {
    let mut kept = Kept::default();
    archive(shelf).read(query, &mut kept, &Stop::new()).unwrap();
    let lines = kept.lines.split_inclusive(|byte| *byte == b'\n');
    let records = lines.map(|line| {
        let record = parse_line(line).unwrap();
        (record.sequence_number.as_str().parse::<u64>().unwrap() - 10_000, record.arrival)
    });
    (records.collect(), kept.remarks)
}

/// Why reading ends early, and how many records come before.
fn failure(shelf: &Arc<Shelf>, query: &Query) -> (String, usize) {
    let mut kept = Kept::default();
    let failure = archive(shelf).read(query, &mut kept, &Stop::new()).unwrap_err();
    (failure.to_string(), kept.lines.split_inclusive(|byte| *byte == b'\n').count())
}

fn entry_key(serial: u64) -> String {
    keys().entry(&ShardId::new("shardId-000000000000"), stream().created, serial)
}

fn numbers(shelf: &Arc<Shelf>, query: &Query) -> Vec<u64> {
    read(shelf, query).0.into_iter().map(|(number, _)| number).collect()
}

#[test]
fn all_records_come_in_order_parents_before_children_and_gaps_are_told() {
    let shelf = good();
    for at_once in [1, 7] {
        let (records, remarks) = read(&shelf, &Query { at_once, ..Query::default() });
        let found: Vec<u64> = records.into_iter().map(|(number, _)| number).collect();
        let child = || 2000..2200;
        let expected: Vec<u64> = (0..1500).chain(1600..1605).chain(child()).chain(child()).collect();
        assert_eq!(found, expected);
        assert_eq!(remarks.len(), 1);
    }
}

#[test]
fn payload_objects_give_their_payloads_in_order_with_those_of_the_side_object() {
    let shelf = mixed(150, 20);
    for merged in [false, true] {
        let mut kept = Kept::default();
        archive(&shelf).read(&Query { merged, ..Query::default() }, &mut kept, &Stop::new()).unwrap();
        let lines: Vec<&[u8]> = kept.lines.split_inclusive(|byte| *byte == b'\n').collect();
        let events = lines.iter().map(|line| {
            let data = parse_data(line).unwrap();
            assert_eq!(data.ends_with(b"\n"), data.starts_with(b"{\"event\":3,") || event(&data) % 7 == 3);
            event(&data)
        });
        let events: Vec<u64> = events.collect();
        assert_eq!(events.len(), 1905);
        assert_eq!(events[..1505], (0..1500).chain(1600..1605).collect::<Vec<_>>());
        let known = lines.iter().filter(|line| parse_line(line).is_ok()).count();
        assert!((900..1300).contains(&known), "{known} lines of envelopes and side objects");
        assert_eq!(kept.remarks.len(), 1, "the gap");
    }
}

fn event(data: &[u8]) -> u64 {
    serde_json::from_slice::<serde_json::Value>(data).unwrap()["event"].as_u64().unwrap()
}

#[test]
fn a_payload_object_has_no_keys_and_no_times() {
    let shelf = mixed(4, 0);
    let wanted = Wanted { partition_key: Some("key".into()), ..Wanted::default() };
    let query = Query { wanted, ..Query::default() };
    let failure = archive(&shelf).read(&query, &mut Kept::default(), &Stop::new()).unwrap_err();
    assert!(matches!(failure, ReadFailure::NoKeys { .. }), "{failure}");
    assert!(failure.to_string().contains("payloads alone"), "{failure}");
    // The batch from 10 on arrived from a millisecond after the other on; the middle of it is asked for.
    let middle = start() + HOUR + std::time::Duration::from_millis(15);
    let selection = Selection { from: Some(middle), to: Some(middle + HOUR / 2), shard: None };
    let mut kept = Kept::default();
    archive(&shelf).read(&Query { selection, ..Query::default() }, &mut kept, &Stop::new()).unwrap();
    let records = kept.lines.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(records, 9, "the lines, and what of the side object arrived since");
    assert!(matches!(&kept.remarks[..], [Remark::Untimed { records: 8, .. }]), "{:?}", kept.remarks);
}

#[test]
fn a_range_a_shard_and_a_key_select() {
    let shelf = good();
    let (from, to) = (start() + HOUR, start() + 2 * HOUR);
    let selection = Selection { from: Some(from), to: Some(to), shard: None };
    let found = numbers(&shelf, &Query { selection, at_once: 3, ..Query::default() });
    // Each record arrived as many milliseconds into its batch's hour as its number says.
    assert_eq!(found, (300..600).collect::<Vec<_>>());
    let shard = Some(ShardId::new("shardId-000000000002"));
    let selection = Selection { shard, ..Selection::default() };
    assert_eq!(numbers(&shelf, &Query { selection, ..Query::default() }).len(), 200);
    let wanted = |key: &str| Wanted { partition_key: Some(key.into()), ..Wanted::default() };
    assert!(numbers(&shelf, &Query { wanted: wanted("other"), ..Query::default() }).is_empty());
    assert_eq!(numbers(&shelf, &Query { wanted: wanted("key"), ..Query::default() }).len(), 1905);
}

#[test]
fn merged_records_come_by_arrival_and_children_after_their_parents() {
    let shelf = good();
    let (records, _) = read(&shelf, &Query { merged: true, ..Query::default() });
    assert_eq!(records.len(), 1905);
    let first_child = records.iter().position(|(number, _)| *number >= 2000).unwrap();
    assert!(records[..first_child].iter().all(|(number, _)| *number < 1700));
    let children: Vec<Timestamp> = records[first_child..].iter().map(|(_, arrival)| *arrival).collect();
    assert!(children.is_sorted());
}

#[test]
fn a_damaged_object_ends_reading_with_its_name_and_a_closed_pipe_ends_it_at_once() {
    let shelf = archive_of(8, 3);
    let key = shelf.objects().keys().find(|key| key.contains("hour=06/")).unwrap().clone();
    shelf.objects().get_mut(&key).unwrap().bytes[90] ^= 1;
    let failure = archive(&shelf).read(&Query::default(), &mut Kept::default(), &Stop::new()).unwrap_err();
    assert!(failure.to_string().contains(&key), "{failure}");
    let mut little = Kept { most: Some(1), ..Kept::default() };
    for merged in [false, true] {
        let query = Query { merged, at_once: 4, ..Query::default() };
        let failure = archive(&archive_of(8, 3)).read(&query, &mut little, &Stop::new()).unwrap_err();
        assert!(matches!(failure, ReadFailure::Taker(_)), "{failure}");
    }
}

#[test]
fn an_aggregate_with_a_part_outside_its_shard_is_passed_over_unless_all_is_wanted() {
    let shelf = Arc::new(Shelf::new(start() + HOUR));
    let mut scribe = Scribe::new(&shelf, "shardId-000000000000", &[], (0, u128::MAX));
    scribe.aggregates(&[(1, &[false, false]), (2, &[false, true, false]), (3, &[false])]);
    assert_eq!(numbers(&shelf, &Query::default()), [1, 1, 3]);
    let wanted = Wanted { all: true, ..Wanted::default() };
    assert_eq!(numbers(&shelf, &Query { wanted, ..Query::default() }), [1, 1, 2, 2, 2, 3]);
}

#[test]
fn merged_lines_say_where_they_lie_and_entries_can_be_left_out() {
    /// Keeps where each line lies.
    #[derive(Default)]
    struct Places(Vec<(String, u64, u64, u64)>);
    impl Taker for Places {
        fn lines(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn line(&mut self, at: &LineAt<'_>, line: &[u8]) -> io::Result<()> {
            let number = parse_line(line).unwrap().sequence_number.as_str().parse::<u64>().unwrap() - 10_000;
            self.0.push((at.shard.as_str().to_owned(), at.serial, at.line, number));
            Ok(())
        }

        fn remark(&mut self, _: Remark) {}
    }
    let archive = archive(&good());
    let (extents, arn) = archive.extents(&Selection::default(), &Stop::new()).unwrap();
    assert_eq!((extents.len(), arn.as_deref()), (3, Some("arn")));
    let places = |query: Query| {
        let mut places = Places::default();
        archive.read(&Query { merged: true, ..query }, &mut places, &Stop::new()).unwrap();
        places.0
    };
    let all = places(Query::default());
    assert_eq!(all.len(), 1905);
    // In an object lines are counted whether they are wanted or not, and each has a place of its own.
    let from = Some(start() + HOUR + std::time::Duration::from_millis(310));
    let some = places(Query { selection: Selection { from, ..Selection::default() }, ..Query::default() });
    assert!(!some.is_empty() && some.len() < all.len() && some.iter().all(|place| all.contains(place)));
    let own: std::collections::BTreeSet<_> =
        all.iter().map(|(shard, serial, line, _)| (shard, serial, line)).collect();
    assert_eq!(own.len(), all.len());
    let extent = &extents[0];
    let only = Entries::from([((extent.created, extent.shard.clone()), vec![0..=1, 3..=extent.newest])]);
    let left = places(Query { only: Some(only), ..Query::default() });
    let mut expected = all;
    expected.retain(|(shard, serial, ..)| shard == extent.shard.as_str() && *serial != 2);
    assert_eq!(left, expected);
}

#[test]
fn a_missing_entry_ends_reading_with_its_key() {
    for (serial, before) in [(0, 0), (17, 160), (152, 1500)] {
        let shelf = good();
        shelf.objects().remove(&entry_key(serial));
        for (merged, at_once) in [(false, 1), (false, 7), (true, 1)] {
            let (told, records) = failure(&shelf, &Query { merged, at_once, ..Query::default() });
            assert!(told.starts_with(&entry_key(serial)) && told.contains("is missing"), "{told}");
            assert!(told.contains("`verify --repair`"), "what to do: {told}");
            assert_eq!(records, before);
        }
    }
    // Nothing tells to which of its neighbours' hours it belongs; the others are read.
    let shelf = good();
    shelf.objects().remove(&entry_key(31));
    let hours = |from: u32, to: u32| {
        let selection =
            Selection { from: Some(start() + HOUR * from), to: Some(start() + HOUR * to), shard: None };
        Query { selection, ..Query::default() }
    };
    assert!(failure(&shelf, &hours(0, 1)).0.starts_with(&entry_key(31)));
    assert!(failure(&shelf, &hours(1, 2)).0.starts_with(&entry_key(31)));
    assert_eq!(numbers(&shelf, &hours(3, 4)).len(), 300);
    // Who goes on behind it has not had it.
    let extents = archive(&shelf).extents(&Selection::default(), &Stop::new()).unwrap().0;
    let only = |from: u64| {
        let ledger = (extents[0].created, extents[0].shard.clone());
        let only = Some(Entries::from([(ledger, vec![from..=extents[0].newest])]));
        Query { merged: true, only, ..Query::default() }
    };
    assert!(failure(&shelf, &only(31)).0.starts_with(&entry_key(31)));
    assert_eq!(numbers(&shelf, &only(33)).len(), 1500 - 320 + 5);
}

#[test]
fn an_altered_entry_ends_reading_with_its_key() {
    let shelf = good();
    {
        let mut objects = shelf.objects();
        let object = objects.get_mut(&entry_key(17)).unwrap();
        let text = String::from_utf8(object.bytes.clone()).unwrap();
        object.bytes = text.replace("\"host\":\"host", "\"host\":\"other").into_bytes();
    }
    for merged in [false, true] {
        let (told, _) = failure(&shelf, &Query { merged, at_once: 3, ..Query::default() });
        assert!(told.starts_with(&entry_key(17)) && told.contains("was altered"), "{told}");
    }
}

#[test]
fn where_no_ledger_is_there_is_no_archive() {
    let shelf = good();
    let shard = Some(ShardId::new("shardId-000000000009"));
    let query = Query { selection: Selection { shard, ..Selection::default() }, ..Query::default() };
    let none = |shelf: &Arc<Shelf>, query: &Query| {
        archive(shelf).read(query, &mut Kept::default(), &Stop::new()).unwrap_err()
    };
    assert!(matches!(none(&shelf, &query), ReadFailure::NoArchive));
    shelf.objects().retain(|key, _| !key.contains("_ledger/"));
    assert!(matches!(none(&shelf, &Query::default()), ReadFailure::NoArchive));
}

#[test]
fn gaps_of_the_range_are_told_also_where_no_record_is() {
    let shelf = with_gaps();
    for (from, to, records, gaps) in [
        (0, 1, 10, 0),
        (1, 2, 10, 1),
        (2, 3, 0, 1),
        (3, 5, 0, 1),
        (6, 7, 10, 1),
        (8, 9, 0, 1),
        (10, 11, 0, 0),
        (0, 20, 30, 2),
    ] {
        let selection =
            Selection { from: Some(start() + HOUR * from), to: Some(start() + HOUR * to), shard: None };
        for merged in [false, true] {
            let query = Query { selection: selection.clone(), merged, ..Query::default() };
            let (found, remarks) = read(&shelf, &query);
            assert_eq!((found.len(), remarks.len()), (records, gaps), "{from} to {to}: {remarks:?}");
            assert!(remarks.iter().all(|remark| matches!(remark, Remark::Gap { .. })));
        }
    }
}

#[test]
fn an_object_on_its_way_is_told_and_one_that_never_came_is_an_error() {
    let shelf = good();
    let newest = Scribe::new(&shelf, "shardId-000000000003", &[], (0, 9)).batch(3000, 7, start());
    let object = shelf.objects().remove(&newest).unwrap();
    for merged in [false, true] {
        // Its entry was written a hundred hours ago.
        let query = Query { merged, on_its_way: 101 * HOUR, ..Query::default() };
        let (records, remarks) = read(&shelf, &query);
        assert_eq!((records.len(), remarks.len()), (1905, 2));
        let on_its_way = |remark: &Remark| matches!(remark, Remark::OnItsWay { serial: 1, records: 7, .. });
        assert!(remarks.iter().any(on_its_way), "{remarks:?}");
        let (told, _) = failure(&shelf, &Query { on_its_way: 99 * HOUR, ..query });
        assert!(told.starts_with(&newest) && told.contains("the object of entry 1 is missing"), "{told}");
    }
    shelf.objects().insert(newest, object);
    assert_eq!(numbers(&shelf, &Query::default()).len(), 1912);
}
