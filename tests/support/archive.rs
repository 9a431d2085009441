//! An independent reader and checker of the archive: flate2, serde_json and sha2, and nothing of the product.
//!
//! It holds what lies in the bucket against docs/FORMAT.md and panics, saying where, at the first thing that
//! is not as it should be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64_simd::STANDARD;
use serde_json::Value;

use super::{aws, sha256};

pub mod forms;

/// A record, as the archive has it; of a payload object nothing but shard and payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The shard in whose object it lies.
    pub shard: String,
    /// Its sequence number.
    pub sequence_number: String,
    /// Its index within a KPL aggregate.
    pub sub_sequence_number: Option<u64>,
    /// Its key.
    pub partition_key: Option<String>,
    /// The hash key that its producer gave it within a KPL aggregate.
    pub explicit_hash_key: Option<String>,
    /// Whether it is marked as lying outside the shard.
    pub outside_hash_range: bool,
    /// Its payload.
    pub data: Vec<u8>,
}

/// An entry with what it is named by.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key in the bucket.
    pub at: String,
    /// Hex SHA-256 of its bytes.
    pub sha256: String,
    /// Its fields.
    pub fields: Value,
}

impl Entry {
    /// A field that is a text.
    #[track_caller]
    pub fn text(&self, name: &str) -> &str {
        self.fields[name]
            .as_str()
            .unwrap_or_else(|| panic!("{}: {name} should be a text: {}", self.at, self.fields))
    }

    /// A field that is a whole number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        self.fields[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{}: {name} should be a number: {}", self.at, self.fields))
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        self.text("type")
    }
}

/// All that was archived of one stream.
#[derive(Debug)]
pub struct Archive {
    /// Every ledger's entries in order, by folder: `{shard}-{creation}`.
    pub ledgers: BTreeMap<String, Vec<Entry>>,
    /// Every object by its key, data objects only.
    pub objects: BTreeMap<String, aws::Object>,
    /// Every record, shard by shard in order.
    pub records: Vec<Record>,
}

/// Reads and checks the archive of a stream whose prefix is empty.
#[track_caller]
pub fn read(bucket: &str, stream: &str) -> Archive {
    read_under(bucket, "", stream)
}

/// Reads and checks the archive under `{prefix}{stream}/`. Every entry's object must be there.
#[track_caller]
pub fn read_under(bucket: &str, prefix: &str, stream: &str) -> Archive {
    let root = format!("{prefix}{stream}/");
    let found = aws::keys(bucket, &root).into_iter().map(|key| {
        let object = aws::object(bucket, &key).unwrap_or_else(|| panic!("{key} was listed and is gone"));
        (key, object)
    });
    check(&root, stream, found.collect())
}

/// Checks what was found under `root`, all of it.
#[track_caller]
pub fn check(root: &str, stream: &str, found: BTreeMap<String, aws::Object>) -> Archive {
    let mut archive = Archive { ledgers: BTreeMap::new(), objects: BTreeMap::new(), records: Vec::new() };
    let mut entries: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    let mut starts = Vec::new();
    for (key, object) in found {
        let place = key[root.len()..].to_owned();
        if let Some(ledger) = place.strip_prefix("_ledger/") {
            match ledger.split_once('/') {
                Some((folder, name)) => {
                    entries.entry(folder.to_owned()).or_default().insert(name.to_owned(), object.body);
                }
                // Manifests of hours have tests of their own.
                None if ledger == "hours.json" => {}
                None => starts.push((ledger.to_owned(), object.body)),
            }
        } else if !place.ends_with("/_hour.json") {
            assert!(!place.starts_with('_'), "{key}: nothing should have needed repair");
            archive.objects.insert(key, object);
        }
    }
    check_starts(stream, &starts, entries.keys());
    let mut named = BTreeSet::new();
    for (folder, entries) in entries {
        let ledger = chained(root, &folder, stream, entries);
        archive.read_ledger(&ledger, root, &mut named);
        archive.ledgers.insert(folder, ledger);
    }
    for key in archive.objects.keys() {
        assert!(named.contains(key), "{key} is named by no entry");
    }
    archive.assert_none_doubled();
    archive
}

fn check_starts<'a>(stream: &str, starts: &[(String, Vec<u8>)], folders: impl Iterator<Item = &'a String>) {
    let mut creations = BTreeSet::new();
    for (name, body) in starts {
        let creation = name.strip_prefix("stream-").and_then(|rest| rest.strip_suffix(".json"));
        let creation = creation.unwrap_or_else(|| panic!("_ledger/{name} has no business there"));
        let start: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((&start["version"], &start["stream"]), (&1.into(), &stream.into()), "_ledger/{name}");
        assert!(start["begin"].is_string(), "_ledger/{name}: {start}");
        creations.insert(creation.to_owned());
    }
    for folder in folders {
        let creation = folder.rsplit_once('-').unwrap().1;
        assert!(creations.contains(creation), "_ledger/{folder}: no start object of that creation");
    }
}

