//! An archive laid by hand is found good; each kind of damage is found and named.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::super::notifier::tests::batch as notice_of;
use super::super::runs::{fingerprint, hex, sha256_of};
use super::*;
use crate::model::batch::{Compression, Format, SealReason};
use crate::model::expiry::Expiry;
use crate::model::key::Prefix;
use crate::model::ledger::{BatchBody, Begin, BeginBody, Body as EntryBody, Entry};
use crate::model::shard::ShardId;
use crate::ports::{Attributes, Body, Head, Put};

type Metadata = Vec<(String, String)>;

struct Archive {
    copies: tempfile::TempDir,
    objects: BTreeMap<String, (Vec<u8>, Metadata)>,
    notices: BTreeMap<String, BatchNotice>,
    put: BTreeMap<u64, Fingerprint>,
    entry_sha256: String,
    object_sha256: String,
    serial: u64,
}

impl ObjectStore for Archive {
    fn put_if_absent(&self, _: &str, _: Body<'_>, _: &Attributes, _: &Stop) -> Result<Put, StoreError> {
        panic!("the check changes nothing")
    }

    fn head(&self, key: &str, _: &Stop) -> Result<Option<Head>, StoreError> {
        Ok(self.objects.get(key).map(|(bytes, metadata)| Head {
            size: bytes.len() as u64,
            metadata: metadata.clone(),
            ..Head::default()
        }))
    }

    fn get(&self, key: &str, _: &Stop) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.objects.get(key).map(|(bytes, _)| bytes.clone()))
    }

    fn open(&self, key: &str, stop: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let bytes = self.get(key, stop)?;
        Ok(bytes.map(|bytes| Box::new(std::io::Cursor::new(bytes)) as Box<dyn Read + Send>))
    }

    fn list(&self, prefix: &str, after: Option<&str>, _: &Stop) -> Result<Vec<String>, StoreError> {
        let after = after.unwrap_or_default();
        Ok(self
            .objects
            .keys()
            .filter(|key| key.starts_with(prefix) && key.as_str() > after)
            .cloned()
            .collect())
    }

    fn folders(&self, prefix: &str, _: &Stop) -> Result<Vec<String>, StoreError> {
        let below = |key: &String| {
            let (folder, _) = key.strip_prefix(prefix)?.split_once('/')?;
            Some(format!("{prefix}{folder}/"))
        };
        let folders: BTreeSet<String> = self.objects.keys().filter_map(below).collect();
        Ok(folders.into_iter().collect())
    }

    fn expiry(&self, _: &Stop) -> Result<Expiry, StoreError> {
        Ok(Expiry::default())
    }

    fn service_time(&self, _: &Stop) -> Result<Timestamp, StoreError> {
        Ok(created())
    }
}

fn created() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

fn keys() -> Keys {
    Keys::new(&Prefix::default(), "clickstream")
}

fn shard() -> ShardId {
    ShardId::new("shardId-000000000002")
}

fn pack(content: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Level::fast());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

impl Archive {
    fn entry(&mut self, body: EntryBody) {
        let entry = Entry {
            version: 1,
            body,
            stream: "clickstream".into(),
            stream_arn: "arn".into(),
            stream_created: created(),
            shard: shard(),
            serial: self.serial,
            previous_entry_sha256: self.entry_sha256.clone(),
            host: "h".into(),
            written_at: created(),
        };
        let bytes = serde_json::to_vec(&entry).unwrap();
        self.entry_sha256 = hex(&Sha256::digest(&bytes));
        self.objects.insert(keys().entry(&shard(), created(), self.serial), (bytes, vec![]));
        self.serial += 1;
    }

