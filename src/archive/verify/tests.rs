use std::sync::Arc;

use super::*;
use crate::archive::fault::FaultKind::*;
use crate::archive::scribe::{HOUR, archive_of, good, keys, mixed, start, stream, with_gaps};
use crate::model::key::serial_of;
use crate::ports::ObjectStore;
use crate::testing::{Shelf, Shelved};

/// What the disk's checkpoints know: the newest entry of each ledger.
fn known(shelf: &Shelf) -> Vec<KnownEntry> {
    let mut known: BTreeMap<String, KnownEntry> = BTreeMap::new();
    for (key, object) in shelf.objects().iter().filter(|(key, _)| serial_of(key).is_some()) {
        let entry: crate::model::ledger::Entry = serde_json::from_slice(&object.bytes).unwrap();
        let folder = key.rsplit_once('/').unwrap().0.to_owned();
        known.insert(
            folder,
            KnownEntry {
                shard: entry.shard,
                created: entry.stream_created,
                serial: entry.serial,
                entry_sha256: crate::codec::hash::sha256_hex(&object.bytes),
                witness: "a checkpoint".into(),
            },
        );
    }
    known.into_values().collect()
}

fn prove(shelf: &Arc<Shelf>, selection: Selection, known: Vec<KnownEntry>) -> Report {
    let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
    let archive = Archive { store, keys: keys(), has_metadata: true };
    let options = Options { selection, at_once: 4, known, on_its_way: HOUR };
    verify(&archive, &options, |_| (), &|_| (), &Stop::new()).unwrap()
}

/// The faults of the whole archive after a change.
fn faults(change: impl FnOnce(&Shelf)) -> Vec<(FaultKind, String)> {
    let shelf = good();
    let known = known(&shelf);
    change(&shelf);
    let report = prove(&shelf, Selection::default(), known);
    report.faults.into_iter().map(|fault| (fault.kind, fault.key)).collect()
}

fn data_key(shelf: &Shelf, index: usize) -> String {
    shelf.objects().keys().filter(|key| !key.contains("_ledger/")).nth(index).unwrap().clone()
}

fn entry_key(serial: u64) -> String {
    keys().entry(&ShardId::new("shardId-000000000000"), stream().created, serial)
}

#[test]
fn a_good_archive_has_no_faults_and_its_gap_is_told() {
    let shelf = good();
    let report = prove(&shelf, Selection::default(), known(&shelf));
    assert_eq!(report.faults, []);
    assert!(report.is_good());
    assert_eq!((report.total.objects, report.total.records), (191, 1500 + 5 + 400));
    assert_eq!(report.shards[0].recorded_gaps.len(), 1);
    assert!(report.shards[0].ended && !report.shards[1].ended);
    let mut text = Vec::new();
    report.print(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("the archive is whole: 3 ledgers"), "{text}");
    assert!(text.contains("gap: trimmed (certain) after 11499 until 11600"), "{text}");
}

#[test]
fn each_damage_of_an_object_is_named_and_nothing_else() {
    let named = |kind, key: &String| vec![(kind, key.clone())];
    let key = data_key(&good(), 40);
    let change = |shelf: &Shelf, change: &dyn Fn(&mut Shelved)| {
        change(shelf.objects().get_mut(&key).unwrap());
    };
    let flipped = faults(|shelf| change(shelf, &|object| object.bytes[100] ^= 4));
    assert_eq!(flipped, named(ObjectDamaged, &key));
    let cut = faults(|shelf| change(shelf, &|object| object.bytes.truncate(60)));
    assert_eq!(cut, named(ObjectDamaged, &key));
    let deleted = faults(|shelf| drop(shelf.objects().remove(&key)));
    assert_eq!(deleted, named(ObjectMissing, &key));
    let metadata = faults(|shelf| change(shelf, &|object| object.metadata[7].1 = "11".into()));
    assert_eq!(metadata, named(MetadataAltered, &key));
    let unknown = faults(|shelf| change(shelf, &|object| drop(object.metadata.pop())));
    assert_eq!(unknown, [], "a level is told where it is known");
    let copy = format!("{}-copy.ndjson.gz", key.trim_end_matches(".ndjson.gz"));
    let doubled = faults(|shelf| {
        let object = shelf.objects()[&key].clone();
        shelf.objects().insert(copy.clone(), object);
    });
    assert_eq!(doubled, named(ObjectUnknown, &copy));
    let other = data_key(&good(), 41);
    let swapped = faults(|shelf| {
        let mut objects = shelf.objects();
        let (one, two) = (objects[&key].clone(), objects[&other].clone());
        objects.insert(key.clone(), two);
        objects.insert(other.clone(), one);
    });
    assert_eq!(swapped, vec![(ObjectDamaged, key.clone()), (ObjectDamaged, other)]);
}