/// The entries of one ledger: serials without a hole, each chained to the one before it.
fn chained(root: &str, folder: &str, stream: &str, entries: BTreeMap<String, Vec<u8>>) -> Vec<Entry> {
    let shard = folder.rsplit_once('-').unwrap().0;
    let mut ledger: Vec<Entry> = Vec::new();
    for (serial, (name, bytes)) in entries.into_iter().enumerate() {
        let at = format!("{root}_ledger/{folder}/{name}");
        assert_eq!(name, format!("{serial:012}.json"), "{at}: a hole, or something that is no entry");
        let fields = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{at}: {error}"));
        let entry = Entry { at, sha256: sha256(&bytes), fields };
        let at = &entry.at;
        assert_eq!(entry.number("version"), 1, "{at}");
        assert_eq!((entry.text("stream"), entry.text("shard")), (stream, shard), "{at}");
        assert_eq!(entry.number("serial"), serial as u64, "{at}");
        let before = ledger.last().map_or("", |entry| entry.sha256.as_str());
        assert_eq!(entry.text("previous_entry_sha256"), before, "{at}: the chain is broken");
        assert_eq!(entry.kind() == "begin", serial == 0, "{at}: begin stands first, and only there");
        assert!(ledger.last().is_none_or(|last| last.kind() != "end"), "{at}: something follows the end");
        ledger.push(entry);
    }
    ledger
}

impl Archive {
    fn read_ledger(&mut self, ledger: &[Entry], root: &str, named: &mut BTreeSet<String>) {
        let mut position = String::new();
        let mut previous_object = String::new();
        let mut hour = String::new();
        for entry in ledger {
            match entry.kind() {
                "begin" => assert!(entry.fields["parents"].is_array(), "{}", entry.at),
                "batch" => {
                    assert_eq!(
                        entry.text("previous_object_sha256"),
                        previous_object,
                        "{}: the object before it",
                        entry.at
                    );
                    assert!(entry.text("hour") >= hour.as_str(), "{}: a closed hour was opened", entry.at);
                    hour = entry.text("hour").to_owned();
                    assert!(named.insert(entry.text("key").to_owned()), "{}: named twice", entry.text("key"));
                    named.extend(entry.fields["side"]["key"].as_str().map(str::to_owned));
                    let records = self.read_batch(entry, root);
                    check_order(entry, &records, &mut position);
                    previous_object = sha256(&self.objects[entry.text("key")].body);
                    self.records.extend(records);
                }
                "gap" if entry.text("resumes_at").is_empty() => {}
                "gap" => position = entry.text("resumes_at").to_owned(),
                "end" => assert!(entry.fields["children"].is_array(), "{}", entry.at),
                other => panic!("{}: an entry of type {other}", entry.at),
            }
        }
    }

    /// Holds a batch entry against its object, and gives its records.
    fn read_batch(&self, entry: &Entry, root: &str) -> Vec<Record> {
        let key = entry.text("key");
        let object =
            self.objects.get(key).unwrap_or_else(|| panic!("{}: its object {key} is missing", entry.at));
        check_key(entry, root);
        assert_eq!(object.content_type.as_deref(), Some(forms::names(entry).0), "{key}");
        assert!(object.content_encoding.as_deref().unwrap_or("").is_empty(), "{key}: a content encoding");
        let text = forms::unpack(key, object);
        assert_eq!(sha256(&text), entry.text("content_sha256"), "{key}: content");
        assert_eq!(text.len() as u64, entry.number("content_size"), "{key}: content size");
        check_metadata(entry, object);
        if entry.text("format") == "payload" {
            return forms::payloads(self, entry, &text);
        }
        let records = parse(key, entry.text("shard"), &text);
        assert_eq!(records.len() as u64, entry.number("records"), "{key}: records");
        let ends = |record: Option<&Record>| record.map(|record| record.sequence_number.clone());
        assert_eq!(
            ends(records.first()).as_deref(),
            Some(entry.text("first_sequence_number")),
            "{key}: first"
        );
        assert_eq!(ends(records.last()).as_deref(), Some(entry.text("last_sequence_number")), "{key}: last");
        records
    }

    #[track_caller]
    fn assert_none_doubled(&self) {
        let mut seen = BTreeSet::new();
        for record in self.records.iter().filter(|record| !record.sequence_number.is_empty()) {
            let place = (&record.shard, &record.sequence_number, record.sub_sequence_number);
            assert!(seen.insert(place), "{place:?} is in the archive twice");
        }
    }

    /// Exactly these payloads, each exactly once, in whatever order. No gap.
    #[track_caller]
    pub fn assert_exactly<'a>(&self, expected: impl IntoIterator<Item = &'a [u8]>) {
        assert_eq!(self.entries("gap").count(), 0, "a gap in the ledger");
        let mut balance: HashMap<&[u8], i64> = HashMap::new();
        for payload in expected {
            *balance.entry(payload).or_default() += 1;
        }
        for record in &self.records {
            *balance.entry(&record.data).or_default() -= 1;
        }
        let short = |payload: &[u8]| String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
        let (mut missing, mut doubled) = (Vec::new(), Vec::new());
        for (payload, count) in balance {
            if count > 0 {
                missing.push(short(payload));
            }
            if count < 0 {
                doubled.push(short(payload));
            }
        }
        let counts = (missing.len(), doubled.len());
        missing.truncate(10);
        doubled.truncate(10);
        assert_eq!(counts, (0, 0), "payloads missing {missing:?} and doubled or foreign {doubled:?}");
    }

    /// All entries of one type.
    pub fn entries(&self, kind: &str) -> impl Iterator<Item = &Entry> {
        self.ledgers.values().flatten().filter(move |entry| entry.kind() == kind)
    }

    /// The text of every batch's `sealed_by`.
    pub fn reasons(&self) -> Vec<&str> {
        self.entries("batch").map(|entry| entry.text("sealed_by")).collect()
    }
}