    /// A batch of events; event `n` has the sequence number `1000 + n`.
    fn batch(&mut self, numbers: std::ops::Range<u64>) {
        let mut content = Vec::new();
        for n in numbers.clone() {
            let data = format!(r#"{{"event":{n},"type":"click"}}"#);
            let number = (1000 + n).to_string();
            let line = serde_json::json!({
                "sequence_number": number, "approximate_arrival_timestamp": created(),
                "partition_key": "user-1", "data": data,
            });
            writeln!(content, "{line}").unwrap();
            let of_event = fingerprint(&shard(), &number.parse().unwrap(), "user-1", data.as_bytes());
            self.put.insert(n, of_event);
        }
        let bytes = pack(&content);
        let key = format!("clickstream/dt=2023-11-14/hour=22/{}-{}.ndjson.gz", shard(), 1000 + numbers.start);
        let body = BatchBody {
            key: key.clone(),
            hour: created().hour(),
            format: Format::Envelope,
            compression: Compression::Gzip,
            deaggregate: true,
            first_sequence_number: (1000 + numbers.start).to_string().parse().unwrap(),
            last_sequence_number: (999 + numbers.end).to_string().parse().unwrap(),
            records: numbers.end - numbers.start,
            content_size: content.len() as u64,
            content_sha256: hex(&Sha256::digest(&content)),
            first_arrival: created(),
            last_arrival: created(),
            sealed_by: SealReason::Age,
            side: None,
            previous_object_sha256: self.object_sha256.clone(),
        };
        self.object_sha256 = hex(&Sha256::digest(&bytes));
        let mut notice = notice_of(&key, self.serial, body.records);
        notice.sha256.clone_from(&self.object_sha256);
        notice.size = bytes.len() as u64;
        notice.content_sha256.clone_from(&body.content_sha256);
        notice.content_size = body.content_size;
        notice.first_sequence_number = body.first_sequence_number.clone();
        notice.last_sequence_number = body.last_sequence_number.clone();
        self.notices.insert(key.clone(), notice);
        let copy = self.copies.path().join(&key);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::write(copy, &bytes).unwrap();
        self.objects.insert(key, (bytes, self.metadata(&body)));
        self.entry(EntryBody::Batch(Box::new(body)));
    }

    fn metadata(&self, body: &BatchBody) -> Metadata {
        [
            ("keeper-version", "1".to_owned()),
            ("keeper-stream", "clickstream".to_owned()),
            ("keeper-stream-created", created().to_string()),
            ("keeper-shard", shard().to_string()),
            ("keeper-serial", self.serial.to_string()),
            ("keeper-first-sequence-number", body.first_sequence_number.to_string()),
            ("keeper-last-sequence-number", body.last_sequence_number.to_string()),
            ("keeper-records", body.records.to_string()),
            ("keeper-content-size", body.content_size.to_string()),
            ("keeper-content-sha256", body.content_sha256.clone()),
            ("keeper-sha256", self.object_sha256.clone()),
            ("keeper-first-arrival", created().to_string()),
            ("keeper-last-arrival", created().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Events 1 to 5 and 6 to 9, in two objects.
    fn good() -> Self {
        let mut archive = Self {
            copies: tempfile::tempdir().unwrap(),
            objects: BTreeMap::new(),
            notices: BTreeMap::new(),
            put: BTreeMap::new(),
            entry_sha256: String::new(),
            object_sha256: String::new(),
            serial: 0,
        };
        archive.objects.insert(keys().stream_start(created()), (b"{}".to_vec(), vec![]));
        archive.entry(EntryBody::Begin(BeginBody {
            parents: vec![],
            starting_hash_key: "0".into(),
            ending_hash_key: "1".into(),
            begin: Begin::TRIM_HORIZON,
        }));
        archive.batch(1..6);
        archive.batch(6..10);
        archive
    }

    fn report(&self, events: u64) -> Report {
        let run = Run {
            stream_created: Some(created()),
            first_event: 1,
            events,
            put_sha256: Some(sha256_of(&self.put)),
        };
        let expected = Expected {
            runs: &[run],
            put: &self.put,
            created: created(),
            notices: &self.notices,
            copies: self.copies.path(),
        };
        check(self, &keys(), &expected, &Stop::new()).unwrap()
    }

    fn object_keys(&self) -> Vec<String> {
        self.notices.keys().cloned().collect()
    }
}

#[track_caller]
fn finds(report: &Report, what: &str) {
    assert!(report.problems.iter().any(|problem| problem.contains(what)), "{what} in {:#?}", report.problems);
}

#[test]
fn a_good_archive_is_good() {
    let archive = Archive::good();
    let report = archive.report(9);
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.ledgers, report.entries, report.objects, report.records), (1, 3, 2, 9));
    assert_eq!((report.missing, report.doubled, report.latest_records), (0, 0, 9));
    assert_eq!(report.example, Some(archive.object_keys()[0].clone()));
}

#[test]
fn a_missing_event_is_found() {
    let report = Archive::good().report(10);
    assert_eq!(report.missing, 1);
    finds(&report, "1 events are missing, the first is 10");
}

#[test]
fn a_doubled_event_is_found() {
    let mut archive = Archive::good();
    let put = archive.put.clone();
    archive.batch(9..11);
    archive.put = put;
    let report = archive.report(9);
    assert_eq!(report.doubled, 1);
    finds(&report, "1 events are there more than once, the first is 9");
    finds(&report, "begins before the batch before it ends");
    finds(&report, "1 events are in the archive that no demo put");
}

#[test]
fn an_event_that_was_changed_is_found() {
    let mut archive = Archive::good();
    archive.put.insert(3, [0; 32]);
    let report = archive.report(9);
    finds(&report, "events 1 to 9 are not, byte for byte, what was put");
    finds(&report, "event 3 is not what was put");
}

#[test]
fn a_changed_or_lost_object_is_found() {
    let mut archive = Archive::good();
    let keys = archive.object_keys();
    if let Some((bytes, _)) = archive.objects.get_mut(&keys[0]) {
        *bytes = pack(b"{\"sequence_number\":\"1\"}\n");
    }
    archive.objects.remove(&keys[1]);
    let report = archive.report(9);
    finds(&report, "its lines are not those that the ledger tells of");
    finds(&report, "metadata keeper-sha256 is");
    finds(&report, "its notice tells of something else");
    finds(&report, "1 damaged lines, line 1 is no record");
    finds(&report, "the local copy differs");
    finds(&report, "claimed, but not there");
    assert_eq!(report.missing, 9);
}

#[test]
fn a_hole_in_the_ledger_and_a_broken_chain_are_found() {
    let mut archive = Archive::good();
    archive.objects.remove(&super::tests::keys().entry(&shard(), created(), 1));
    finds(&archive.report(9), "serial 1 is missing");
    finds(&archive.report(9), "no ledger entry tells of this object");
    let mut archive = Archive::good();
    let entry = super::tests::keys().entry(&shard(), created(), 1);
    if let Some((bytes, _)) = archive.objects.get_mut(&entry) {
        let text = String::from_utf8(bytes.clone()).unwrap().replace("\"host\":\"h\"", "\"host\":\"x\"");
        *bytes = text.into_bytes();
    }
    finds(&archive.report(9), "000000000002.json: the chain of entries is broken");
}

#[test]
fn an_object_that_was_never_announced_is_found() {
    let mut archive = Archive::good();
    let key = archive.object_keys()[1].clone();
    archive.notices.remove(&key);
    finds(&archive.report(9), "archived, but never announced");
}
