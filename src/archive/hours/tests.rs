use std::sync::Arc;
use std::time::Duration;

use crate::archive::fault::FaultKind::{self, *};
use crate::archive::repair::{Outcome, Tools, repair};
use crate::archive::scribe::{HOUR, archive_of, but_levels, keys, start, stream};
use crate::archive::verify::{Options, verify};
use crate::archive::{Archive, Selection};
use crate::model::key::Layout;
use crate::model::shard::{HashKeyRange, Shard, ShardId};
use crate::ports::ObjectStore;
use crate::shard::board::Promise;
use crate::stop::Stop;
use crate::testing::{Shelf, Shelved, tell_hours};

/// An archive of five hours, a gap, and two children of a split; all hours told, the last two idle.
fn told() -> Arc<Shelf> {
    let shelf = archive_of(30, 4);
    tell(&shelf);
    shelf
}

fn tell(shelf: &Arc<Shelf>) {
    let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
    let shard = |name: &str| Shard {
        id: ShardId::new(name),
        parents: vec![],
        range: HashKeyRange::WHOLE,
        closed: false,
    };
    let promise = Promise { serial: 1, from: start().hour().plus(50) };
    let shards = ["shardId-000000000001", "shardId-000000000002"].map(|name| (shard(name), promise));
    tell_hours(&store, &keys(), &stream(), start() + HOUR * 9, &shards);
}

fn manifest(hour: i64) -> String {
    keys().hour(Layout::Hive, start().hour().plus(hour))
}

fn found(shelf: &Arc<Shelf>, selection: Selection) -> Vec<(FaultKind, String)> {
    let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
    let archive = Archive { store, keys: keys(), has_metadata: true };
    let options = Options { selection, at_once: 2, known: vec![], on_its_way: HOUR };
    let report = verify(&archive, &options, |_| (), &|_| (), &Stop::new()).unwrap();
    report.faults.into_iter().map(|fault| (fault.kind, fault.key)).collect()
}

fn faults(change: impl FnOnce(&Shelf)) -> Vec<(FaultKind, String)> {
    let shelf = told();
    change(&shelf);
    found(&shelf, Selection::default())
}

