//! What the adapters send and what they make of the answers, against a scripted server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::kinesis::{KinesisStream, StreamName};
use super::s3::{S3Settings, S3Store};
use super::scripted::{Answer, Folder, Scripted, Still};
use super::sns::SnsNotifier;
use crate::model::expiry::Expiry;
use crate::model::manifest::{About, EndNotice, Notice, Origin};
use crate::model::shard::{ShardId, StreamStatus};
use crate::model::timestamp::Timestamp;
use crate::ports::{
    Attributes, Body, Clock, IteratorStart, Notifier, ObjectStore, Put, StoreErrorKind, Stream,
    StreamErrorKind,
};
use crate::stop::{Stop, StopReason};

const DATE: (&str, &str) = ("date", "Mon, 16 Dec 2019 23:48:18 GMT");
const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/clickstream";
const SUMMARY: &str = r#"{"StreamDescriptionSummary":{"StreamName":"clickstream","StreamARN":"arn:aws:kinesis:eu-west-1:123456789012:stream/clickstream","StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1700000000.5,"EnhancedMonitoring":[],"OpenShardCount":1}}"#;
const REPLY: &str = r#"{"Records":[{"SequenceNumber":"49","ApproximateArrivalTimestamp":1700000001.25,"Data":"AAH/","PartitionKey":"k"}],"NextShardIterator":"next","MillisBehindLatest":7}"#;
/// printf 'abc' | sha256sum
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn stream(server: &Scripted) -> KinesisStream {
    let name = StreamName::Name("clickstream".into());
    KinesisStream::new(&server.clients, server.blocking(), Arc::new(Still), name)
}

fn store(server: &Scripted, folder: &Path) -> S3Store {
    store_at(server, folder, Arc::new(Still))
}

fn store_at(server: &Scripted, folder: &Path, clock: Arc<dyn Clock>) -> S3Store {
    let settings = S3Settings {
        bucket: "archive".into(),
        expected_bucket_owner: Some("123456789012".into()),
        storage_class: Some("GLACIER_IR".into()),
        sse_kms_key_id: Some("key-1".into()),
        object_lock_days: 2,
    };
    let disk = Arc::new(Folder(folder.to_owned()));
    S3Store::new(&server.clients, server.blocking(), clock, disk, settings)
}

fn attributes(data: bool) -> Attributes {
    Attributes {
        content_type: "application/gzip",
        sha256: ABC.into(),
        metadata: vec![("keeper-version", "1".into())],
        data,
    }
}

