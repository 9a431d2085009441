use std::sync::Arc;

use super::*;
use crate::archive::fault::FaultKind::*;
use crate::archive::repair::{Outcome, Tools, repair};
use crate::archive::report::Report;
use crate::archive::scribe::{HOUR, archive_of, keys, start, stream};
use crate::archive::verify::{Options, verify};
use crate::model::shard::{ShardId, StreamIdentity};
use crate::ports::{Attributes, Body as PutBody, ObjectStore};
use crate::testing::{Shelf, Shelved};

fn archive(shelf: &Arc<Shelf>) -> Archive {
    let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
    Archive { store, keys: keys(), has_metadata: true }
}

fn options(selection: Selection, on_its_way: Duration) -> Options {
    Options { selection, at_once: 2, known: Vec::new(), on_its_way }
}

fn proved(shelf: &Arc<Shelf>, selection: Selection, on_its_way: Duration) -> Report {
    verify(&archive(shelf), &options(selection, on_its_way), |_| (), &|_| (), &Stop::new()).unwrap()
}

/// The faults of an archive whose ledgers are no longer fresh.
fn faults(shelf: &Arc<Shelf>, selection: Selection) -> Vec<(FaultKind, String, String)> {
    let report = proved(shelf, selection, HOUR);
    assert_eq!(report.is_good(), report.faults.is_empty());
    report.faults.into_iter().map(|fault| (fault.kind, fault.key, fault.reason)).collect()
}

fn start_key() -> String {
    keys().stream_start(stream().created)
}

fn one_shard(shard: &str) -> Selection {
    Selection { shard: Some(ShardId::new(shard)), ..Selection::default() }
}

fn alter(shelf: &Shelf, key: &str, from: &str, to: &str) {
    let mut objects = shelf.objects();
    let object: &mut Shelved = objects.get_mut(key).unwrap();
    let text = String::from_utf8(object.bytes.clone()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    object.bytes = text.replacen(from, to, 1).into_bytes();
}

#[test]
fn an_archive_without_a_ledger_is_not_whole_and_where_it_was_looked_for_is_told() {
    let empty = Arc::new(Shelf::new(start()));
    let found = faults(&empty, Selection::default());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].0, found[0].1.as_str()), (LedgerMissing, "raw/s/_ledger/"));
    assert!(found[0].2.contains("neither a ledger nor a stream's start is there"), "{found:?}");
    let mut text = Vec::new();
    proved(&empty, Selection::default(), HOUR).print(&mut text).unwrap();
    assert!(!String::from_utf8(text).unwrap().contains("whole"));
    // A bucket that was emptied of all but the start.
    let emptied = archive_of(8, 3);
    emptied.objects().retain(|key, _| *key == start_key());
    let report = proved(&emptied, Selection::default(), Duration::ZERO);
    let kinds: Vec<_> = report.faults.iter().map(|fault| (fault.kind, fault.key.clone())).collect();
    assert_eq!(kinds, [(LedgerMissing, start_key())]);
}

#[test]
fn a_shard_without_a_ledger_is_named_when_it_is_asked_for() {
    let shelf = archive_of(8, 3);
    assert_eq!(faults(&shelf, one_shard("shardId-000000000001")), []);
    let found = faults(&shelf, one_shard("shardId-000000000009"));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].0, found[0].1.as_str()), (LedgerMissing, "raw/s/_ledger/shardId-000000000009-"));
}

#[test]
fn a_stream_that_has_just_begun_is_told_as_that() {
    let shelf = archive_of(8, 3);
    shelf.objects().retain(|key, _| *key == start_key());
    let report = proved(&shelf, Selection::default(), HOUR);
    assert!(report.is_good());
    let mut text = Vec::new();
    report.print(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("the stream has begun, and nothing is archived yet: 0 ledgers"), "{text}");
    assert!(!proved(&shelf, one_shard("shardId-000000000000"), HOUR).is_good());
}

