use std::sync::Arc;

use super::*;
use crate::archive::fault::FaultKind::*;
use crate::codec::BatchWriter;
use crate::ledger::{Ledger, Predecessor};
use crate::model::batch::{Compression, Format, SealReason};
use crate::model::key::{Keys, Layout, Prefix};
use crate::model::ledger::{BatchBody, Begin, BeginBody, Body, EndBody, GapBody, GapCause};
use crate::model::record::ArchivedRecord;
use crate::model::shard::StreamIdentity;
use crate::model::timestamp::Hour;
use crate::ports::{Attributes, Body as PutBody, ObjectStore};
use crate::testing::{Shelf, Shelved};

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> Timestamp {
    "2026-11-22T05:10:00Z".parse().unwrap()
}

fn keys() -> Keys {
    Keys::new(&Prefix::new("raw/").unwrap(), "s")
}

fn stream() -> StreamIdentity {
    StreamIdentity { name: "s".into(), arn: "arn".into(), created: Timestamp::from_seconds(1_700_000_000) }
}

fn number(n: u64) -> SequenceNumber {
    (10_000 + n).to_string().parse().unwrap()
}

/// Writes a shard's ledger as a keeper would.
struct Scribe<'a> {
    shelf: &'a Arc<Shelf>,
    ledger: Ledger,
    shard: ShardId,
    last: Option<(u64, String)>,
    object: String,
}

impl<'a> Scribe<'a> {
    fn new(shelf: &'a Arc<Shelf>, shard: &str, parents: &[&str], range: (u128, u128)) -> Self {
        let shard = ShardId::new(shard);
        let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
        let ledger = Ledger::new(store, keys(), stream(), shard.clone(), "host".into());
        let mut scribe = Self { shelf, ledger, shard, last: None, object: String::new() };
        scribe.append(Body::Begin(BeginBody {
            parents: parents.iter().map(|parent| ShardId::new(*parent)).collect(),
            starting_hash_key: range.0.to_string(),
            ending_hash_key: range.1.to_string(),
            begin: Begin::TRIM_HORIZON,
        }));
        scribe
    }

    fn append(&mut self, body: Body) -> u64 {
        let before = self.last.take();
        let predecessor = before
            .as_ref()
            .map_or(Predecessor::None, |(serial, sha256)| Predecessor::Entry { serial: *serial, sha256 });
        let composed = self.ledger.compose(predecessor, body, start()).unwrap();
        self.ledger.append(&composed, &Stop::new()).unwrap();
        let serial = composed.stored.entry.serial;
        self.last = Some((serial, composed.stored.sha256));
        serial
    }

    /// A batch of the records from `first` on, that arrived then.
    fn batch(&mut self, first: u64, records: u64, at: Timestamp) -> String {
        self.batch_in(first, records, at, at.hour())
    }

