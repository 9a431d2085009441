use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use bytes::Bytes;

use super::super::scripted::{Answer, Scripted};
use super::*;

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";

fn record(key: &str, data: &'static [u8], explicit_hash_key: Option<u128>) -> Record {
    Record { data: Bytes::from_static(data), partition_key: key.to_owned(), explicit_hash_key, tag: 0 }
}

fn samples() -> Vec<Record> {
    vec![
        record("user-1", b"{\"a\":1}", None),
        record("quote\" \\ tab\t line\n \u{1} ü ☕", b"", Some(u128::MAX)),
        record("b", &[0, 255, 128, 10], Some(0)),
        record("\u{7f}/", b"xy", None),
    ]
}

/// Runs one call on a runtime of its own.
fn run<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(call)
}

fn put(server: &Scripted, name: StreamName, records: &[Record]) -> Result<Vec<PutOutcome>, PutError> {
    let sink = KinesisSink::new(&server.clients, name);
    let records: Vec<_> = records.iter().collect();
    run(sink.put(&records))
}

const NONE: &str = r#"{"FailedRecordCount":0,"Records":[]}"#;

#[test]
fn the_body_written_by_hand_is_the_sdks() {
    let server = Scripted::new(vec![Answer(200, &[], NONE), Answer(200, &[], NONE), Answer(200, &[], NONE)]);
    let samples = samples();
    put(&server, StreamName::Name("clickstream".into()), &samples).unwrap();
    put(&server, StreamName::Arn(ARN.into()), &samples).unwrap();
    let entries = samples.iter().map(|record| {
        let entry = PutRecordsRequestEntry::builder().partition_key(&record.partition_key);
        let hash_key = record.explicit_hash_key.map(|key| key.to_string());
        entry.data(Blob::new(record.data.to_vec())).set_explicit_hash_key(hash_key).build().unwrap()
    });
    let client = server.clients.kinesis(None);
    run(client.put_records().stream_name("clickstream").set_records(Some(entries.collect())).send()).unwrap();
    let asked = server.asked();
    let body = |n: usize| serde_json::from_str::<serde_json::Value>(&asked[n].body).unwrap();
    assert_eq!(body(0), body(2));
    assert_eq!(body(1)["StreamARN"], ARN);
    assert_eq!(body(1)["Records"], body(0)["Records"]);
    assert_eq!(asked[0].header("content-length"), Some(asked[0].body.len().to_string().as_str()));
    let target = asked[0].header("x-amz-target").unwrap().to_ascii_lowercase();
    assert!(target.ends_with(".putrecords"), "{target}");
}

#[test]
fn each_entry_has_its_outcome_and_a_request_is_sent_once() {
    let partial = r#"{"FailedRecordCount":1,"Records":[{"ShardId":"shardId-000000000000","SequenceNumber":"49"},{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow"},{"ShardId":"shardId-000000000001","SequenceNumber":"50","ErrorCode":null},{}]}"#;
    let server = Scripted::new(vec![Answer(200, &[], partial)]);
    let outcomes = put(&server, StreamName::Name("s".into()), &samples()).unwrap();
    let stored = |shard: &str, number: &str| PutOutcome::Stored {
        shard: ShardId::new(shard),
        sequence_number: number.parse().unwrap(),
    };
    let refused =
        |code: &str, message: &str| PutOutcome::Refused { code: code.into(), message: message.into() };
    assert_eq!(
        outcomes,
        [
            stored("shardId-000000000000", "49"),
            refused("ProvisionedThroughputExceededException", "slow"),
            stored("shardId-000000000001", "50"),
            refused("InternalFailure", ""),
        ]
    );
}