#[test]
fn a_start_that_is_missing_or_altered_is_named_and_nothing_else() {
    let of = |change: &dyn Fn(&Shelf), selection| {
        let shelf = archive_of(8, 3);
        change(&shelf);
        faults(&shelf, selection)
    };
    let all = Selection::default;
    let gone = of(&|shelf| drop(shelf.objects().remove(&start_key())), all());
    assert_eq!(gone.len(), 1);
    assert_eq!((gone[0].0, &gone[0].1), (StartMissing, &start_key()));
    let later = of(&|shelf| alter(shelf, &start_key(), "trim_horizon", "2026-11-22T05:00:00.000Z"), all());
    assert_eq!(later.len(), 1);
    assert_eq!((later[0].0, &later[0].1), (StartAltered, &start_key()));
    let told = "begins at 2026-11-22T05:00:00.000Z, and raw/s/_ledger/shardId-000000000000-1700000000/000000000000.json \
                copied trim_horizon";
    assert!(later[0].2.contains(told), "{later:?}");
    for (from, to) in [("\"arn\"", "\"nra\""), ("{", "{ "), ("begin", "egin")] {
        let altered = of(&|shelf| alter(shelf, &start_key(), from, to), all());
        assert_eq!((altered.len(), altered[0].0), (1, StartAltered), "{from}: {altered:?}");
    }
    // Without the first entries it cannot be held against them, and must be there all the same.
    let late = || Selection { from: Some(start() + HOUR * 4), ..all() };
    let gone = of(&|shelf| drop(shelf.objects().remove(&start_key())), late());
    assert_eq!((gone.len(), gone[0].0), (1, StartMissing));
    assert_eq!(of(&|_| (), late()), []);
    // A first entry that was altered itself vouches for nothing.
    let first = keys().entry(&ShardId::new("shardId-000000000000"), stream().created, 0);
    let altered = of(&|shelf| alter(shelf, &first, "trim_horizon", "2026-11-22T05:00:00.000Z"), all());
    assert_eq!(altered.iter().map(|fault| fault.0).collect::<Vec<_>>(), [EntryAltered]);
}

/// What a keeper held of a stream that was deleted gets its ledger when the successor has begun.
#[test]
fn the_ledger_of_a_deleted_stream_that_began_after_its_end_needs_no_start() {
    for (created, expected) in [
        (stream().created + HOUR, vec![]),
        // Minutes after the first entries: a slow clock may have written them when it was there.
        (start() + HOUR / 2, vec![]),
        (start() + HOUR * 2, vec![StartMissing]),
    ] {
        let shelf = with_successor(created);
        assert_eq!(faults(&shelf, Selection::default()), []);
        shelf.objects().remove(&start_key());
        let found: Vec<_> = faults(&shelf, Selection::default()).into_iter().map(|fault| fault.0).collect();
        assert_eq!(found, expected, "{created}");
    }
}

/// An archive whose stream was deleted, and made again then.
fn with_successor(created: Timestamp) -> Arc<Shelf> {
    let shelf = archive_of(8, 3);
    let successor = StreamIdentity { created, ..stream() };
    let bytes = to_bytes(&StreamStart {
        version: FORMAT_VERSION,
        stream: successor.name.clone(),
        stream_arn: successor.arn.clone(),
        stream_created: successor.created,
        begin: Begin::At(successor.created),
    });
    let attributes = Attributes { content_type: "application/json", ..Attributes::default() };
    let key = keys().stream_start(successor.created);
    shelf.put_if_absent(&key, PutBody::Bytes(&bytes), &attributes, &Stop::new()).unwrap();
    shelf
}

#[test]
fn a_start_comes_back_from_an_earlier_version() {
    for removed in [true, false] {
        let shelf = archive_of(8, 3);
        let good = shelf.objects()[&start_key()].clone();
        if removed {
            shelf.objects().remove(&start_key());
        } else {
            alter(&shelf, &start_key(), "trim_horizon", "2026-11-22T05:00:00.000Z");
        }
        shelf.versions().insert(start_key(), vec![Shelved::default(), good.clone()]);
        let options = options(Selection::default(), HOUR);
        let mut report = proved(&shelf, Selection::default(), HOUR);
        let tools = Tools { store: &*shelf, copies: None, stream: None, level: 6 };
        repair(&archive(&shelf), &options, &mut report, &tools, &Stop::new()).unwrap();
        let repairs = report.repairs.unwrap();
        assert!(repairs.iter().all(|repair| repair.outcome == Outcome::Mended), "{repairs:?}");
        assert_eq!(shelf.objects()[&start_key()].bytes, good.bytes);
        assert_eq!(faults(&shelf, Selection::default()), []);
    }
}