    fn batch_in(&mut self, first: u64, records: u64, at: Timestamp, hour: Hour) -> String {
        let mut writer = BatchWriter::new(6);
        for n in first..first + records {
            let text = format!("{{\"event\":{n},\"text\":\"{}\"}}", "x".repeat(n as usize % 50));
            writer.append(&ArchivedRecord {
                sequence_number: &number(n),
                sub_sequence_number: None,
                arrival: at + Duration::from_millis(n),
                partition_key: Some("key"),
                explicit_hash_key: None,
                outside_hash_range: false,
                data: text.as_bytes(),
            });
        }
        let finished = writer.finish().unwrap();
        let content = finished.content;
        let form = (Format::Envelope, Compression::Gzip);
        let key = keys().object(Layout::Hive, hour, &self.shard, &content.first_sequence_number, form);
        let previous_object_sha256 = std::mem::replace(&mut self.object, content.sha256.clone());
        let serial = self.append(Body::Batch(Box::new(BatchBody {
            key: key.clone(),
            hour,
            format: form.0,
            compression: form.1,
            deaggregate: true,
            first_sequence_number: content.first_sequence_number.clone(),
            last_sequence_number: content.last_sequence_number.clone(),
            records: content.records,
            content_size: content.content_size,
            content_sha256: content.content_sha256.clone(),
            first_arrival: content.first_arrival,
            last_arrival: content.last_arrival,
            sealed_by: SealReason::Age,
            previous_object_sha256,
        })));
        let metadata = vec![
            ("keeper-version", "1".to_owned()),
            ("keeper-stream", "s".to_owned()),
            ("keeper-stream-created", stream().created.to_string()),
            ("keeper-shard", self.shard.to_string()),
            ("keeper-serial", serial.to_string()),
            ("keeper-first-sequence-number", content.first_sequence_number.to_string()),
            ("keeper-last-sequence-number", content.last_sequence_number.to_string()),
            ("keeper-records", content.records.to_string()),
            ("keeper-content-size", content.content_size.to_string()),
            ("keeper-content-sha256", content.content_sha256),
            ("keeper-sha256", content.sha256.clone()),
            ("keeper-first-arrival", content.first_arrival.to_string()),
            ("keeper-last-arrival", content.last_arrival.to_string()),
        ];
        let attributes =
            Attributes { content_type: "application/gzip", sha256: content.sha256, metadata, data: true };
        self.shelf
            .put_if_absent(&key, PutBody::Bytes(&finished.parts.concat()), &attributes, &Stop::new())
            .unwrap();
        key
    }

    fn gap(&mut self, after: Option<u64>, resumes_at: u64) {
        self.append(Body::Gap(GapBody {
            after: after.map(number),
            resumes_at: Some(number(resumes_at)),
            why: GapCause::Trimmed,
            certain: true,
            from: start(),
            to: start(),
        }));
    }

    fn end(&mut self, children: &[&str]) {
        let children = children.iter().map(|child| ShardId::new(*child)).collect();
        self.append(Body::End(EndBody { children }));
    }
}

/// A shard that split, its two children, several hours and a gap.
fn good() -> Arc<Shelf> {
    archive_of(150, 20)
}

/// So many batches of the parent within five hours, and so many of each child.
fn archive_of(of_parent: u64, of_child: u64) -> Arc<Shelf> {
    let shelf = Arc::new(Shelf::new(start() + 100 * HOUR));
    let half = u128::MAX / 2;
    let mut parent = Scribe::new(&shelf, "shardId-000000000000", &[], (0, u128::MAX));
    for n in 0..of_parent {
        parent.batch(10 * n, 10, start() + HOUR * (5 * n / of_parent) as u32);
    }
    parent.gap(Some(10 * of_parent - 1), 1600);
    parent.batch(1600, 5, start() + 6 * HOUR);
    parent.end(&["shardId-000000000001", "shardId-000000000002"]);
    for (shard, range) in
        [("shardId-000000000001", (0, half)), ("shardId-000000000002", (half + 1, u128::MAX))]
    {
        let mut child = Scribe::new(&shelf, shard, &["shardId-000000000000"], range);
        for n in 0..of_child {
            child.batch(2000 + 10 * n, 10, start() + 6 * HOUR);
        }
    }
    shelf
}

/// What the disk's checkpoints know: the newest entry of each ledger.
fn known(shelf: &Shelf) -> Vec<KnownEntry> {
    let mut known: BTreeMap<String, KnownEntry> = BTreeMap::new();
    for (key, object) in shelf.objects().iter().filter(|(key, _)| key.contains("_ledger/")) {
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

/// Whatever single thing is changed, it is found, and where it is.
#[test]
fn a_thousand_random_damages_are_all_found() {
    let pristine = archive_of(8, 3);
    let known = known(&pristine);
    let keys: Vec<String> = pristine.objects().keys().cloned().collect();
    for seed in 0..1000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let shelf = Arc::new((*pristine).clone());
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
            let at = random.usize(0..object.metadata.len());
            object.metadata[at].1.push('0');
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
