use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sections::known;
use super::*;
use crate::error::{ErrorKind, Failure};

const REQUIRED: &str = "[stream]\nname = \"s\"\n[archive]\nbucket = \"bucket\"\n";
const EXAMPLE: &str = include_str!("../../config/kinesis-keeper.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("k.toml")).map_err(|error| error.to_string())
}

/// A file with the required keys, and `lines` in `[table]`.
fn with(table: &str, lines: &str) -> String {
    let (stream, archive) = match table {
        "stream" => (lines, ""),
        "archive" => ("", lines),
        _ => ("", ""),
    };
    let more =
        if stream.is_empty() && archive.is_empty() { format!("[{table}]\n{lines}\n") } else { String::new() };
    format!("[stream]\nname = \"s\"\n{stream}\n[archive]\nbucket = \"bucket\"\n{archive}\n{more}")
}

fn good(table: &str, line: &str) -> Config {
    parse(&with(table, line)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Line and message of the one thing that is wrong.
#[track_caller]
fn bad(table: &str, line: &str) -> String {
    let text = with(table, line);
    let error = parse(&text).expect_err(line);
    let at = 1 + text.lines().position(|one| one == line).unwrap();
    let start = format!("k.toml:{at}: [{table}] ");
    error.strip_prefix(&start).unwrap_or_else(|| panic!("{error:?} does not begin with {start:?}")).to_owned()
}

#[test]
fn only_a_name_and_a_bucket_are_required() {
    let config = parse(REQUIRED).unwrap();
    let expected = Config {
        stream: Stream {
            name: "s".into(),
            arn: None,
            region: None,
            start: Start::TrimHorizon,
            refresh: Duration::from_secs(60),
            deaggregate: true,
        },
        batch: Batch {
            limits: Limits {
                max_age: Duration::from_secs(300),
                max_records: 1_000_000,
                max_bytes: 128 << 20,
            },
            memory: 1 << 30,
        },
        archive: Archive {
            bucket: "bucket".into(),
            expected_bucket_owner: None,
            prefix: Prefix::default(),
            layout: Layout::Hive,
            format: Format::Envelope,
            compression: Compression::Gzip,
            level: 6,
            storage_class: "STANDARD".into(),
            sse_kms_key_id: None,
            object_lock_days: 0,
        },
        disk: Disk {
            state_dir: PathBuf::from("/var/lib/kinesis-keeper/s"),
            keep: Duration::from_secs(24 * 3600),
            keep_bytes: 10 << 30,
            spool_bytes: 20 << 30,
        },
        checkpoint: Checkpoint { store: CheckpointStore::Disk },
        notice: Notices { topic: None },
        metrics: Metrics { cloudwatch_namespace: None, statsd: None, http: None, per_shard: true },
        log: Log { target: LogTarget::Stderr, format: LogFormat::Text, level: LogLevel::Info },
        aws: Aws { region: None, endpoint_url: None, profile: None, role_arn: None },
    };
    assert_eq!(config, expected);
}

#[test]
fn the_example_says_the_defaults() {
    let example = Config::parse(EXAMPLE, Path::new("config/kinesis-keeper.toml")).unwrap();
    let least = "[stream]\nname = \"clickstream\"\n[archive]\nbucket = \"my-archive\"\n";
    assert_eq!(example, parse(least).unwrap());
}

#[test]
fn the_example_has_every_known_key() {
    let document = toml_edit::Document::parse(EXAMPLE).unwrap();
    let known = known();
    assert_eq!(known.len(), 9);
    for section in known {
        let table = document[section.table].as_table().unwrap();
        for key in section.keys {
            // A stream has a name or an ARN, never both: the example tells of the ARN in a comment.
            let there =
                table.contains_key(key) || key == "arn" && EXAMPLE.contains("arn = \"arn:aws:kinesis:");
            assert!(there, "[{}] {key} is not in the example", section.table);
        }
    }
}

#[test]
fn what_is_missing_is_named_with_its_tables_line() {
    assert_eq!(
        parse("").unwrap_err(),
        "k.toml:1: [stream] name is missing; it is required: the stream's name, or arn in its place\n\
         k.toml:1: [archive] bucket is missing; it is required: the S3 bucket of the archive"
    );
    assert_eq!(
        parse("[stream]\nname = \"s\"\n\n[archive]\n").unwrap_err(),
        "k.toml:4: [archive] bucket is missing; it is required: the S3 bucket of the archive"
    );
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_key() {
    let text = format!("{REQUIRED}[batch]\n\nmax_agee = \"5m\"\n");
    let error = Config::parse(&text, Path::new("clickstream.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "clickstream.toml:7: [batch] max_agee is not a known key; did you mean max_age?"
    );
    let failure = Failure::from(error);
    assert_eq!((failure.kind, failure.exit_code()), (ErrorKind::Usage, 2));
    assert_eq!(bad("batch", "level = 3"), "level is not a known key; did you mean [archive] level?");
    assert_eq!(bad("log", "zzz = 3"), "zzz is not a known key; known are target, format, level");
    assert_eq!(bad("log", "levels.x = 3"), "levels is not a known key; did you mean level?");
}

#[test]
fn an_unknown_table_is_told_with_the_nearest_table() {
    let wrong = |more: &str| parse(&format!("{more}\n{REQUIRED}")).unwrap_err();
    assert_eq!(wrong("[bacth]\n"), "k.toml:1: [bacth] is not a known table; did you mean [batch]?");
    assert_eq!(wrong("[[bacth]]\n"), "k.toml:1: [bacth] is not a known table; did you mean [batch]?");
    assert_eq!(
        wrong("[zzz]\n"),
        "k.toml:1: [zzz] is not a known table; known are [stream], [batch], [archive], [disk], \
         [checkpoint], [notice], [metrics], [log], [aws]"
    );
    assert_eq!(wrong("[[batch]]\n"), "k.toml:1: [batch] must be a table, not an array of tables");
    assert_eq!(wrong("batch = 3"), "k.toml:1: [batch] must be a table, not an integer");
    assert_eq!(
        wrong("memory = 3"),
        "k.toml:1: memory stands outside of its table; did you mean [batch] memory?"
    );
    assert_eq!(
        wrong("memroy = 3"),
        "k.toml:1: memroy is not a known key, and stands outside of all tables; did you mean memory?"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_by_line() {
    let text = "[archive]\nlevel = 13\nbucket = \"B\"\n[batch]\nmax_age = 5\nzzz = 1\n[stream]\n";
    let lines: Vec<String> = parse(text).unwrap_err().lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "k.toml:2: [archive] level = 13 is out of range; allowed: 1 to 12",
            "k.toml:3: [archive] bucket = \"B\" is not a bucket's name: it has 3 to 63 characters",
            "k.toml:5: [batch] max_age must be a duration such as \"5m\", not an integer",
            "k.toml:6: [batch] zzz is not a known key; known are max_age, max_records, max_bytes, memory",
            "k.toml:7: [stream] name is missing; it is required: the stream's name, or arn in its place",
        ]
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let error = parse("[stream]\nname = s\n").unwrap_err();
    assert!(error.starts_with("k.toml:2: not TOML: "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    let error = parse("[stream]\nname = \"s\"\nname = \"t\"\n").unwrap_err();
    assert!(error.starts_with("k.toml:3: not TOML: "), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/no/such/file.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/no/such/file.toml: cannot read the configuration file: "), "{error}");
}

#[test]
fn a_stream_has_a_name_or_an_arn() {
    let arn = "arn:aws:kinesis:eu-central-1:123456789012:stream/clicks";
    let config = parse(&format!("[stream]\narn = \"{arn}\"\n[archive]\nbucket = \"bucket\"\n")).unwrap();
    assert_eq!(config.stream.name, "clicks");
    assert_eq!(config.stream.arn.as_deref(), Some(arn));
    assert_eq!(config.stream.region.as_deref(), Some("eu-central-1"));
    assert_eq!(config.disk.state_dir, Path::new("/var/lib/kinesis-keeper/clicks"));
    assert_eq!(
        bad("stream", &format!("arn = \"{arn}\"")),
        "arn and name are both given; only one of them is allowed"
    );
    for wrong in [
        "arn:aws:s3:eu-central-1:123456789012:stream/clicks",
        "arn:aws:kinesis::123456789012:stream/clicks",
        "arn:aws:kinesis:eu-central-1:123:stream/clicks",
        "arn:aws:kinesis:eu-central-1:123456789012:stream/",
        "arn:aws:kinesis:eu-central-1:123456789012:clicks",
        "clicks",
    ] {
        let text = format!("[stream]\narn = \"{wrong}\"\n[archive]\nbucket = \"bucket\"\n");
        let error = parse(&text).unwrap_err();
        assert_eq!(
            error,
            format!(
                "k.toml:2: [stream] arn = \"{wrong}\" is not a stream's ARN; \
                 allowed: arn:aws:kinesis:REGION:ACCOUNT:stream/NAME"
            )
        );
    }
}

#[test]
fn a_streams_name_keeps_kinesis_pattern() {
    let named = |name: &str| parse(&format!("[stream]\nname = \"{name}\"\n[archive]\nbucket = \"bucket\"\n"));
    for right in ["a", "A_b.c-9", &"x".repeat(128)] {
        assert_eq!(named(right).unwrap().stream.name, right);
    }
    for wrong in ["", "a b", "a/b", "é", ".", "..", &"x".repeat(129)] {
        let error = named(wrong).unwrap_err();
        assert_eq!(
            error,
            format!(
                "k.toml:2: [stream] name = {wrong:?} is not a stream's name; \
                 allowed: 1 to 128 of a-z A-Z 0-9 _ . -"
            )
        );
    }
}

#[test]
fn a_start_is_a_word_or_a_time() {
    let start = |line: &str| good("stream", line).stream.start;
    assert_eq!(start("start = \"latest\""), Start::Latest);
    assert_eq!(start("start = \"trim_horizon\""), Start::TrimHorizon);
    let at = Start::At("2026-11-22T05:11:00Z".parse().unwrap());
    assert_eq!(start("start = \"2026-11-22T05:11:00Z\""), at);
    assert_eq!(start("start = \"2026-11-22T06:11:00+01:00\""), at);
    assert_eq!(start("start = 2026-11-22T05:11:00Z"), at);
    let allowed = "allowed: trim_horizon, latest, or an RFC 3339 time such as 2026-11-22T05:11:00Z";
    assert_eq!(bad("stream", "start = \"now\""), format!("start = \"now\" is not a start; {allowed}"));
    assert_eq!(
        bad("stream", "start = 2026-11-22"),
        format!("start = \"2026-11-22\" is not a start; {allowed}")
    );
    assert_eq!(bad("stream", "start = 5"), "start must be a string or a time, not an integer");
}

#[test]
fn durations_keep_their_limits() {
    for (table, key, low, high, below, above) in [
        ("stream", "refresh", "1s", "1h", "999ms", "61m"),
        ("batch", "max_age", "1s", "24h", "0s", "25h"),
        ("disk", "keep", "0s", "3650days", "", "11years"),
    ] {
        for right in [low, high] {
            good(table, &format!("{key} = \"{right}\""));
        }
        for wrong in [below, above].into_iter().filter(|text| !text.is_empty()) {
            assert_eq!(
                bad(table, &format!("{key} = \"{wrong}\"")),
                format!("{key} = \"{wrong}\" is out of range; allowed: {low} to {high}")
            );
        }
        assert_eq!(
            bad(table, &format!("{key} = \"5 parsecs\"")),
            format!("{key} = \"5 parsecs\" is not a duration such as \"5m\"; allowed: {low} to {high}")
        );
        let wrong = bad(table, &format!("{key} = true"));
        assert_eq!(wrong, format!("{key} must be a duration such as \"5m\", not a boolean"));
    }
    assert_eq!(good("disk", "keep = \"0s\"").disk.keep, Duration::ZERO);
}

#[test]
fn sizes_keep_their_limits() {
    assert_eq!(good("batch", "max_bytes = \"64 MiB\"").batch.limits.max_bytes, 64 << 20);
    assert_eq!(good("batch", "max_bytes = \"64MB\"").batch.limits.max_bytes, 64_000_000);
    assert_eq!(good("batch", "max_bytes = 65536").batch.limits.max_bytes, 65_536);
    assert_eq!(good("batch", "memory = \"32 MiB\"").batch.memory, 32 << 20);
    for (table, key, wrong, allowed) in [
        ("batch", "max_bytes", "65535", "64 KiB to 4 GiB"),
        ("batch", "max_bytes", "\"4.1 GiB\"", "64 KiB to 4 GiB"),
        ("batch", "max_bytes", "-1", "64 KiB to 4 GiB"),
        ("batch", "memory", "\"31 MiB\"", "32 MiB to 16 TiB"),
        ("disk", "keep_bytes", "\"2 EiB\"", "0 B to 1 EiB"),
        ("disk", "spool_bytes", "\"1 KiB\"", "1 MiB to 1 EiB"),
    ] {
        assert_eq!(
            bad(table, &format!("{key} = {wrong}")),
            format!("{key} = {wrong} is out of range; allowed: {allowed}")
        );
    }
    assert_eq!(
        bad("batch", "memory = \"much\""),
        "memory = \"much\" is not a size such as \"64 MiB\"; allowed: 32 MiB to 16 TiB"
    );
    assert_eq!(bad("batch", "memory = 1.5"), "memory must be a size such as \"64 MiB\", not a float");
}

#[test]
fn integers_keep_their_limits() {
    assert_eq!(good("batch", "max_records = 1").batch.limits.max_records, 1);
    assert_eq!(bad("batch", "max_records = 0"), "max_records = 0 is out of range; allowed: 1 or more");
    assert_eq!(bad("batch", "max_records = \"1\""), "max_records must be an integer, not a string");
    assert_eq!(good("archive", "level = 12").archive.level, 12);
    assert_eq!(bad("archive", "level = 0"), "level = 0 is out of range; allowed: 1 to 12");
    assert_eq!(good("archive", "object_lock_days = 36500").archive.object_lock_days, 36_500);
    assert_eq!(
        bad("archive", "object_lock_days = 36501"),
        "object_lock_days = 36501 is out of range; allowed: 0 to 36500"
    );
}

#[test]
fn a_bucket_keeps_s3s_naming_rules() {
    let named = |name: &str| parse(&format!("[stream]\nname = \"s\"\n[archive]\nbucket = \"{name}\"\n"));
    for right in ["abc", "my.archive-1", &"b".repeat(63)] {
        assert_eq!(named(right).unwrap().archive.bucket, right);
    }
    for (wrong, why) in [
        ("ab", "it has 3 to 63 characters"),
        (&*"b".repeat(64), "it has 3 to 63 characters"),
        ("My-archive", "only lower-case letters, digits, dots and hyphens are allowed"),
        ("my_archive", "only lower-case letters, digits, dots and hyphens are allowed"),
        ("-archive", "it begins and ends with a letter or a digit"),
        ("archive.", "it begins and ends with a letter or a digit"),
        ("my..archive", "two dots may not stand side by side"),
        ("192.168.1.1", "it may not look like an IP address"),
    ] {
        let error = named(wrong).unwrap_err();
        assert_eq!(error, format!("k.toml:4: [archive] bucket = \"{wrong}\" is not a bucket's name: {why}"));
    }
}

#[test]
fn the_archives_other_settings_are_checked() {
    assert_eq!(good("archive", "prefix = \"raw/\"").archive.prefix.as_str(), "raw/");
    assert_eq!(
        bad("archive", "prefix = \"/raw\""),
        "prefix = \"/raw\" cannot be a prefix: empty path segments confuse S3 tools"
    );
    let owner = good("archive", "expected_bucket_owner = \"123456789012\"").archive.expected_bucket_owner;
    assert_eq!(owner.as_deref(), Some("123456789012"));
    assert_eq!(
        bad("archive", "expected_bucket_owner = \"me\""),
        "expected_bucket_owner = \"me\" is not an account's number; allowed: 12 digits"
    );
    assert_eq!(good("archive", "layout = \"firehose\"").archive.layout, Layout::Firehose);
    assert_eq!(
        bad("archive", "layout = \"flat\""),
        "layout = \"flat\" is not one of the choices; allowed: hive, firehose"
    );
    assert_eq!(good("archive", "storage_class = \"GLACIER_IR\"").archive.storage_class, "GLACIER_IR");
    assert_eq!(
        bad("archive", "storage_class = \"standard\""),
        "storage_class = \"standard\" is not one of the choices; allowed: STANDARD, STANDARD_IA, ONEZONE_IA, \
         INTELLIGENT_TIERING, GLACIER_IR, GLACIER, DEEP_ARCHIVE, REDUCED_REDUNDANCY"
    );
    let key = good("archive", "sse_kms_key_id = \"alias/archive\"").archive.sse_kms_key_id;
    assert_eq!(key.as_deref(), Some("alias/archive"));
    assert_eq!(
        bad("archive", "sse_kms_key_id = \"a b\""),
        "sse_kms_key_id = \"a b\" is not a KMS key; allowed: its id, alias or ARN"
    );
}

#[test]
fn keys_and_metadata_fit_s3s_limits_with_the_longest_names() {
    use crate::model::key::{Keys, MAX_PREFIX};
    use crate::model::shard::ShardId;
    let prefix = "p".repeat(MAX_PREFIX);
    let name = "s".repeat(128);
    let config = parse(&format!(
        "[stream]\nname = \"{name}\"\n[archive]\nbucket = \"bucket\"\nprefix = \"{prefix}\"\n"
    ));
    let config = config.unwrap();
    let keys = Keys::new(&config.archive.prefix, &config.stream.name);
    let shard = ShardId::new("x".repeat(128));
    let number = "9".repeat(129).parse().unwrap();
    let time = Timestamp::from_seconds(253_402_300_799);
    let form = (Format::Payload, Compression::Zstd);
    for key in [
        keys.object(Layout::Hive, time.hour(), &shard, &number, form),
        keys.entry(&shard, time, u64::MAX),
        keys.repaired(&shard, time, &number),
    ] {
        assert!(key.len() <= 1024, "{} bytes: {key}", key.len());
    }
    // The metadata's values: a version, the stream and its time, a shard, a serial, two numbers, a
    // count, a size, two hashes, two times; the thirteen names take under 30 bytes each.
    let values = 1 + 128 + 24 + 128 + 20 + 2 * 129 + 20 + 20 + 2 * 64 + 2 * 24;
    assert!(values + 13 * 30 <= 2048);
}

#[test]
fn what_later_versions_know_is_refused_in_this_one() {
    for (table, line, message) in [
        (
            "stream",
            "consumer = { fan_out = \"me\" }",
            "consumer = { fan_out } is not available in this version; allowed: polling",
        ),
        ("archive", "format = \"payload\"", "format = \"payload\" is not available in this version"),
        ("archive", "compression = \"zstd\"", "compression = \"zstd\" is not available in this version"),
        ("checkpoint", "store = \"dynamodb\"", "store = \"dynamodb\" is not available in this version"),
        ("checkpoint", "store = \"redis\"", "store = \"redis\" is not available in this version"),
        ("checkpoint", "table = \"t\"", "table = \"t\" is not available in this version"),
        ("checkpoint", "url = \"u\"", "url = \"u\" is not available in this version"),
    ] {
        assert_eq!(bad(table, line), message);
    }
    assert_eq!(good("checkpoint", "store = \"memory\"").checkpoint.store, CheckpointStore::Memory);
    assert_eq!(
        bad("checkpoint", "store = \"tape\""),
        "store = \"tape\" is not one of the choices; allowed: disk, memory"
    );
    assert_eq!(
        bad("stream", "consumer = \"pull\""),
        "consumer = \"pull\" is not one of the choices; allowed: polling"
    );
    assert_eq!(bad("stream", "consumer = {}"), "consumer is a table without fan_out; allowed: polling");
    good("stream", "consumer = \"polling\"");
}

#[test]
fn the_state_directory_is_absolute() {
    assert_eq!(good("disk", "state_dir = \"/srv/k\"").disk.state_dir, Path::new("/srv/k"));
    assert_eq!(bad("disk", "state_dir = \"k\""), "state_dir = \"k\" is not an absolute path");
}

#[test]
fn a_topic_is_an_sns_arn() {
    let topic = good("notice", "topic_arn = \"arn:aws-cn:sns:cn-north-1:123456789012:t.fifo\"").notice.topic;
    let topic = topic.unwrap();
    assert_eq!((topic.region(), topic.is_fifo()), ("cn-north-1", true));
    assert_eq!(topic.to_string(), topic.as_str());
    assert_eq!(good("notice", "topic_arn = \"\"").notice.topic, None);
    for wrong in [
        "arn:aws:sqs:us-east-1:123456789012:t",
        "arn:aws:sns:us-east-1:123456789012:a b",
        "arn:aws:sns:us-east-1:123456789012:.fifo",
        "arn:aws:sns:us-east-1:123456789012:t:6a2f",
        "t",
    ] {
        assert_eq!(
            bad("notice", &format!("topic_arn = \"{wrong}\"")),
            format!(
                "topic_arn = \"{wrong}\" is not an SNS topic's ARN; allowed: arn:aws:sns:REGION:ACCOUNT:TOPIC"
            )
        );
    }
}

#[test]
fn metrics_go_to_addresses() {
    let http = |text: &str| good("metrics", &format!("http = \"{text}\"")).metrics.http;
    let there = http("127.0.0.1:9464").unwrap();
    assert_eq!((there.host(), there.port()), ("127.0.0.1", 9464));
    let there = http("[::1]:9464").unwrap();
    assert_eq!((there.host(), there.port(), there.to_string().as_str()), ("::1", 9464, "[::1]:9464"));
    assert_eq!(http(""), None);
    assert_eq!(
        good("metrics", "statsd = \"statsd.local:8125\"").metrics.statsd.unwrap().host(),
        "statsd.local"
    );
    for wrong in ["9464", "host", "host:", "host:0", "host:65536", ":9464", "::1:9464", "[x]:1", "a b:1"] {
        assert_eq!(
            bad("metrics", &format!("statsd = \"{wrong}\"")),
            format!("statsd = \"{wrong}\" is not an address; allowed: host:port such as 127.0.0.1:9464")
        );
    }
    let namespace = good("metrics", "cloudwatch_namespace = \"KinesisKeeper\"").metrics.cloudwatch_namespace;
    assert_eq!(namespace.as_deref(), Some("KinesisKeeper"));
    let wrong = bad("metrics", "cloudwatch_namespace = \"AWS/Kinesis\"");
    assert!(wrong.ends_with("not beginning with AWS/"), "{wrong}");
    assert!(!good("metrics", "per_shard = false").metrics.per_shard);
    assert_eq!(bad("metrics", "per_shard = 1"), "per_shard must be true or false, not an integer");
}

#[test]
fn the_log_has_its_choices() {
    let log = good("log", "target = \"syslog\"\nformat = \"json\"\nlevel = \"debug\"").log;
    assert_eq!(log, Log { target: LogTarget::Syslog, format: LogFormat::Json, level: LogLevel::Debug });
    for (line, allowed) in [
        ("target = \"file\"", "stderr, syslog"),
        ("format = \"xml\"", "text, json"),
        ("level = \"loud\"", "error, warn, info, debug, trace"),
    ] {
        assert_eq!(bad("log", line), format!("{line} is not one of the choices; allowed: {allowed}"));
    }
}

#[test]
fn aws_settings_are_checked() {
    let aws = good(
        "aws",
        "region = \"eu-central-1\"\nendpoint_url = \"http://127.0.0.1:4566\"\nprofile = \"ops\"\n\
         role_arn = \"arn:aws:iam::123456789012:role/team/keeper\"",
    )
    .aws;
    assert_eq!(aws.region.as_deref(), Some("eu-central-1"));
    assert_eq!(aws.endpoint_url.as_deref(), Some("http://127.0.0.1:4566"));
    assert_eq!(aws.profile.as_deref(), Some("ops"));
    assert_eq!(aws.role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/team/keeper"));
    for (line, said) in [
        ("region = \"Frankfurt am Main\"", "is not a region's name; allowed: one such as eu-central-1"),
        (
            "endpoint_url = \"localhost:1\"",
            "is not an address; allowed: http://HOST:PORT or https://HOST:PORT",
        ),
        ("endpoint_url = \"http://\"", "is not an address; allowed: http://HOST:PORT or https://HOST:PORT"),
        ("profile = \" ops\"", "is not a profile's name"),
        ("role_arn = \"keeper\"", "is not a role's ARN; allowed: arn:aws:iam::ACCOUNT:role/NAME"),
    ] {
        assert_eq!(bad("aws", line), format!("{line} {said}"));
    }
}

#[test]
fn a_table_may_be_written_inline_or_dotted() {
    let inline = parse("stream = { name = \"s\" }\narchive.bucket = \"bucket\"\n").unwrap();
    assert_eq!(inline, parse(REQUIRED).unwrap());
    let error = parse("stream = { name = \"s\", nane = 1 }\narchive.bucket = 5\n").unwrap_err();
    assert_eq!(
        error,
        "k.toml:1: [stream] nane is not a known key; did you mean name?\n\
         k.toml:2: [archive] bucket must be a string, not an integer"
    );
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_no_harm() {
    let text = format!("\u{feff}{}", REQUIRED.replace('\n', "\r\n"));
    assert_eq!(parse(&text), parse(REQUIRED));
    let error = parse(&format!("{text}[batch]\r\nx = 1\r\n")).unwrap_err();
    assert!(error.starts_with("k.toml:6: [batch] x "), "{error}");
}
