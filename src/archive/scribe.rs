//! Archives as a keeper writes them, for tests of what reads them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Renderer;
use crate::ledger::start::{ConfiguredStart, settle_start};
use crate::ledger::{Ledger, Predecessor};
use crate::model::batch::{Compression, Content, Form, Format, SealReason};
use crate::model::key::{Keys, Layout, Prefix};
use crate::model::ledger::{BatchBody, Begin, BeginBody, Body, EndBody, GapBody, GapCause, SideBody};
use crate::model::metadata::{self, Source};
use crate::model::record::ArchivedRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::{ShardId, StreamIdentity};
use crate::model::timestamp::{Hour, Timestamp};
use crate::ports::{Attributes, Body as PutBody, ObjectStore};
use crate::stop::Stop;
use crate::testing::{Shelf, Shelved};

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
    /// The forms of its objects, in turn.
    pub(super) forms: Vec<Form>,
    batches: usize,
}

impl<'a> Scribe<'a> {
    pub(super) fn new(shelf: &'a Arc<Shelf>, shard: &str, parents: &[&str], range: (u128, u128)) -> Self {
        let shard = ShardId::new(shard);
        let store: Arc<dyn ObjectStore> = Arc::clone(shelf) as Arc<dyn ObjectStore>;
        settle_start(&*store, &keys(), &stream(), ConfiguredStart::TrimHorizon, &Stop::new()).unwrap();
        let ledger = Ledger::new(store, keys(), stream(), shard.clone(), "host".into());
        let mut scribe = Self {
            shelf,
            ledger,
            shard,
            last: None,
            object: String::new(),
            forms: vec![Form::SPOOLED],
            batches: 0,
        };
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
        let mut writer = self.renderer();
        for n in first..first + records {
            let end = if self.forms.len() > 1 && n % 7 == 3 { "\n" } else { "" };
            let text = format!("{{\"event\":{n},\"text\":\"{}\"}}{end}", "x".repeat(n as usize % 50));
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
        let mut writer = self.renderer();
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

    fn renderer(&self) -> Renderer {
        Renderer::new(self.forms[self.batches % self.forms.len()], 6)
    }

    /// The entry and the objects of a batch.
    fn put(&mut self, mut writer: Renderer, hour: Hour) -> String {
        let form = self.forms[self.batches % self.forms.len()];
        self.batches += 1;
        let finished = writer.finish().unwrap();
        let content = finished.content;
        let key = keys().object(Layout::Hive, hour, &self.shard, &content.first_sequence_number, form);
        let side = finished.side.as_ref().map(|side| SideBody {
            key: Keys::side(&key),
            records: side.content.records,
            content_size: side.content.content_size,
            content_sha256: side.content.content_sha256.clone(),
        });
        let previous_object_sha256 = std::mem::replace(&mut self.object, content.sha256.clone());
        let serial = self.append(Body::Batch(Box::new(BatchBody {
            key: key.clone(),
            hour,
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
            previous_object_sha256,
            side,
        })));
        if let Some(side) = finished.side {
            self.store(&Keys::side(&key), serial, &side.content, &side.parts, form);
        }
        self.store(&key, serial, &content, &finished.parts, form);
        key
    }

    fn store(&self, key: &str, serial: u64, content: &Content, parts: &[Vec<u8>], form: Form) {
        let created = stream().created;
        let source = Source { stream: "s", created, shard: &self.shard, serial: Some(serial) };
        let attributes = Attributes {
            content_type: form.compression.media_type(),
            sha256: content.sha256.clone(),
            metadata: metadata::of(&source, content, Some(6)),
            data: true,
        };
        self.shelf.put_if_absent(key, PutBody::Bytes(&parts.concat()), &attributes, &Stop::new()).unwrap();
    }

    pub(super) fn gap(&mut self, after: Option<u64>, resumes_at: u64) {
        self.gap_of(after, resumes_at, (start(), start()));
    }

    /// A gap of what arrived between these.
    pub(super) fn gap_of(&mut self, after: Option<u64>, resumes_at: u64, (from, to): (Timestamp, Timestamp)) {
        self.append(Body::Gap(GapBody {
            after: after.map(number),
            resumes_at: Some(number(resumes_at)),
            why: GapCause::Trimmed,
            certain: true,
            from,
            to,
        }));
    }

    pub(super) fn end(&mut self, children: &[&str]) {
        let children = children.iter().map(|child| ShardId::new(*child)).collect();
        self.append(Body::End(EndBody { children }));
    }
}

/// All of a bucket but the objects' levels: only who made the bytes knows those.
pub(super) fn but_levels(objects: &BTreeMap<String, Shelved>) -> BTreeMap<String, Shelved> {
    let mut objects = objects.clone();
    for object in objects.values_mut() {
        object.metadata.retain(|(name, _)| name != metadata::LEVEL);
    }
    objects
}

/// A shard of three batches: an hour apart at first, then after a gap of five hours. A gap is its end, too.
pub(super) fn with_gaps() -> Arc<Shelf> {
    let shelf = Arc::new(Shelf::new(start() + 100 * HOUR));
    let mut shard = Scribe::new(&shelf, "shardId-000000000000", &[], (0, u128::MAX));
    shard.batch(0, 10, start());
    shard.batch(10, 10, start() + HOUR);
    shard.gap_of(Some(19), 100, (start() + HOUR + HOUR / 6, start() + 6 * HOUR));
    shard.batch(100, 10, start() + 6 * HOUR);
    shard.gap_of(Some(109), 200, (start() + 7 * HOUR, start() + 9 * HOUR));
    shard.end(&[]);
    shelf
}

/// A shard that split, its two children, several hours and a gap.
pub(super) fn good() -> Arc<Shelf> {
    archive_of(150, 20)
}

/// As [`good`], its objects in every form in turn, some of them with a side object.
pub(super) fn mixed(of_parent: u64, of_child: u64) -> Arc<Shelf> {
    let form = |format, compression| Form { format, compression };
    let forms = [
        Form::SPOOLED,
        form(Format::Payload, Compression::Zstd),
        form(Format::Envelope, Compression::Zstd),
        form(Format::Payload, Compression::Gzip),
    ];
    archive_in(&forms, of_parent, of_child)
}

/// So many batches of the parent within five hours, and so many of each child.
pub(super) fn archive_of(of_parent: u64, of_child: u64) -> Arc<Shelf> {
    archive_in(&[Form::SPOOLED], of_parent, of_child)
}

fn archive_in(forms: &[Form], of_parent: u64, of_child: u64) -> Arc<Shelf> {
    let shelf = Arc::new(Shelf::new(start() + 100 * HOUR));
    let half = u128::MAX / 2;
    let mut parent = Scribe::new(&shelf, "shardId-000000000000", &[], (0, u128::MAX));
    parent.forms = forms.to_vec();
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
        child.forms = forms.to_vec();
        for n in 0..of_child {
            child.batch(2000 + 10 * n, 10, start() + 6 * HOUR);
        }
    }
    shelf
}