fn alter(shelf: &Shelf, key: &str, from: &str, to: &str) {
    let mut objects = shelf.objects();
    let object: &mut Shelved = objects.get_mut(key).unwrap();
    let text = String::from_utf8(object.bytes.clone()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    object.bytes = text.replacen(from, to, 1).into_bytes();
}

fn entry_key(shard: u8, serial: u64) -> String {
    keys().entry(&ShardId::new(format!("shardId-00000000000{shard}")), stream().created, serial)
}

#[test]
fn told_hours_are_right_and_telling_them_again_changes_nothing() {
    let shelf = told();
    let hours = |shelf: &Shelf| -> Vec<(String, Shelved)> {
        let objects = shelf.objects();
        let told =
            objects.iter().filter(|(key, _)| key.ends_with("_hour.json") || key.ends_with("hours.json"));
        told.map(|(key, object)| (key.clone(), object.clone())).collect()
    };
    let first = hours(&shelf);
    assert_eq!(first.len(), 10, "five hours with records, one without, one with, two idle; and the start");
    assert_eq!(found(&shelf, Selection::default()), []);
    // Another keeper, of another disk: there is nothing to be done.
    tell(&shelf);
    assert_eq!(hours(&shelf), first);
    // All of them lost: the same ledgers give the same bytes.
    shelf.objects().retain(|key, _| !key.ends_with("_hour.json"));
    tell(&shelf);
    assert_eq!(hours(&shelf), first);
}

#[test]
fn a_manifest_that_is_removed_altered_or_doubled_is_named_and_nothing_else() {
    let named = |kind, key: String| vec![(kind, key)];
    for hour in [0, 2, 5, 7] {
        let removed = faults(|shelf| drop(shelf.objects().remove(&manifest(hour))));
        assert_eq!(removed, named(HourMissing, manifest(hour)));
    }
    let start = faults(|shelf| drop(shelf.objects().remove(&keys().hours_start())));
    assert_eq!(start, named(HourMissing, keys().hours_start()));
    for hour in [0, 3, 8] {
        let altered = faults(|shelf| alter(shelf, &manifest(hour), "\"bucket\":\"b\"", "\"bucket\": \"b\""));
        assert_eq!(altered, named(HourAltered, manifest(hour)));
        let voids = faults(|shelf| alter(shelf, &manifest(hour), "\"voids\":0", "\"voids\":1"));
        assert_eq!(voids, named(HourAltered, manifest(hour)));
    }
    let records = faults(|shelf| alter(shelf, &manifest(2), "\"records\":10", "\"records\":11"));
    assert_eq!(records, named(HourAltered, manifest(2)));
    let copy = keys().hour(Layout::Firehose, super::super::scribe::start().hour().plus(2));
    let doubled = faults(|shelf| {
        let object = shelf.objects()[&manifest(2)].clone();
        shelf.objects().insert(copy.clone(), object);
    });
    assert_eq!(doubled, named(ObjectUnknown, copy));
}

#[test]
fn a_broken_chain_is_named_where_it_broke() {
    let link = |shelf: &Shelf, hour: i64| {
        let key = manifest(hour);
        let bytes = shelf.objects()[&key].bytes.clone();
        let text = String::from_utf8(bytes).unwrap();
        let at = text.find("\"previous\":{\"key\":").unwrap();
        let sha = text[at..].find("\"sha256\":\"").unwrap() + at + 10;
        text[sha..sha + 8].to_owned()
    };
    for hour in [1, 4, 8] {
        let broken = faults(|shelf| {
            let sha = link(shelf, hour);
            alter(shelf, &manifest(hour), &sha, "00000000");
        });
        assert_eq!(broken, vec![(HourAltered, manifest(hour))], "hour {hour}");
    }
}

#[test]
fn a_tail_that_was_cut_off_is_known_by_the_hours() {
    let last = |shelf: &Shelf, shard: u8| {
        let objects = shelf.objects();
        (0..).take_while(|serial| objects.contains_key(&entry_key(shard, *serial))).last().unwrap()
    };
    for (shard, cut) in [(0, 1), (1, 1), (1, 3), (2, 2)] {
        let mut lowest = String::new();
        let cut_off = faults(|shelf| {
            let end = last(shelf, shard);
            for serial in end + 1 - cut..=end {
                shelf.objects().remove(&entry_key(shard, serial));
            }
            lowest = entry_key(shard, end + 1 - cut);
        });
        let kinds: Vec<FaultKind> = cut_off.iter().map(|(kind, _)| *kind).collect();
        assert!(cut_off.contains(&(LedgerCut, lowest.clone())), "{shard} {cut}: {cut_off:?}");
        assert_eq!(kinds, [LedgerCut], "{shard} {cut}: {cut_off:?}");
    }
}

#[test]
fn an_entry_that_came_after_its_hour_is_named() {
    let late = |shelf: &Arc<Shelf>| {
        // As if the last batch had come when its hour was told: the manifests know nothing of it.
        let objects = shelf.objects().clone();
        objects.keys().rfind(|key| key.contains("/shardId-000000000001-1")).unwrap().clone()
    };
    let shelf = archive_of(30, 4);
    let key = late(&shelf);
    let entry = entry_key(1, 4);
    let object = shelf.objects().remove(&key);
    let lain = shelf.objects().remove(&entry);
    tell(&shelf);
    shelf.objects().insert(key, object.unwrap());
    shelf.objects().insert(entry.clone(), lain.unwrap());
    assert_eq!(found(&shelf, Selection::default()), vec![(EntryMisplaced, entry)]);
}

#[test]
fn a_range_is_proved_with_its_hours_alone() {
    let shelf = told();
    shelf.objects().remove(&manifest(1));
    let of = |from: u32, to: u32| Selection {
        from: Some(start() + HOUR * from),
        to: Some(start() + HOUR * to),
        shard: None,
    };
    assert_eq!(found(&shelf, of(3, 5)), []);
    assert_eq!(found(&shelf, of(0, 4)), vec![(HourMissing, manifest(1))]);
    let child = Selection { shard: Some(ShardId::new("shardId-000000000001")), ..Selection::default() };
    assert_eq!(found(&shelf, child), []);
}

/// Whatever single thing of a manifest is changed, it is found, and where it is.
#[test]
fn random_damages_of_manifests_are_all_found() {
    let pristine = told();
    let mut hours: Vec<String> = (0..9).map(manifest).collect();
    hours.push(keys().hours_start());
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let shelf = Arc::new((*pristine).clone());
        let key = hours[random.usize(0..hours.len())].clone();
        let what = match shelf.objects().get_mut(&key) {
            Some(object) if random.bool() => {
                let at = random.usize(0..object.bytes.len());
                object.bytes[at] ^= 1 << random.u8(0..8);
                format!("a flipped bit at {at} of {}", String::from_utf8_lossy(&object.bytes))
            }
            Some(object) => {
                let len = random.usize(0..object.bytes.len());
                object.bytes.truncate(len);
                format!("a cut to {len}")
            }
            None => panic!("{key} is not there"),
        };
        let store: Arc<dyn ObjectStore> = Arc::clone(&shelf) as Arc<dyn ObjectStore>;
        let archive = Archive { store, keys: keys(), has_metadata: true };
        let options = Options {
            selection: Selection::default(),
            at_once: 1,
            known: vec![],
            on_its_way: Duration::ZERO,
        };
        let report = verify(&archive, &options, |_| (), &|_| (), &Stop::new()).unwrap();
        let named = report.faults.iter().any(|fault| fault.key == key || fault.reason.contains(&key));
        // Nothing but the bucket's own name stands in the newest manifest alone.
        let unknown = what.contains("flipped") && key == manifest(8) && report.faults.is_empty();
        assert!(named || unknown, "seed {seed}: {what} of {key} was not found: {:?}", report.faults);
    }
}

