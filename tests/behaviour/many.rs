//! An archive of ten thousand objects behind a slow S3: proved and read within bounded memory.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kinesis_keeper::codec::BatchWriter;
use kinesis_keeper::ledger::start::{ConfiguredStart, settle_start};
use kinesis_keeper::ledger::{Ledger, Predecessor};
use kinesis_keeper::model::batch::{Compression, Form, Format, SealReason};
use kinesis_keeper::model::key::{Keys, Layout, Prefix};
use kinesis_keeper::model::ledger::{BatchBody, Begin, BeginBody, Body};
use kinesis_keeper::model::metadata::{self, Source};
use kinesis_keeper::model::record::ArchivedRecord;
use kinesis_keeper::model::sequence::SequenceNumber;
use kinesis_keeper::model::shard::{ShardId, StreamIdentity};
use kinesis_keeper::model::timestamp::Timestamp;
use kinesis_keeper::ports::{Attributes, Body as PutBody, ObjectStore};
use kinesis_keeper::stop::Stop;
use kinesis_keeper::testing::Shelf;

use crate::support::keeper::{Setting, binary};
use crate::support::shelf;

const STREAM: &str = "many";
const SHARDS: u64 = 4;
const BATCHES: u64 = 2_500;
const RECORDS: u64 = 5;
const MIB: u64 = 1 << 20;

/// What S3 takes to answer.
const LATENCY: Duration = Duration::from_millis(10);

/// An archive as a keeper writes it: four shards of 2,500 batches, a batch every 40 seconds.
fn archive() -> Arc<Shelf> {
    let start: Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
    let shelf = Arc::new(Shelf::new(start));
    let stream = StreamIdentity {
        name: STREAM.into(),
        arn: format!("arn:aws:kinesis:us-east-1:000000000000:stream/{STREAM}"),
        created: start,
    };
    let width = u128::MAX / u128::from(SHARDS) + 1;
    for n in 0..SHARDS {
        let range = (width * u128::from(n), (width - 1).wrapping_add(width * u128::from(n)));
        let range = (range.0, if n + 1 == SHARDS { u128::MAX } else { range.1 });
        one_shard(&shelf, &stream, &ShardId::new(format!("shardId-{n:012}")), range);
    }
    shelf
}

fn one_shard(shelf: &Arc<Shelf>, stream: &StreamIdentity, shard: &ShardId, range: (u128, u128)) {
    let keys = Keys::new(&Prefix::new("").unwrap(), STREAM);
    let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
    settle_start(&*store, &keys, stream, ConfiguredStart::TrimHorizon, &Stop::new()).unwrap();
    let ledger = Ledger::new(store, keys.clone(), stream.clone(), shard.clone(), "host".into());
    let begin = Body::Begin(BeginBody {
        parents: Vec::new(),
        starting_hash_key: range.0.to_string(),
        ending_hash_key: range.1.to_string(),
        begin: Begin::TRIM_HORIZON,
    });
    let stop = Stop::new();
    let composed = ledger.compose(Predecessor::None, begin, stream.created).unwrap();
    ledger.append(&composed, &stop).unwrap();
    let (mut before, mut object) = (composed.stored.sha256, String::new());
    for batch in 0..BATCHES {
        let at = stream.created + Duration::from_secs(40 * batch);
        let (content, bytes) = lines(batch, at);
        let form = Form { format: Format::Envelope, compression: Compression::Gzip };
        let key = keys.object(Layout::Hive, at.hour(), shard, &content.first_sequence_number, form);
        let body = Body::Batch(Box::new(BatchBody {
            key: key.clone(),
            hour: at.hour(),
            format: form.format,
            compression: form.compression,
            deaggregate: true,
            first_sequence_number: content.first_sequence_number.clone(),
            last_sequence_number: content.last_sequence_number.clone(),
            records: content.records,
            content_size: content.content_size,
            content_sha256: content.content_sha256.clone(),
            first_arrival: content.first_arrival,
            last_arrival: content.last_arrival,
            sealed_by: SealReason::Age,
            previous_object_sha256: std::mem::replace(&mut object, content.sha256.clone()),
            side: None,
        }));
        let predecessor = Predecessor::Entry { serial: batch, sha256: &before };
        let composed = ledger.compose(predecessor, body, at).unwrap();
        ledger.append(&composed, &stop).unwrap();
        before = composed.stored.sha256;
        let source = Source { stream: STREAM, created: stream.created, shard, serial: Some(batch + 1) };
        let attributes = Attributes {
            content_type: "application/gzip",
            sha256: content.sha256.clone(),
            metadata: metadata::of(&source, &content, Some(1)),
            data: true,
        };
        shelf.put_if_absent(&key, PutBody::Bytes(&bytes), &attributes, &stop).unwrap();
    }
}

fn lines(batch: u64, at: Timestamp) -> (kinesis_keeper::model::batch::Content, Vec<u8>) {
    let mut writer = BatchWriter::new(1);
    for n in 0..RECORDS {
        let number: SequenceNumber = (1_000_000 + batch * RECORDS + n).to_string().parse().unwrap();
        writer.append(&ArchivedRecord {
            sequence_number: &number,
            sub_sequence_number: None,
            arrival: at + Duration::from_millis(n),
            partition_key: Some("key"),
            explicit_hash_key: None,
            outside_hash_range: false,
            data: b"{\"event\":\"view\"}",
        });
    }
    let finished = writer.finish().unwrap();
    (finished.content, finished.parts.concat())
}

/// Runs a command to its end; what it printed, and the most memory that it held.
fn run(setting: &Setting, name: &str, more: &[&str]) -> (Vec<u8>, u64) {
    let mut child = Command::new(binary())
        .arg(name)
        .arg(setting.file())
        .args(more)
        .envs(setting.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut out = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut bytes).map(|_| bytes)
    });
    let mut peak = 0;
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) * 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let out = reading.join().unwrap().unwrap();
    assert!(ended.success(), "{name}: {}", String::from_utf8_lossy(&out));
    (out, peak)
}

#[test]
fn ten_thousand_objects_are_proved_and_read_within_bounded_memory_from_a_slow_s3() {
    let shelf = archive();
    let server = shelf::serve(&shelf, LATENCY);
    let mut setting = Setting::new(STREAM, "bucket");
    setting.s3 = server.endpoint().to_owned();
    setting.write();
    let (report, proving) = run(&setting, "verify", &["--at-once", "64"]);
    let report = String::from_utf8(report).unwrap();
    assert!(report.contains("the archive is whole: 4 ledgers, 10004 entries, 10000 objects"), "{report}");
    let (lines, reading) = run(&setting, "read", &["--at-once", "32"]);
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count() as u64, SHARDS * BATCHES * RECORDS);
    println!("peak memory over 10,000 objects: verify {} MiB, read {} MiB", proving / MIB, reading / MIB);
    assert!(proving < 200 * MIB && reading < 200 * MIB, "{} and {} MiB", proving / MIB, reading / MIB);
}
