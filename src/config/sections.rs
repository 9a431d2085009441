//! Every table and key of the file, with its default and its limits.

use std::path::PathBuf;

use super::error::Problem;
#[cfg(test)]
use super::file::Known;
use super::file::{File, Section, document};
use super::{
    Archive, Aws, Batch, Checkpoint, CheckpointStore, Config, Consumer, Disk, Log, LogFormat, LogLevel,
    LogTarget, Metrics, Notices, Start, Stream, value,
};
use crate::model::batch::{Compression, Form, Format, Level, Limits};
use crate::model::key::{Layout, Prefix};
use crate::model::timestamp::Timestamp;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const EIB: u64 = 1 << 60;

/// The storage classes of a general purpose bucket.
const STORAGE_CLASSES: &[(&str, &str)] = &[
    ("STANDARD", "STANDARD"),
    ("STANDARD_IA", "STANDARD_IA"),
    ("ONEZONE_IA", "ONEZONE_IA"),
    ("INTELLIGENT_TIERING", "INTELLIGENT_TIERING"),
    ("GLACIER_IR", "GLACIER_IR"),
    ("GLACIER", "GLACIER"),
    ("DEEP_ARCHIVE", "DEEP_ARCHIVE"),
    ("REDUCED_REDUNDANCY", "REDUCED_REDUNDANCY"),
];

/// The text of a file as a configuration, or all that is wrong with it at this time.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Config, Vec<Problem>> {
    let document = document(text).map_err(|problem| vec![problem])?;
    let mut file = File::new(text, document.as_table());
    let config = all(&mut file, now);
    let (problems, _) = file.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

/// Every table with its keys.
#[cfg(test)]
pub(super) fn known() -> Vec<Known> {
    let root = toml_edit::Table::new();
    let mut file = File::new("", &root);
    let _ = all(&mut file, Timestamp::LATEST);
    file.finish().1
}

fn all(file: &mut File<'_>, now: Timestamp) -> Option<Config> {
    let stream = stream(file.section("stream"), now);
    let batch = batch(file.section("batch"));
    let archive = archive(file.section("archive"));
    let disk = disk(file.section("disk"), stream.as_ref().map_or("", |stream| &stream.name));
    let checkpoint = checkpoint(file.section("checkpoint"));
    let notice = notice(file.section("notice"));
    let metrics = metrics(file.section("metrics"));
    let log = log(file.section("log"));
    let aws = aws(file.section("aws"));
    Some(Config { stream: stream?, batch, archive: archive?, disk, checkpoint, notice, metrics, log, aws })
}

fn stream(mut from: Section<'_, '_>, now: Timestamp) -> Option<Stream> {
    let by_arn = from.optional("arn", value::checked(value::stream_arn));
    let by_name = if from.has("arn") {
        let name = from.optional("name", value::checked(value::stream_name));
        if from.has("name") {
            from.complain("arn", "and name are both given; only one of them is allowed");
        }
        name
    } else {
        from.required("name", "the stream's name, or arn in its place", value::checked(value::stream_name))
    };
    let (start, refresh, poll) = (
        from.read("start", Start::TrimHorizon, value::start(now)),
        from.read("refresh", std::time::Duration::from_secs(60), value::duration("1s", "1h")),
        from.read("poll", std::time::Duration::from_secs(1), value::duration("200ms", "1m")),
    );
    let consumer = from.read("consumer", Consumer::Polling, value::consumer);
    let deaggregate = from.read("deaggregate", true, value::boolean);
    let (arn, region, name) = match by_arn {
        Some((arn, region, name)) => (Some(arn), Some(region), name),
        None => (None, None, by_name?),
    };
    Some(Stream { name, arn, region, start, refresh, poll, consumer, deaggregate })
}

fn batch(mut from: Section<'_, '_>) -> Batch {
    Batch {
        limits: Limits {
            max_age: from.read("max_age", std::time::Duration::from_secs(300), value::duration("1s", "24h")),
            max_records: from.read("max_records", 1_000_000, value::integer(1..=i64::MAX as u64)),
            // A compressed object must fit one PUT of 5 GiB, also where its content does not compress.
            max_bytes: from.read("max_bytes", 128 * MIB, value::size(64 * KIB..=4 * GIB)),
        },
        memory: from.read("memory", GIB, value::size(32 * MIB..=16 * TIB)),
    }
}