#[test]
fn manifests_and_the_end_of_a_ledger_come_back_from_versions() {
    let shelf = told();
    let good = shelf.objects().clone();
    *shelf.versions() = good.iter().map(|(key, object)| (key.clone(), vec![object.clone()])).collect();
    let newest = good.keys().rfind(|key| key.contains("/shardId-000000000001-1")).unwrap().clone();
    shelf.objects().remove(&manifest(1));
    shelf.objects().remove(&newest);
    alter(&shelf, &manifest(3), "\"records\":", "\"records\":1");
    let store: Arc<dyn ObjectStore> = Arc::clone(&shelf) as Arc<dyn ObjectStore>;
    let archive = Archive { store, keys: keys(), has_metadata: true };
    let options = Options { selection: Selection::default(), at_once: 2, known: vec![], on_its_way: HOUR };
    let mut report = verify(&archive, &options, |_| (), &|_| (), &Stop::new()).unwrap();
    let tools = Tools { store: &*shelf, copies: None, stream: None, level: 6 };
    repair(&archive, &options, &mut report, &tools, &Stop::new()).unwrap();
    let repairs = report.repairs.unwrap();
    assert!(repairs.iter().all(|repair| repair.outcome == Outcome::Mended), "{repairs:?}");
    assert_eq!(found(&shelf, Selection::default()), []);
    assert!(but_levels(&shelf.objects()) == but_levels(&good));
}

#[test]
fn what_a_keeper_adds_meanwhile_is_no_fault() {
    let shelf = told();
    let is_late = |key: &str| {
        // A shard that was not there yet, and of another one the end; with their objects and hours.
        key.contains("shardId-000000000001")
            || key.contains("shardId-000000000002") && !key.contains("_ledger/")
            || key.contains("_ledger/shardId-000000000002") && !key.ends_with("000000000000.json")
            || key.ends_with("_hour.json")
    };
    let late: Vec<(String, Shelved)> =
        shelf.objects().iter().filter(|(key, _)| is_late(key)).map(|(k, o)| (k.clone(), o.clone())).collect();
    assert!(late.iter().any(|(key, _)| key.ends_with("000000000002.json")), "nothing comes since");
    let verified = |gone: &str| {
        shelf.objects().retain(|key, _| !is_late(key));
        let store: Arc<dyn ObjectStore> = Arc::clone(&shelf) as Arc<dyn ObjectStore>;
        let archive = Archive { store, keys: keys(), has_metadata: true };
        let selection = Selection::default();
        let options = Options { selection, at_once: 2, known: vec![], on_its_way: HOUR * 1000 };
        let comes = |_| shelf.objects().extend(late.iter().filter(|(key, _)| key != gone).cloned());
        let report = verify(&archive, &options, comes, &|_| (), &Stop::new()).unwrap();
        report.faults.into_iter().map(|fault| (fault.kind, fault.key)).collect::<Vec<_>>()
    };
    assert_eq!(verified(""), []);
    // What is not there after all is a fault, whenever it should have come.
    let gone = entry_key(2, 1);
    assert!(verified(&gone).contains(&(LedgerCut, gone)));
}