#[test]
fn the_stream_is_described_by_name_and_read_by_arn_and_answers_bear_the_services_time() {
    let server = Scripted::new(vec![
        Answer(200, &[DATE], SUMMARY),
        Answer(200, &[DATE], r#"{"ShardIterator":"it"}"#),
        Answer(200, &[], REPLY),
    ]);
    let (stream, stop) = (stream(&server), Stop::new());
    let described = stream.describe(&stop).unwrap();
    assert_eq!(described.at, Timestamp::from_seconds(1_576_540_098));
    assert_eq!(described.value.status, StreamStatus::Active);
    assert_eq!(described.value.identity.created, Timestamp::from_millis(1_700_000_000_500));
    let shard = ShardId::new("shardId-000000000000");
    let start = IteratorStart::AtTime(Timestamp::from_millis(1_700_000_000_250));
    assert_eq!(stream.iterator(&shard, &start, &stop).unwrap().value, "it");
    let reply = stream.records(&shard, "it", &stop).unwrap();
    assert_eq!(reply.at, Timestamp::from_seconds(3600), "without a date the clock stands in");
    assert_eq!(reply.value.records[0].data.as_ref(), [0, 1, 255]);
    assert_eq!((reply.value.bytes, reply.value.millis_behind_latest), (4, 7));
    let asked = server.asked();
    assert_eq!(asked[0].body, r#"{"StreamName":"clickstream"}"#);
    assert!(asked[1].body.contains(&format!("\"StreamARN\":\"{ARN}\"")), "{}", asked[1].body);
    assert!(!asked[1].body.contains("StreamName"), "{}", asked[1].body);
    assert!(asked[1].body.contains("\"Timestamp\":1700000000.25"), "{}", asked[1].body);
    assert!(asked[2].body.contains(ARN) && asked[2].body.contains("\"Limit\":10000"), "{}", asked[2].body);
}

#[test]
fn records_are_asked_for_once_however_the_call_fails() {
    let refusal = r#"{"__type":"ProvisionedThroughputExceededException","message":"slow down"}"#;
    let server = Scripted::new(vec![Answer(400, &[("x-amzn-requestid", "r-1")], refusal)]);
    let error = stream(&server).records(&ShardId::new("a"), "it", &Stop::new()).unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Throttled);
    assert!(error.message.contains("slow down (request id r-1)"), "{error}");
    let gone = stream(&server).records(&ShardId::new("a"), "it", &Stop::new()).unwrap_err();
    assert_eq!(gone.kind, StreamErrorKind::NoAnswer, "{gone}");
    let stop = Stop::new();
    stop.stop(StopReason::Requested);
    let stopped = stream(&server).records(&ShardId::new("a"), "it", &stop).unwrap_err();
    assert_eq!(stopped.kind, StreamErrorKind::Stopped);
    assert_eq!(server.asked().len(), 1);
}

/// Each look at it is so many seconds after the one before.
struct Leaping(u64, AtomicU64);

impl Leaping {
    fn by(seconds: u64) -> Arc<Self> {
        Arc::new(Self(seconds, AtomicU64::new(0)))
    }
}

impl Clock for Leaping {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(3600)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0 * self.1.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn a_shard_whose_answers_do_not_come_in_time_is_asked_for_fewer_records() {
    let late = r#"{"__type":"RequestTimeoutException","message":"late"}"#;
    let server =
        Scripted::new(vec![Answer(400, &[], late), Answer(200, &[], REPLY), Answer(200, &[], REPLY)]);
    let name = StreamName::Name("clickstream".into());
    let stream = KinesisStream::new(&server.clients, server.blocking(), Leaping::by(8), name);
    let (slow, other, stop) = (ShardId::new("a"), ShardId::new("b"), Stop::new());
    let error = stream.records(&slow, "it", &stop).unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::NoAnswer, "{error}");
    stream.records(&slow, "it", &stop).unwrap();
    stream.records(&other, "it", &stop).unwrap();
    let asked = server.asked();
    for (asked, limit) in asked.iter().zip(["\"Limit\":10000", "\"Limit\":1250", "\"Limit\":10000"]) {
        assert!(asked.body.contains(limit), "{}", asked.body);
    }
}

#[test]
fn a_put_of_a_large_object_that_was_cut_is_given_longer_the_next_time() {
    const OBJECT: u64 = 2 << 20;
    let server = Scripted::new(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let store = store_at(&server, folder.path(), Leaping::by(60));
    assert_eq!(store.longest_put(OBJECT), Duration::from_secs(32));
    let (body, stop) = (vec![b'x'; 2 << 20], Stop::new());
    let error = store.put_if_absent("k", Body::Bytes(&body), &attributes(true), &stop).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
    assert_eq!(store.longest_put(OBJECT), Duration::from_secs(34), "told to who waits for it, too");
}

#[test]
fn a_listing_goes_on_by_token_alone_and_begins_anew_when_the_token_expired() {
    let page = r#"{"NextToken":"t","Shards":[{"ShardId":"shardId-0","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"1"}}]}"#;
    let last = r#"{"Shards":[{"ShardId":"shardId-1","ParentShardId":"shardId-0","HashKeyRange":{"StartingHashKey":"10","EndingHashKey":"19"},"SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"2"}}]}"#;
    let server = Scripted::new(vec![
        Answer(200, &[], page),
        Answer(400, &[], r#"{"__type":"ExpiredNextTokenException","message":"old"}"#),
        Answer(200, &[], page),
        Answer(200, &[], last),
    ]);
    let shards = stream(&server).list_shards(&Stop::new()).unwrap();
    assert_eq!(shards.iter().map(|shard| shard.id.as_str()).collect::<Vec<_>>(), ["shardId-0", "shardId-1"]);
    assert!(!shards[0].closed && shards[1].closed);
    let asked = server.asked();
    assert_eq!(asked[1].body, r#"{"NextToken":"t"}"#);
    assert_eq!(asked[2].body, r#"{"StreamName":"clickstream"}"#);
}

#[test]
fn a_put_carries_its_condition_checksum_key_lock_and_class() {
    let server = Scripted::new(vec![
        Answer(200, &[("etag", "\"e\""), ("x-amz-version-id", "v1")], ""),
        Answer(412, &[], "<Error><Code>PreconditionFailed</Code><Message>there</Message></Error>"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("body"), "abc").unwrap();
    let (store, stop) = (store(&server, folder.path()), Stop::new());
    // Draining puts go on after a stop was requested.
    stop.stop(StopReason::Requested);
    let file = Body::File { path: Path::new("body"), len: 3 };
    let Put::Stored(stored) = store.put_if_absent("a/b.gz", file, &attributes(true), &stop).unwrap() else {
        panic!("taken")
    };
    assert_eq!((stored.etag.as_str(), stored.version_id.as_deref()), ("e", Some("v1")));
    let entry = Body::Bytes(b"abc");
    assert_eq!(store.put_if_absent("a/0.json", entry, &attributes(false), &stop).unwrap(), Put::Taken);
    let asked = server.asked();
    assert!(asked[0].line.starts_with("PUT /archive/a/b.gz"), "{}", asked[0].line);
    for asked in &asked {
        assert_eq!(asked.body, "abc", "sent as it is, not in chunks");
        for (name, value) in [
            ("if-none-match", "*"),
            ("x-amz-meta-keeper-version", "1"),
            ("x-amz-expected-bucket-owner", "123456789012"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "key-1"),
            ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
            ("x-amz-object-lock-mode", "compliance"),
            ("x-amz-object-lock-retain-until-date", "1970-01-03t01:00:00z"),
            ("content-type", "application/gzip"),
            ("content-length", "3"),
        ] {
            assert_eq!(asked.header(name), Some(value), "{name}");
        }
        // printf 'abc' | openssl dgst -sha256 -binary | base64
        let sum = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=".to_ascii_lowercase();
        assert_eq!(asked.header("x-amz-checksum-sha256"), Some(sum.as_str()));
        assert_eq!(asked.header("content-encoding"), None);
    }
    assert_eq!(asked[0].header("x-amz-storage-class"), Some("glacier_ir"));
    assert_eq!(asked[1].header("x-amz-storage-class"), None);
}

#[test]
fn a_refused_put_says_what_to_mend() {
    let server = Scripted::new(vec![
        Answer(400, &[], "<Error><Code>BadDigest</Code><Message>no match</Message></Error>"),
        Answer(301, &[("x-amz-bucket-region", "us-east-1")], ""),
        Answer(403, &[], "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let (store, stop) = (store(&server, folder.path()), Stop::new());
    let put = |body| store.put_if_absent("k", body, &attributes(true), &stop).unwrap_err();
    assert_eq!(put(Body::Bytes(b"x")).kind, StoreErrorKind::BadDigest);
    let elsewhere = put(Body::Bytes(b"abc"));
    assert_eq!(elsewhere.kind, StoreErrorKind::NoBucket, "{elsewhere}");
    assert!(elsewhere.message.contains("us-east-1"), "{elsewhere}");
    let denied = put(Body::Bytes(b"abc"));
    assert_eq!(denied.kind, StoreErrorKind::AccessDenied);
    assert!(denied.message.contains("s3:PutObject, s3:PutObjectRetention"), "{denied}");
    let missing = put(Body::File { path: Path::new("gone"), len: 3 });
    assert_eq!(missing.kind, StoreErrorKind::LocalFile, "{missing}");
    std::fs::write(folder.path().join("short"), "ab").unwrap();
    assert_eq!(put(Body::File { path: Path::new("short"), len: 3 }).kind, StoreErrorKind::LocalFile);
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_missing_object_is_none_and_a_forbidden_one_is_not() {
    let server = Scripted::new(vec![
        Answer(404, &[], ""),
        Answer(403, &[], ""),
        Answer(404, &[], "<Error><Code>NoSuchKey</Code></Error>"),
        Answer(404, &[], "<Error><Code>NoSuchBucket</Code></Error>"),
        Answer(404, &[], "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>"),
        Answer(403, &[DATE], ""),
        Answer(404, &[DATE], ""),
    ]);
    let (store, stop) = (store(&server, Path::new("/")), Stop::new());
    assert_eq!(store.head("k", &stop).unwrap(), None);
    let forbidden = store.head("k", &stop).unwrap_err();
    assert_eq!(forbidden.kind, StoreErrorKind::AccessDenied);
    assert!(forbidden.message.contains("s3:ListBucket"), "{forbidden}");
    assert_eq!(store.get("k", &stop).unwrap(), None);
    assert_eq!(store.get("k", &stop).unwrap_err().kind, StoreErrorKind::NoBucket);
    assert_eq!(store.expiry(&stop).unwrap(), Expiry::default());
    assert_eq!(store.service_time(&stop).unwrap(), Timestamp::from_seconds(1_576_540_098));
    assert_eq!(store.service_time(&stop).unwrap_err().kind, StoreErrorKind::NoBucket);
}

#[test]
fn bodies_and_listings_come_whole() {
    let first = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>p/1</Key></Contents></ListBucketResult>";
    let second = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/2</Key></Contents></ListBucketResult>";
    let folders =
        "<ListBucketResult><CommonPrefixes><Prefix>p/a/</Prefix></CommonPrefixes></ListBucketResult>";
    let server = Scripted::new(vec![
        Answer(200, &[], "abc"),
        Answer(200, &[], "abcdef"),
        Answer(200, &[], first),
        Answer(200, &[], second),
        Answer(200, &[], folders),
    ]);
    let (store, stop) = (store(&server, Path::new("/")), Stop::new());
    assert_eq!(store.get("k", &stop).unwrap().unwrap(), b"abc");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut store.open("k", &stop).unwrap().unwrap(), &mut text).unwrap();
    assert_eq!(text, "abcdef");
    assert_eq!(store.list("p/", Some("p/0"), &stop).unwrap(), ["p/1", "p/2"]);
    assert_eq!(store.folders("p/", &stop).unwrap(), ["p/a/"]);
    let asked = server.asked();
    assert!(asked[2].line.contains("start-after=p%2F0"), "{}", asked[2].line);
    assert!(asked[3].line.contains("continuation-token=t"), "{}", asked[3].line);
    assert!(asked[4].line.contains("delimiter=%2F"), "{}", asked[4].line);
}

#[test]
fn a_fifo_topic_gets_group_and_deduplication_id() {
    let sent = "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>";
    let denied =
        "<ErrorResponse><Error><Code>AuthorizationError</Code><Message>no</Message></Error></ErrorResponse>";
    let server = Scripted::new(vec![Answer(200, &[], sent), Answer(403, &[], denied)]);
    let origin = Origin {
        stream: "clickstream".into(),
        stream_arn: ARN.into(),
        stream_created: Timestamp::from_seconds(1_700_000_000),
        shard: ShardId::new("shardId-000000000000"),
        serial: 41,
        bucket: "archive".into(),
    };
    let notice =
        Notice { version: 1, about: About::End(Box::new(EndNotice { origin, children: Vec::new() })) };
    let topic = |name: &str| {
        let arn = format!("arn:aws:sns:us-east-2:123456789012:{name}");
        SnsNotifier::new(&server.clients, server.blocking(), arn)
    };
    topic("t.fifo").publish(&notice, &Stop::new()).unwrap();
    let error = topic("t").publish(&notice, &Stop::new()).unwrap_err();
    assert_eq!(error.kind, "access_denied");
    assert!(error.message.contains("sns:Publish"), "{error}");
    let asked = server.asked();
    for part in
        ["MessageGroupId=shardId-000000000000", "MessageDeduplicationId=", "%22serial%22%3A41", "clickstream"]
    {
        assert!(asked[0].body.contains(part), "{part} in {}", asked[0].body);
    }
    assert!(!asked[1].body.contains("MessageGroupId"));
    let signed = asked[0].header("authorization").unwrap();
    assert!(signed.contains("/us-east-2/sns/"), "signed for the topic's region: {signed}");
}