#[test]
fn each_damage_of_a_ledger_is_named_and_nothing_else() {
    let named = |kind, key: String| vec![(kind, key)];
    let removed = faults(|shelf| drop(shelf.objects().remove(&entry_key(17))));
    assert_eq!(removed, named(EntryMissing, entry_key(17)));
    let altered = faults(|shelf| {
        let mut objects = shelf.objects();
        let object = objects.get_mut(&entry_key(17)).unwrap();
        let text = String::from_utf8(object.bytes.clone()).unwrap();
        object.bytes = text.replace("\"records\":10", "\"records\":11").into_bytes();
    });
    assert_eq!(altered, named(EntryAltered, entry_key(17)));
    let unreadable = faults(|shelf| shelf.objects().get_mut(&entry_key(17)).unwrap().bytes.truncate(9));
    assert_eq!(unreadable, named(EntryUnreadable, entry_key(17)));
    let cut = faults(|shelf| drop(shelf.objects().remove(&entry_key(153))));
    assert_eq!(cut, named(LedgerCut, entry_key(153)));
    let added = faults(|shelf| {
        let object = shelf.objects()[&entry_key(17)].clone();
        shelf.objects().insert(entry_key(154), object);
    });
    assert_eq!(added, named(EntryUnreadable, entry_key(154)));
    let child_gone = faults(|shelf| {
        shelf.objects().retain(|key, _| !key.contains("shardId-000000000002-"));
    });
    assert!(child_gone.iter().any(|(kind, _)| *kind == LineageBroken), "{child_gone:?}");
}

/// An altered entry at the end of a stretch, whose witness is the first entry of the next.
#[test]
fn an_entry_altered_where_two_stretches_meet_is_named_once() {
    for serial in [STRETCH as u64 - 1, STRETCH as u64] {
        let altered = faults(|shelf| {
            let mut objects = shelf.objects();
            let object = objects.get_mut(&entry_key(serial)).unwrap();
            let text = String::from_utf8(object.bytes.clone()).unwrap();
            object.bytes = text.replace("\"records\":10", "\"records\":11").into_bytes();
        });
        assert_eq!(altered, [(EntryAltered, entry_key(serial))]);
    }
}

/// Stopped after so many entries, the report says so, and calls nothing a fault that it did not look at.
#[test]
fn an_interrupted_run_reports_no_faults_of_what_it_did_not_look_at() {
    let shelf = good();
    let known = known(&shelf);
    let store: Arc<dyn ObjectStore> = Arc::clone(&shelf) as Arc<dyn ObjectStore>;
    let archive = Archive { store, keys: keys(), has_metadata: true };
    for entries in [1, 30, 63, 64, 65, 150] {
        let stop = Stop::new();
        let walked = std::sync::atomic::AtomicU64::new(0);
        let progress = |more: &Tally| {
            let before = walked.fetch_add(more.entries, std::sync::atomic::Ordering::Relaxed);
            if before + more.entries >= entries {
                stop.stop(crate::stop::StopReason::Requested);
            }
        };
        let options =
            Options { selection: Selection::default(), at_once: 4, known: known.clone(), on_its_way: HOUR };
        let report = verify(&archive, &options, |_| (), &progress, &stop).unwrap();
        assert_eq!((report.interrupted, report.faults), (true, vec![]), "after {entries}");
    }
}

#[test]
fn a_range_is_proved_without_the_rest() {
    let shelf = good();
    let mut objects = shelf.objects();
    let late = objects.keys().filter(|key| key.contains("hour=09/")).nth(3).unwrap().clone();
    objects.remove(&late);
    drop(objects);
    let of = |from: u32, to: u32| Selection {
        from: Some(start() + HOUR * from),
        to: Some(start() + HOUR * to),
        shard: None,
    };
    let early = prove(&shelf, of(0, 1), vec![]);
    assert_eq!(early.faults, []);
    assert!((60..=90).contains(&early.total.objects), "{:?}", early.total);
    let faults = prove(&shelf, of(4, 5), vec![]).faults;
    assert_eq!(faults.len(), 1);
    assert_eq!((faults[0].kind, &faults[0].key), (ObjectMissing, &late));
    let child = Selection { shard: Some(ShardId::new("shardId-000000000001")), ..Selection::default() };
    let report = prove(&shelf, child, vec![]);
    assert_eq!((report.faults.len(), report.total.objects), (0, 20));
}

