//! Archives as a keeper writes them, for tests of what reads them.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::BatchWriter;
use crate::ledger::{Ledger, Predecessor};
use crate::model::batch::{Compression, Format, SealReason};
use crate::model::key::{Keys, Layout, Prefix};
use crate::model::ledger::{BatchBody, Begin, BeginBody, Body, EndBody, GapBody, GapCause};
use crate::model::metadata::{self, Source};
use crate::model::record::ArchivedRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::{ShardId, StreamIdentity};
use crate::model::timestamp::{Hour, Timestamp};
use crate::ports::{Attributes, Body as PutBody, ObjectStore};
use crate::stop::Stop;
use crate::testing::Shelf;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn start() -> Timestamp {
    "2026-11-22T05:10:00Z".parse().unwrap()
}

pub(super) fn keys() -> Keys {
    Keys::new(&Prefix::new("raw/").unwrap(), "s")
}

pub(super) fn stream() -> StreamIdentity {
    StreamIdentity { name: "s".into(), arn: "arn".into(), created: Timestamp::from_seconds(1_700_000_000) }
}

pub(super) fn number(n: u64) -> SequenceNumber {
    (10_000 + n).to_string().parse().unwrap()
}

/// Writes a shard's ledger as a keeper would.
pub(super) struct Scribe<'a> {
    shelf: &'a Arc<Shelf>,
    ledger: Ledger,
    shard: ShardId,
    last: Option<(u64, String)>,
    object: String,
}

impl<'a> Scribe<'a> {
    pub(super) fn new(shelf: &'a Arc<Shelf>, shard: &str, parents: &[&str], range: (u128, u128)) -> Self {
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

    pub(super) fn append(&mut self, body: Body) -> u64 {
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
    pub(super) fn batch(&mut self, first: u64, records: u64, at: Timestamp) -> String {
        self.batch_in(first, records, at, at.hour())
    }

    pub(super) fn batch_in(&mut self, first: u64, records: u64, at: Timestamp, hour: Hour) -> String {
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
        self.put(writer, hour)
    }

    /// One batch of aggregates: each with its number, and for each of its user records whether it
    /// lies outside the shard.
    pub(super) fn aggregates(&mut self, aggregates: &[(u64, &[bool])]) -> String {
        let mut writer = BatchWriter::new(6);
        for (n, outside) in aggregates {
            for (sub, outside) in (0..).zip(*outside) {
                writer.append(&ArchivedRecord {
                    sequence_number: &number(*n),
                    sub_sequence_number: Some(sub),
                    arrival: start(),
                    partition_key: Some("key"),
                    explicit_hash_key: Some("1"),
                    outside_hash_range: *outside,
                    data: b",\"outside_hash_range\":true,\"",
                });
            }
        }
        self.put(writer, start().hour())
    }

    /// The entry and the object of a batch.
    fn put(&mut self, mut writer: BatchWriter, hour: Hour) -> String {
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
        let source =
            Source { stream: "s", created: stream().created, shard: &self.shard, serial: Some(serial) };
        let metadata = metadata::of(&source, &content);
        let attributes =
            Attributes { content_type: "application/gzip", sha256: content.sha256, metadata, data: true };
        self.shelf
            .put_if_absent(&key, PutBody::Bytes(&finished.parts.concat()), &attributes, &Stop::new())
            .unwrap();
        key
    }

    pub(super) fn gap(&mut self, after: Option<u64>, resumes_at: u64) {
        self.append(Body::Gap(GapBody {
            after: after.map(number),
            resumes_at: Some(number(resumes_at)),
            why: GapCause::Trimmed,
            certain: true,
            from: start(),
            to: start(),
        }));
    }

    pub(super) fn end(&mut self, children: &[&str]) {
        let children = children.iter().map(|child| ShardId::new(*child)).collect();
        self.append(Body::End(EndBody { children }));
    }
}

/// A shard that split, its two children, several hours and a gap.
pub(super) fn good() -> Arc<Shelf> {
    archive_of(150, 20)
}

/// So many batches of the parent within five hours, and so many of each child.
pub(super) fn archive_of(of_parent: u64, of_child: u64) -> Arc<Shelf> {
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
