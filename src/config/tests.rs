//! What a file as a whole must say, and the example.

mod values;

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
            poll: Duration::from_secs(1),
            consumer: Consumer::Polling,
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
            form: Form::SPOOLED,
            level: Level::Fixed(6),
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
            "k.toml:2: [archive] level = 13 is out of range; allowed: 1 to 12, or \"auto\"",
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
