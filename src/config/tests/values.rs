//! Each value's own limits and choices.

use super::*;
use crate::model::batch::{Compression, Format};

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
fn a_start_that_is_still_to_come_is_refused_with_its_line() {
    let now = "2026-11-22T05:00:00Z".parse().unwrap();
    let at = |start: &str| {
        let text = with("stream", &format!("start = {start}"));
        let outcome = Config::parse_at(&text, Path::new("k.toml"), now);
        outcome.map(|config| config.stream.start).map_err(|error| error.to_string())
    };
    // Clocks differ, and a file may say the present minute.
    assert_eq!(at("2026-11-22T05:01:00Z"), Ok(Start::At("2026-11-22T05:01:00Z".parse().unwrap())));
    for later in ["\"2026-11-22T05:01:01Z\"", "\"2027-01-01T00:00:00Z\""] {
        let said = format!(
            "k.toml:3: [stream] start = {later} lies in the future: it is 2026-11-22T05:00:00.000Z now"
        );
        let error = at(later).unwrap_err();
        assert!(error.starts_with(&said), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.toml");
    std::fs::write(&path, with("stream", "start = 9000-01-01T00:00:00Z")).unwrap();
    let failure = Failure::from(Config::load(&path).unwrap_err());
    assert!(failure.exit_code() == 2 && failure.message.contains("lies in the future"), "{failure}");
}

#[test]
fn durations_keep_their_limits() {
    for (table, key, low, high, below, above) in [
        ("stream", "refresh", "1s", "1h", "999ms", "61m"),
        ("stream", "poll", "200ms", "1m", "199ms", "61s"),
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
fn a_level_is_one_of_its_compressor_or_auto() {
    for compression in ["gzip", "zstd"] {
        let with_level = |level: &str| {
            let text = format!("compression = \"{compression}\"\nlevel = {level}\nformat = \"payload\"");
            parse(&with("archive", &text)).map(|config| config.archive.level)
        };
        let highest = if compression == "gzip" { 12 } else { 22 };
        for level in 1..=highest {
            assert_eq!(with_level(&level.to_string()), Ok(Level::Fixed(level)), "{compression}");
        }
        assert_eq!(with_level("\"auto\""), Ok(Level::Auto), "{compression}");
        let allowed = format!("allowed: 1 to {highest}, or \"auto\"");
        for wrong in ["0".to_owned(), (highest + 1).to_string(), "-6".to_owned(), i64::MAX.to_string()] {
            let told = with_level(&wrong).unwrap_err();
            let end = format!(":7: [archive] level = {wrong} is out of range; {allowed}");
            assert!(told.ends_with(&end), "{told}");
        }
        let told = with_level("\"Auto\"").unwrap_err();
        assert!(
            told.ends_with(&format!(":7: [archive] level = \"Auto\" is not a level; {allowed}")),
            "{told}"
        );
        let told = with_level("6.0").unwrap_err();
        assert!(told.ends_with(" level must be an integer or \"auto\", not a float"), "{told}");
    }
}

#[test]
fn integers_keep_their_limits() {
    assert_eq!(good("batch", "max_records = 1").batch.limits.max_records, 1);
    assert_eq!(bad("batch", "max_records = 0"), "max_records = 0 is out of range; allowed: 1 or more");
    assert_eq!(bad("batch", "max_records = \"1\""), "max_records must be an integer, not a string");
    let form = good("archive", "compression = \"zstd\"\nformat = \"payload\"").archive.form;
    assert_eq!(form, Form { format: Format::Payload, compression: Compression::Zstd });
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
    let form = Form { format: Format::Payload, compression: Compression::Zstd };
    for key in [
        keys.object(Layout::Hive, time.hour(), &shard, &number, form),
        Keys::side(&keys.object(Layout::Hive, time.hour(), &shard, &number, form)),
        keys.entry(&shard, time, u64::MAX),
        keys.repaired(&shard, time, (&number, &"f".repeat(64))),
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
}

#[test]
fn a_consumer_is_polling_or_a_name() {
    let allowed = "allowed: polling, or { fan_out = \"name\" }";
    let said = |line: &str| bad("stream", line);
    assert_eq!(
        said("consumer = \"pull\""),
        format!("consumer = \"pull\" is not one of the choices; {allowed}")
    );
    assert_eq!(said("consumer = {}"), format!("consumer is a table without fan_out; {allowed}"));
    assert_eq!(
        said("consumer = { fan_out = \"a\", nam = 1 }"),
        format!("consumer has the key nam; {allowed}")
    );
    for name in ["", "a b", "ä", &"x".repeat(129)] {
        let complaint = said(&format!("consumer = {{ fan_out = \"{name}\" }}"));
        assert!(complaint.contains("is not a consumer's name"), "{complaint}");
    }
    assert!(said("consumer = { fan_out = 3 }").starts_with("consumer fan_out "));
    assert_eq!(good("stream", "consumer = \"polling\"").stream.consumer, Consumer::Polling);
    let named = good("stream", "consumer = { fan_out = \"My_keeper.v-1\" }").stream.consumer;
    assert_eq!(named, Consumer::FanOut("My_keeper.v-1".into()));
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
    assert_eq!(http(":9464").unwrap(), http("127.0.0.1:9464").unwrap(), "this machine and nobody else");
    for wrong in ["9464", "host", "host:", "host:0", "host:65536", ":9464", "::1:9464", "[x]:1", "a b:1"] {
        assert_eq!(
            bad("metrics", &format!("statsd = \"{wrong}\"")),
            format!("statsd = \"{wrong}\" is not an address; allowed: host:port such as 127.0.0.1:9464")
        );
    }
    for name in ["KinesisKeeper", "My Company/Kinesis", "a.b-c_d#e:f 0"] {
        let namespace =
            good("metrics", &format!("cloudwatch_namespace = \"{name}\"")).metrics.cloudwatch_namespace;
        assert_eq!(namespace.as_deref(), Some(name));
    }
    for name in ["AWS/Kinesis", ":a", " a", "a ", " ", "a\tb", "a,b", "ä"] {
        let wrong = bad("metrics", &format!("cloudwatch_namespace = '{name}'"));
        assert!(wrong.ends_with("not beginning with AWS/"), "{wrong}");
    }
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
fn an_endpoint_has_a_host_and_a_port_that_there_is() {
    let of = |url: &str| format!("endpoint_url = \"{url}\"");
    for url in
        ["https://kinesis.eu-central-1.amazonaws.com", "http://h:1/a/b", "https://[::1]", "http://[::1]:80/"]
    {
        assert_eq!(good("aws", &of(url)).aws.endpoint_url.as_deref(), Some(url));
    }
    for url in [
        "http://:99999",
        "http://:80",
        "http://h:0",
        "http://h:65536",
        "http://h:",
        "http://[::1",
        "https://?x",
    ] {
        assert!(bad("aws", &of(url)).contains("is not an address"), "{url}");
    }
}
