//! `read` and `verify` of copied archives, written by hand here: what is not there is told, and how they exit.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{keeper, stderr, stdout};

const LEDGER: &str = "s/_ledger/shardId-000000000000-1763596800";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A copy of an archive with one shard, and the configuration beside it.
struct Copy {
    folder: tempfile::TempDir,
    serial: u64,
    entry_sha256: String,
    object_sha256: String,
}

impl Copy {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let text = format!(
            "[stream]\nname = \"s\"\n[archive]\nbucket = \"my-archive\"\n[disk]\nstate_dir = \"{}\"\n[aws]\nregion = \"us-east-1\"\n",
            state.display()
        );
        fs::write(folder.path().join("s.toml"), text).unwrap();
        fs::create_dir(folder.path().join("copy")).unwrap();
        let mut copy = Self { folder, serial: 0, entry_sha256: String::new(), object_sha256: String::new() };
        // As a keeper writes it: its fields are in this order.
        let start = concat!(
            r#"{"version":1,"stream":"s","stream_arn":"arn:aws:kinesis:us-east-1:1:stream/s","#,
            r#""stream_created":"2025-11-20T00:00:00.000Z","begin":"trim_horizon"}"#,
        );
        copy.write("s/_ledger/stream-1763596800.json", format!("{start}\n").as_bytes());
        let keys = ("0", u128::MAX.to_string());
        copy.entry(
            json!({"type": "begin", "parents": [], "starting_hash_key": keys.0, "ending_hash_key": keys.1, "begin": "trim_horizon"}),
            "2025-11-22T04:00:00.000Z",
        );
        copy
    }

    fn path(&self, key: &str) -> std::path::PathBuf {
        self.folder.path().join("copy").join(key)
    }

    fn write(&self, key: &str, bytes: &[u8]) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn entry(&mut self, mut body: Value, written_at: &str) {
        let common = json!({
            "version": 1, "stream": "s", "stream_arn": "arn:aws:kinesis:us-east-1:1:stream/s",
            "stream_created": "2025-11-20T00:00:00.000Z", "shard": "shardId-000000000000", "serial": self.serial,
            "previous_entry_sha256": self.entry_sha256, "host": "h", "written_at": written_at,
        });
        body.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        let bytes = serde_json::to_vec(&body).unwrap();
        self.write(&format!("{LEDGER}/{:012}.json", self.serial), &bytes);
        self.serial += 1;
        self.entry_sha256 = sha256(&bytes);
    }

    /// A batch of one record that arrived ten minutes into the hour; its object's key.
    fn batch(&mut self, number: u64, hour: u32, written_at: &str) -> String {
        let arrival = format!("2025-11-22T{hour:02}:10:00.000Z");
        let line = format!(
            "{{\"sequence_number\":\"{number}\",\"approximate_arrival_timestamp\":\"{arrival}\",\"partition_key\":\"k\",\"data\":\"{number}\"}}\n"
        );
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(line.as_bytes()).unwrap();
        let object = gzip.finish().unwrap();
        let key = format!("s/dt=2025-11-22/hour={hour:02}/shardId-000000000000-{number}.ndjson.gz");
        let number = number.to_string();
        let body = json!({
            "type": "batch", "key": key, "hour": format!("2025-11-22T{hour:02}:00:00.000Z"), "format": "envelope",
            "compression": "gzip", "deaggregate": true, "first_sequence_number": number, "last_sequence_number": number,
            "records": 1, "content_size": line.len(), "content_sha256": sha256(line.as_bytes()), "first_arrival": arrival,
            "last_arrival": arrival, "sealed_by": "age", "previous_object_sha256": self.object_sha256,
        });
        self.entry(body, written_at);
        self.write(&key, &object);
        self.object_sha256 = sha256(&object);
        key
    }

    /// A gap between record `after` and record `until`.
    fn gap(&mut self, (after, from): (u64, &str), (until, to): (u64, &str)) {
        let body = json!({
            "type": "gap", "after": after.to_string(), "resumes_at": until.to_string(), "why": "trimmed",
            "certain": true, "from": from, "to": to,
        });
        self.entry(body, to);
    }

    fn run(&self, command: &str, more: &[&str]) -> Output {
        let file = self.folder.path().join("s.toml");
        let copy = self.folder.path().join("copy");
        keeper(&[&[command, text(&file), "--dir", text(&copy)], more].concat())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn lines(output: &Output) -> usize {
    stdout(output).lines().count()
}

#[test]
fn a_copy_with_a_hole_or_without_a_ledger_is_an_error() {
    let mut copy = Copy::new();
    for (number, hour) in [(100, 5), (101, 6), (102, 7), (103, 8)] {
        copy.batch(number, hour, "2025-11-22T09:00:00.000Z");
    }
    let whole = copy.run("read", &[]);
    assert_eq!((whole.status.code(), lines(&whole), stderr(&whole)), (Some(0), 4, ""));
    let entry = format!("{LEDGER}/000000000003.json");
    fs::remove_file(copy.path(&entry)).unwrap();
    for more in [&[][..], &["--merge"], &["--from", "2025-11-22T07:00:00Z", "--to", "2025-11-22T08:00:00Z"]] {
        let hole = copy.run("read", more);
        assert_eq!(hole.status.code(), Some(1), "{more:?}");
        let told = stderr(&hole);
        assert!(told.contains(&entry) && told.contains("verify --repair"), "{told}");
    }
    fs::remove_dir_all(copy.path("s/_ledger")).unwrap();
    let nothing = copy.run("read", &[]);
    assert_eq!((nothing.status.code(), lines(&nothing)), (Some(1), 0));
    let place = copy.path("s/");
    let told = format!("there is no archive in {}", text(&place.canonicalize().unwrap()));
    assert!(stderr(&nothing).contains(&told), "{}", stderr(&nothing));
}

#[test]
fn a_gap_that_takes_all_of_the_range_is_told() {
    let mut copy = Copy::new();
    copy.batch(100, 5, "2025-11-22T06:00:00.000Z");
    copy.gap((100, "2025-11-22T05:20:00.000Z"), (200, "2025-11-22T10:10:00.000Z"));
    copy.batch(200, 10, "2025-11-22T11:00:00.000Z");
    let range = ["--from", "2025-11-22T06:00:00Z", "--to", "2025-11-22T09:00:00Z"];
    let read = copy.run("read", &range);
    assert_eq!((read.status.code(), lines(&read)), (Some(0), 0));
    assert!(
        stderr(&read).contains("a gap: records that arrived from 2025-11-22T05:20:00.000Z"),
        "{}",
        stderr(&read)
    );
    let proved = copy.run("verify", &range);
    assert_eq!(proved.status.code(), Some(0), "{}", stdout(&proved));
    assert!(stdout(&proved).contains("gap: trimmed (certain) after 100 until 200"), "{}", stdout(&proved));
    assert!(stdout(&proved).contains("1 recorded gaps"), "{}", stdout(&proved));
}

#[test]
fn an_object_on_its_way_is_told_and_one_that_never_came_is_an_error() {
    for (written_at, code, told) in [
        (format!("{:.3}", jiff::Timestamp::now()), 0, "is not there yet, as its ledger entry is the newest"),
        ("2025-11-22T07:00:00.000Z".to_owned(), 1, "the object of entry 2 is missing"),
    ] {
        let mut copy = Copy::new();
        copy.batch(100, 5, "2025-11-22T06:00:00.000Z");
        let newest = copy.batch(101, 6, &written_at);
        fs::remove_file(copy.path(&newest)).unwrap();
        for more in [&[][..], &["--merge"]] {
            let read = copy.run("read", more);
            assert_eq!((read.status.code(), lines(&read)), (Some(code), 1), "{}", stderr(&read));
            assert!(stderr(&read).contains(&newest) && stderr(&read).contains(told), "{}", stderr(&read));
        }
    }
}