/// Orders sequence numbers as the integers that they are; the empty one comes first.
fn as_integer(number: &str) -> (usize, &str) {
    (number.len(), number)
}

fn check_order(entry: &Entry, records: &[Record], position: &mut String) {
    for record in records.iter().filter(|record| !record.sequence_number.is_empty()) {
        let number = &record.sequence_number;
        assert!(
            as_integer(number) >= as_integer(position),
            "{}: {number} comes after {position} and should not",
            entry.at
        );
        position.clone_from(number);
    }
}

fn check_key(entry: &Entry, root: &str) {
    let (key, hour) = (entry.text("key"), entry.text("hour"));
    let (day, of_day) = (&hour[..10], &hour[11..13]);
    let (shard, first) = (entry.text("shard"), entry.text("first_sequence_number"));
    let file = format!("{shard}-{first}.{}", forms::names(entry).1);
    let hive = format!("{root}dt={day}/hour={of_day}/{file}");
    let firehose = format!("{root}{}/{of_day}/{file}", day.replace('-', "/"));
    assert!(key == hive || key == firehose, "{}: key {key} is neither {hive} nor {firehose}", entry.at);
}

fn check_metadata(entry: &Entry, object: &aws::Object) {
    let key = entry.text("key");
    let expected = [
        ("keeper-version", "1".to_owned()),
        ("keeper-stream", entry.text("stream").to_owned()),
        ("keeper-stream-created", entry.text("stream_created").to_owned()),
        ("keeper-shard", entry.text("shard").to_owned()),
        ("keeper-serial", entry.number("serial").to_string()),
        ("keeper-first-sequence-number", entry.text("first_sequence_number").to_owned()),
        ("keeper-last-sequence-number", entry.text("last_sequence_number").to_owned()),
        ("keeper-records", entry.number("records").to_string()),
        ("keeper-content-size", entry.number("content_size").to_string()),
        ("keeper-content-sha256", entry.text("content_sha256").to_owned()),
        ("keeper-sha256", sha256(&object.body)),
        ("keeper-first-arrival", entry.text("first_arrival").to_owned()),
        ("keeper-last-arrival", entry.text("last_arrival").to_owned()),
    ];
    for (name, value) in &expected {
        assert_eq!(object.metadata.get(*name), Some(value), "{key}: x-amz-meta-{name}");
    }
    // Only who made the bytes can know it.
    let level = object.metadata.get("keeper-level");
    let highest = if entry.text("compression") == "gzip" { 12 } else { 22 };
    let is_level = |text: &String| text.parse().is_ok_and(|level| (1..=highest).contains(&level));
    assert!(level.is_none_or(is_level), "{key}: keeper-level {level:?}");
    let known = expected.len() + usize::from(level.is_some());
    assert_eq!(object.metadata.len(), known, "{key}: metadata {:?}", object.metadata);
}

fn parse(key: &str, shard: &str, text: &[u8]) -> Vec<Record> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| record(line, shard).unwrap_or_else(|why| panic!("{key}: {why}"))).collect()
}

fn record(line: &[u8], shard: &str) -> Result<Record, String> {
    let said = |what: &str| format!("{what}: {}", String::from_utf8_lossy(&line[..line.len().min(200)]));
    let fields: Value = serde_json::from_slice(line).map_err(|error| said(&error.to_string()))?;
    let data = match (fields["data"].as_str(), fields["data_base64"].as_str()) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(text)) => {
            let data = STANDARD.decode_to_vec(text).map_err(|error| said(&error.to_string()))?;
            if std::str::from_utf8(&data).is_ok() {
                return Err(said("base64, though it is text"));
            }
            data
        }
        _ => return Err(said("not exactly one of data and data_base64")),
    };
    let arrival = fields["approximate_arrival_timestamp"].as_str().unwrap_or("");
    if arrival.len() != 24 || !arrival.ends_with('Z') {
        return Err(said("not an arrival in milliseconds, UTC"));
    }
    Ok(Record {
        shard: shard.to_owned(),
        sequence_number: fields["sequence_number"]
            .as_str()
            .ok_or_else(|| said("no sequence number"))?
            .to_owned(),
        sub_sequence_number: fields["sub_sequence_number"].as_u64(),
        partition_key: fields["partition_key"].as_str().map(str::to_owned),
        explicit_hash_key: fields["explicit_hash_key"].as_str().map(str::to_owned),
        outside_hash_range: fields["outside_hash_range"].as_bool().unwrap_or(false),
        data,
    })
}