#[test]
fn a_failed_request_tells_what_it_may_have_done() {
    let refusal = |code: &str| format!(r#"{{"__type":"{code}","message":"said"}}"#).leak() as &'static str;
    let cases = [
        (400, "ProvisionedThroughputExceededException", PutFault::Later),
        (400, "KMSThrottlingException", PutFault::Later),
        (400, "LimitExceededException", PutFault::Later),
        (400, "ResourceInUseException", PutFault::Later),
        (400, "InvalidArgumentException", PutFault::Invalid),
        (400, "ValidationException", PutFault::Invalid),
        (413, "RequestEntityTooLarge", PutFault::Invalid),
        (400, "AccessDeniedException", PutFault::Fatal),
        (400, "ExpiredTokenException", PutFault::Fatal),
        (400, "ResourceNotFoundException", PutFault::Fatal),
        (400, "KMSDisabledException", PutFault::Fatal),
        (500, "InternalFailure", PutFault::Unknown),
        (503, "ServiceUnavailable", PutFault::Later),
    ];
    let answers = cases.iter().map(|(status, code, _)| Answer(*status, &[], refusal(code))).collect();
    let server = Scripted::new(answers);
    for (_, code, fault) in cases {
        let error = put(&server, StreamName::Name("s".into()), &samples()).unwrap_err();
        assert_eq!((error.fault, error.call), (fault, "PutRecords"), "{code}");
    }
    assert_eq!(server.asked().len(), cases.len(), "each was tried once");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let clients = server.clients.at_endpoint(format!("http://{}", listener.local_addr().unwrap()));
    // Takes the call, and never answers it.
    let taker = std::thread::spawn(move || listener.accept().map(|_| ()).unwrap());
    let sink = KinesisSink::new(&clients, StreamName::Name("s".into()));
    let gone = run(sink.put(&[&samples()[0]])).unwrap_err();
    taker.join().unwrap();
    assert_eq!(gone.fault, PutFault::Unknown, "{gone}");
}

#[test]
fn a_listing_whose_token_has_expired_begins_anew_with_the_next_try() {
    let shard = |n: u32| {
        format!(
            r#"{{"ShardId":"shardId-00000000000{n}","HashKeyRange":{{"StartingHashKey":"0","EndingHashKey":"9"}},"SequenceNumberRange":{{"StartingSequenceNumber":"1"}}}}"#
        )
    };
    let page = |n, more: &str| format!(r#"{{"Shards":[{}]{more}}}"#, shard(n)).leak() as &'static str;
    let first = page(0, r#","NextToken":"t""#);
    let expired = r#"{"__type":"ExpiredNextTokenException","message":"too late"}"#;
    let answers = [(200, first), (400, expired), (200, first), (200, page(1, ""))]
        .map(|(status, body)| Answer(status, &[], body));
    let server = Scripted::new(answers.into());
    let sink = KinesisSink::new(&server.clients, StreamName::Name("s".into()));
    let error = run(sink.shards()).unwrap_err();
    assert_eq!(error.fault, PutFault::Later, "{error}");
    assert_eq!(run(sink.shards()).unwrap().len(), 2);
    assert!(server.asked()[2].body.contains("StreamName") && server.asked()[3].body.contains("NextToken"));
}

/// Credentials that are there, or cannot be had at present.
#[derive(Clone, Debug)]
struct Refreshing(Arc<AtomicBool>);

impl ProvideCredentials for Refreshing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let throttled = CredentialsError::provider_error("STS said: Throttling");
        let there = self.0.load(Ordering::SeqCst);
        future::ProvideCredentials::ready(
            // Expired as soon as they were used, so that they are asked for with each call.
            there
                .then(|| Credentials::new("a", "b", None, Some(SystemTime::UNIX_EPOCH), "test"))
                .ok_or(throttled),
        )
    }
}

#[test]
fn credentials_that_cant_be_refreshed_put_off_a_request_and_keep_a_start_from_beginning() {
    let server = Scripted::new(vec![Answer(200, &[], NONE), Answer(200, &[], NONE)]);
    let credentials = Refreshing(Arc::new(AtomicBool::new(true)));
    let config = server.clients.kinesis(None).config().to_builder();
    let config = config.credentials_provider(SharedCredentialsProvider::new(credentials.clone()));
    let client = Client::from_conf(config.build());
    let sink = KinesisSink { client, name: StreamName::Name("s".into()) };
    let sample = &samples()[0];
    run(sink.put(&[sample])).unwrap();
    credentials.0.store(false, Ordering::SeqCst);
    let later = run(sink.put(&[sample])).unwrap_err();
    assert_eq!(later.fault, PutFault::Later, "{later}");
    assert!(later.message.contains("no usable credentials"), "{later}");
    assert_eq!(run(sink.facts()).unwrap_err().fault, PutFault::Fatal);
    credentials.0.store(true, Ordering::SeqCst);
    run(sink.put(&[sample])).unwrap();
    assert_eq!(server.asked().len(), 2, "without credentials nothing was sent");
}

#[test]
fn a_connection_that_was_never_made_stored_nothing() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Scripted::new(Vec::new());
    let clients = server.clients.at_endpoint(format!("http://{closed}"));
    let sink = KinesisSink::new(&clients, StreamName::Name("s".into()));
    let error = run(sink.put(&[&samples()[0]])).unwrap_err();
    assert_eq!(error.fault, PutFault::Later, "{error}");
}

#[test]
fn the_streams_own_record_limit_counts_and_who_distributes_its_records_is_known() {
    use Distribution::{Auto, ByKey};
    let summary = |more: &str| {
        format!(
            r#"{{"StreamDescriptionSummary":{{"StreamName":"s","StreamARN":"{ARN}","StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1700000000.5,"EnhancedMonitoring":[],"OpenShardCount":1{more}}}}}"#
        )
        .leak() as &'static str
    };
    let missing = r#"{"__type":"ResourceNotFoundException","message":"no such stream"}"#;
    let server = Scripted::new(vec![
        Answer(200, &[], summary("")),
        Answer(200, &[], summary(r#","MaxRecordSizeInKiB":10240"#)),
        Answer(200, &[], summary(r#","RecordDistributionStrategy":"USER_PARTITION_KEY""#)),
        Answer(200, &[], summary(r#","RecordDistributionStrategy":"AUTO""#)),
        Answer(200, &[], summary("")),
        Answer(400, &[], missing),
    ]);
    let sink = Arc::new(KinesisSink::new(&server.clients, StreamName::Name("s".into())));
    let facts = [(1 << 20, ByKey), (10 << 20, ByKey), (1 << 20, ByKey), (1 << 20, Auto)];
    for (max_record_bytes, distribution) in facts {
        assert_eq!(run(sink.facts()).unwrap(), StreamFacts { max_record_bytes, distribution });
    }
    assert_eq!(run(sink.is_active()).unwrap(), Some(true));
    assert_eq!(run(sink.is_active()).unwrap(), None);
}