#[test]
fn gaps_of_a_range_are_told_also_where_no_batch_is() {
    let shelf = with_gaps();
    for (from, to, gaps) in [(2, 3, 1), (2, 4, 1), (8, 9, 1), (10, 11, 0), (3, 9, 2)] {
        let selection =
            Selection { from: Some(start() + HOUR * from), to: Some(start() + HOUR * to), shard: None };
        let report = prove(&shelf, selection, vec![]);
        let told: usize = report.shards.iter().map(|shard| shard.recorded_gaps.len()).sum();
        assert_eq!((report.faults, report.total.gaps, told), (vec![], gaps, gaps as usize), "{from} to {to}");
    }
}

#[test]
fn objects_in_every_form_are_proved_with_their_side_objects() {
    let shelf = mixed(150, 20);
    let report = prove(&shelf, Selection::default(), known(&shelf));
    assert_eq!(report.faults, []);
    assert_eq!(report.total.records, 1500 + 5 + 400);
    let sides: Vec<String> =
        shelf.objects().keys().filter(|key| key.contains("/_shardId")).cloned().collect();
    assert!(sides.len() > 60, "{}", sides.len());
    assert_eq!(report.total.objects, 191 + sides.len() as u64);
    let copied = {
        let store: Arc<dyn ObjectStore> = Arc::clone(&shelf) as Arc<dyn ObjectStore>;
        let archive = Archive { store, keys: keys(), has_metadata: false };
        let selection = Selection::default();
        let options = Options { selection, at_once: 2, known: vec![], on_its_way: HOUR };
        verify(&archive, &options, |_| (), &|_| (), &Stop::new()).unwrap()
    };
    assert_eq!((copied.faults, copied.total.records), (vec![], 1905), "without metadata");
    shelf.objects().remove(&sides[5]);
    let object = shelf.objects()[&sides[7]].clone();
    let stray = sides[7].replace("_shardId-000000000000-", "_shardId-000000000000-9");
    shelf.objects().insert(stray.clone(), object);
    let faults = prove(&shelf, Selection::default(), vec![]).faults;
    let found: Vec<_> = faults.into_iter().map(|fault| (fault.kind, fault.key)).collect();
    let mut expected = vec![(ObjectMissing, sides[5].clone()), (ObjectUnknown, stray)];
    expected.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(found, expected);
}

/// Whatever single thing is changed, it is found, and where it is.
#[test]
fn a_thousand_random_damages_are_all_found() {
    damages_are_found(&archive_of(8, 3), 0..1000);
}

#[test]
fn random_damages_of_objects_in_every_form_are_all_found() {
    damages_are_found(&mixed(8, 3), 1000..1600);
}

fn damages_are_found(pristine: &Arc<Shelf>, seeds: std::ops::Range<u64>) {
    let known = known(pristine);
    let keys: Vec<String> = pristine.objects().keys().cloned().collect();
    for seed in seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        let shelf = Arc::new((**pristine).clone());
        let key = keys[random.usize(0..keys.len())].clone();
        let what = damage(&shelf, &key, &mut random);
        let report = prove(&shelf, Selection::default(), known.clone());
        let named = report.faults.iter().any(|fault| fault.key == key || fault.reason.contains(&key));
        let neighbour = report.faults.iter().any(|fault| fault.kind == EntryAltered);
        assert!(named || neighbour, "seed {seed}: {what} of {key} was not found: {:?}", report.faults);
    }
}

fn damage(shelf: &Shelf, key: &str, random: &mut fastrand::Rng) -> &'static str {
    let mut objects = shelf.objects();
    let Some(object) = objects.get_mut(key) else { return "nothing" };
    match random.u8(0..5) {
        0 => {
            let at = random.usize(0..object.bytes.len());
            object.bytes[at] ^= 1 << random.u8(0..8);
            "a flipped bit"
        }
        1 => {
            let len = random.usize(0..object.bytes.len());
            object.bytes.truncate(len);
            "a cut"
        }
        2 if !object.metadata.is_empty() => {
            let at = random.usize(0..object.metadata.len() - 1);
            object.metadata[at].1.push('0');
            // The last one is its level, of which nothing else is known.
            "changed metadata"
        }
        3 => {
            object.bytes.extend_from_slice(b"\n");
            "a byte more"
        }
        _ => {
            objects.remove(key);
            "a deletion"
        }
    }
}