fn archive(mut from: Section<'_, '_>) -> Option<Archive> {
    let bucket = from.required("bucket", "the S3 bucket of the archive", value::checked(value::bucket));
    let layouts = &[("hive", Layout::Hive), ("firehose", Layout::Firehose)];
    let formats = &[("envelope", Format::Envelope), ("payload", Format::Payload)];
    let compressions = &[("gzip", Compression::Gzip), ("zstd", Compression::Zstd)];
    let form = Form {
        format: from.read("format", Format::Envelope, value::choice(formats, &[])),
        compression: from.read("compression", Compression::Gzip, value::choice(compressions, &[])),
    };
    let archive = Archive {
        bucket: String::new(),
        expected_bucket_owner: from.read("expected_bucket_owner", None, value::unless_empty(value::account)),
        prefix: from.read("prefix", Prefix::default(), value::checked(value::prefix)),
        layout: from.read("layout", Layout::Hive, value::choice(layouts, &[])),
        form,
        level: from.read("level", Level::Fixed(Level::USUAL), value::level(form.compression.levels())),
        storage_class: from.read("storage_class", "STANDARD", value::choice(STORAGE_CLASSES, &[])).to_owned(),
        sse_kms_key_id: from.read("sse_kms_key_id", None, value::unless_empty(value::kms_key)),
        object_lock_days: from.read("object_lock_days", 0, value::small_integer(0..=36_500)),
    };
    Some(Archive { bucket: bucket?, ..archive })
}

fn disk(mut from: Section<'_, '_>, stream: &str) -> Disk {
    let state_dir = |text: &str| {
        let path = PathBuf::from(text);
        if path.is_absolute() { Ok(path) } else { Err("is not an absolute path".to_owned()) }
    };
    let default_dir = PathBuf::from(format!("/var/lib/kinesis-keeper/{stream}"));
    Disk {
        state_dir: from.read("state_dir", default_dir, value::checked(state_dir)),
        keep: from.read("keep", std::time::Duration::from_secs(24 * 3600), value::duration("0s", "3650days")),
        keep_bytes: from.read("keep_bytes", 10 * GIB, value::size(0..=EIB)),
        // With less than a batch or two, reading would stand still more than it runs.
        spool_bytes: from.read("spool_bytes", 20 * GIB, value::size(MIB..=EIB)),
    }
}

fn checkpoint(mut from: Section<'_, '_>) -> Checkpoint {
    let stores = &[("disk", CheckpointStore::Disk), ("memory", CheckpointStore::Memory)];
    let store = from.read("store", CheckpointStore::Disk, value::choice(stores, &["dynamodb", "redis"]));
    let nothing = |_: &str| Err::<(), _>("is not available in this version".to_owned());
    from.read("table", None, value::unless_empty(nothing));
    from.read("url", None, value::unless_empty(nothing));
    Checkpoint { store }
}

fn notice(mut from: Section<'_, '_>) -> Notices {
    Notices { topic: from.read("topic_arn", None, value::unless_empty(value::topic_arn)) }
}

fn metrics(mut from: Section<'_, '_>) -> Metrics {
    Metrics {
        cloudwatch_namespace: from.read("cloudwatch_namespace", None, value::unless_empty(value::namespace)),
        statsd: from.read("statsd", None, value::unless_empty(value::host_port)),
        http: from.read("http", None, value::unless_empty(value::listen)),
        per_shard: from.read("per_shard", true, value::boolean),
    }
}

fn log(mut from: Section<'_, '_>) -> Log {
    let levels = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let targets = &[("stderr", LogTarget::Stderr), ("syslog", LogTarget::Syslog)];
    let formats = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
    let usual = Log::default();
    Log {
        target: from.read("target", usual.target, value::choice(targets, &[])),
        format: from.read("format", usual.format, value::choice(formats, &[])),
        level: from.read("level", usual.level, value::choice(levels, &[])),
    }
}

fn aws(mut from: Section<'_, '_>) -> Aws {
    Aws {
        region: from.read("region", None, value::unless_empty(value::region)),
        endpoint_url: from.read("endpoint_url", None, value::unless_empty(value::endpoint)),
        profile: from.read("profile", None, value::unless_empty(value::profile)),
        role_arn: from.read("role_arn", None, value::unless_empty(value::role_arn)),
    }
}
