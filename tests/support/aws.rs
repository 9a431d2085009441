//! The tests' own clients: they make streams and buckets (topics: `topics`) and look at what came of them.
//!
//! Built on the AWS SDK, independent of the product's adapters; only streams are filled by the product's producer.

use std::cell::Cell;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, ScalingType, Shard, ShardIteratorType, StartingPosition, StreamStatus,
};
use aws_sdk_s3::config::{Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use tokio::runtime::Runtime;

use super::{fresh, putting, servers, wait_for};

pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// The runtime on which the tests' clients work.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

pub(super) fn wait<F: Future>(future: F) -> F::Output {
    runtime().block_on(async {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(output) => output,
            Err(_) => panic!("a test server did not answer within {LIMIT:?}"),
        }
    })
}

pub(super) fn shared(endpoint: &str) -> aws_config::SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint);
    wait(loader.load())
}

/// A server on which a test has its streams, if not on the usual one.
#[derive(Clone, Copy)]
pub struct Place {
    endpoint: &'static str,
    client: &'static aws_sdk_kinesis::Client,
    one_request_at_a_time: bool,
}

impl Place {
    /// The server at `endpoint`, which takes as many requests at once as the usual one.
    pub fn at(endpoint: &str) -> Self {
        let client = aws_sdk_kinesis::Client::new(&shared(endpoint));
        Self {
            endpoint: endpoint.to_owned().leak(),
            client: Box::leak(Box::new(client)),
            one_request_at_a_time: false,
        }
    }

    /// From now on this thread's streams are there.
    pub fn use_here(self) {
        ELSEWHERE.set(Some(self));
    }
}

thread_local! {
    static ELSEWHERE: Cell<Option<Place>> = const { Cell::new(None) };
}

fn kinesis() -> &'static aws_sdk_kinesis::Client {
    static CLIENT: OnceLock<aws_sdk_kinesis::Client> = OnceLock::new();
    let usual =
        || CLIENT.get_or_init(|| aws_sdk_kinesis::Client::new(&shared(servers::kinesis().endpoint())));
    ELSEWHERE.get().map_or_else(usual, |place| place.client)
}

/// From now on this test has its streams on the server at `endpoint`, which takes one request at a time.
pub fn use_kinesis(endpoint: &str) {
    Place { one_request_at_a_time: true, ..Place::at(endpoint) }.use_here();
}

/// A subscription that was taken over; it lives until it is dropped.
pub struct Taken {
    _output: aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput,
}

/// Takes the subscription of a consumer to a shard, as soon as the server lets it.
pub fn take_subscription(stream: &str, consumer: &str, shard: &str) -> Taken {
    let described = wait(kinesis().describe_stream_summary().stream_name(stream).send()).unwrap();
    let stream_arn = described.stream_description_summary.unwrap().stream_arn;
    wait_for("the subscription", LIMIT, || {
        let call = kinesis().describe_stream_consumer().stream_arn(&stream_arn).consumer_name(consumer);
        let arn = wait(call.send()).ok()?.consumer_description?.consumer_arn;
        let latest = StartingPosition::builder().r#type(ShardIteratorType::Latest).build().unwrap();
        let call = kinesis().subscribe_to_shard().consumer_arn(arn).shard_id(shard);
        wait(call.starting_position(latest).send()).ok().map(|output| Taken { _output: output })
    })
}

fn s3() -> &'static aws_sdk_s3::Client {
    static CLIENT: OnceLock<aws_sdk_s3::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let config = aws_sdk_s3::config::Builder::from(&shared(servers::ministack().endpoint()));
        aws_sdk_s3::Client::from_conf(config.force_path_style(true).build())
    })
}

fn cloudwatch() -> &'static aws_sdk_cloudwatch::Client {
    static CLIENT: OnceLock<aws_sdk_cloudwatch::Client> = OnceLock::new();
    CLIENT.get_or_init(|| aws_sdk_cloudwatch::Client::new(&shared(servers::ministack().endpoint())))
}

/// Makes a stream of a fresh name and waits until it is ACTIVE.
pub fn stream(word: &str, shards: i32) -> String {
    let name = fresh(word);
    create_stream(&name, shards);
    name
}

/// Makes a stream at another endpoint; it is ACTIVE at once there.
pub fn create_stream_at(endpoint: &str, name: &str, shards: i32) {
    let client = aws_sdk_kinesis::Client::new(&shared(endpoint));
    wait(client.create_stream().stream_name(name).shard_count(shards).send()).unwrap();
    wait_for(&format!("stream {name} to be ACTIVE"), LIMIT, || {
        let answer = wait(client.describe_stream_summary().stream_name(name).send()).ok()?;
        (answer.stream_description_summary?.stream_status == StreamStatus::Active).then_some(())
    });
}

/// Makes a stream and waits until it is ACTIVE.
pub fn create_stream(name: &str, shards: i32) {
    wait(kinesis().create_stream().stream_name(name).shard_count(shards).send()).unwrap();
    wait_until_active(name);
}

/// Waits until the stream is ACTIVE: after it was made or resharded.
pub fn wait_until_active(name: &str) {
    wait_for(&format!("stream {name} to be ACTIVE"), LIMIT, || {
        let answer = wait(kinesis().describe_stream_summary().stream_name(name).send()).ok()?;
        let summary = answer.stream_description_summary?;
        (summary.stream_status == StreamStatus::Active).then_some(())
    });
}

/// Deletes a stream and waits until it is gone.
pub fn delete_stream(name: &str) {
    wait(kinesis().delete_stream().stream_name(name).enforce_consumer_deletion(true).send()).unwrap();
    wait_for(&format!("stream {name} to be gone"), LIMIT, || {
        wait(kinesis().describe_stream_summary().stream_name(name).send()).err().map(|_| ())
    });
}

/// The ARN of a stream.
pub fn arn(name: &str) -> String {
    let described = wait(kinesis().describe_stream_summary().stream_name(name).send()).unwrap();
    described.stream_description_summary.unwrap().stream_arn
}

/// All shards of a stream that it still lists.
pub fn shards(name: &str) -> Vec<Shard> {
    let answer = wait(kinesis().list_shards().stream_name(name).send()).unwrap();
    assert_eq!(answer.next_token, None, "a test stream fits on one page");
    answer.shards.unwrap_or_default()
}

/// Puts records (key, payload) in order, each exactly once, as `put` does it.
pub fn put(name: &str, records: &[(String, Vec<u8>)]) {
    match ELSEWHERE.get() {
        Some(place) if place.one_request_at_a_time => put_at(name, None, records),
        Some(place) => putting::put(place.endpoint, name, records),
        None => putting::put(servers::kinesis().endpoint(), name, records),
    }
}

/// As [`put`], all of them into the shard to which this hash key belongs, whatever their keys say.
pub fn put_at(name: &str, hash_key: Option<u128>, records: &[(String, Vec<u8>)]) {
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(500).take_while(|(key, data)| {
            bytes += key.len() + data.len();
            bytes <= 4 << 20
        });
        let (now, later) = rest.split_at(fits.count().max(1));
        rest = later;
        put_some(name, hash_key, now);
    }
}

fn put_some(name: &str, hash_key: Option<u128>, records: &[(String, Vec<u8>)]) {
    let hash_key = hash_key.map(|key| key.to_string());
    let entries: Vec<_> = records
        .iter()
        .map(|(key, data)| {
            let entry = PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data.clone()));
            entry.set_explicit_hash_key(hash_key.clone()).build().unwrap()
        })
        .collect();
    let answer = wait(kinesis().put_records().stream_name(name).set_records(Some(entries)).send()).unwrap();
    assert_eq!(answer.failed_record_count.unwrap_or(0), 0, "the test server refused records: {answer:?}");
}

/// Puts one record; whether the server took it (an emulator may refuse what AWS takes).
pub fn try_put(name: &str, key: &str, data: &[u8]) -> bool {
    wait(kinesis().put_record().stream_name(name).partition_key(key).data(Blob::new(data)).send()).is_ok()
}

/// A record as a reader of the stream gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The shard's id.
    pub shard: String,
    /// Its place in the shard.
    pub sequence_number: String,
    /// Its key.
    pub key: String,
    /// Its payload.
    pub data: Vec<u8>,
}

/// All records of a stream at an endpoint, shard by shard in their order, also those of closed shards.
pub fn records(endpoint: &str, name: &str) -> Vec<Read> {
    let client = aws_sdk_kinesis::Client::new(&shared(endpoint));
    let shards = wait(client.list_shards().stream_name(name).send()).unwrap().shards.unwrap_or_default();
    let mut records = Vec::new();
    for shard in shards {
        let id = shard.shard_id;
        let call = client.get_shard_iterator().stream_name(name).shard_id(&id);
        let call = call.shard_iterator_type(ShardIteratorType::TrimHorizon);
        let mut iterator = wait(call.send()).unwrap().shard_iterator;
        while let Some(from) = iterator {
            let page = wait(client.get_records().shard_iterator(from).send()).unwrap();
            // The quick one of the servers is never behind: a full page tells that there is more.
            let behind = page.millis_behind_latest.unwrap_or_default() > 0 && !page.records.is_empty();
            iterator = page.next_shard_iterator.filter(|_| behind || page.records.len() == 10_000);
            records.extend(page.records.into_iter().map(|record| Read {
                shard: id.clone(),
                sequence_number: record.sequence_number,
                key: record.partition_key.unwrap_or_default(),
                data: record.data.into_inner(),
            }));
        }
    }
    records
}

/// Splits a shard in the middle of its key space and waits until that is done.
pub fn split(name: &str, shard: &Shard) {
    let range = shard.hash_key_range.as_ref().unwrap();
    let (start, end): (u128, u128) =
        (range.starting_hash_key.parse().unwrap(), range.ending_hash_key.parse().unwrap());
    let middle = start + (end - start) / 2 + 1;
    let call = kinesis().split_shard().stream_name(name).shard_to_split(&shard.shard_id);
    wait(call.new_starting_hash_key(middle.to_string()).send()).unwrap();
    wait_until_active(name);
}

/// Merges two adjacent shards and waits until that is done.
pub fn merge(name: &str, shard: &str, adjacent: &str) {
    let call = kinesis().merge_shards().stream_name(name).shard_to_merge(shard);
    wait(call.adjacent_shard_to_merge(adjacent).send()).unwrap();
    wait_until_active(name);
}

/// Makes a bucket of a fresh name.
pub fn bucket(word: &str) -> String {
    let name = fresh(word);
    create_bucket(&name);
    name
}

/// Makes a bucket.
pub fn create_bucket(name: &str) {
    wait(s3().create_bucket().bucket(name).send()).unwrap();
}

/// Makes a bucket of a fresh name that keeps versions.
pub fn versioned_bucket(word: &str) -> String {
    let name = bucket(word);
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    wait(s3().put_bucket_versioning().bucket(&name).versioning_configuration(enabled).send()).unwrap();
    name
}

/// An object with its user metadata.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Its user metadata, lower-case names without prefix.
    pub metadata: std::collections::HashMap<String, String>,
    /// Its media type.
    pub content_type: Option<String>,
    /// Its content encoding.
    pub content_encoding: Option<String>,
    /// Its ETag without quotes.
    pub etag: String,
    /// Its version, where the bucket keeps versions.
    pub version_id: Option<String>,
}

/// All keys under a prefix, in order.
pub fn keys(bucket: &str, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut token = None;
    loop {
        let call = s3().list_objects_v2().bucket(bucket).prefix(prefix).set_continuation_token(token);
        let page = wait(call.send()).unwrap();
        keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
        token = page.next_continuation_token;
        if token.is_none() {
            return keys;
        }
    }
}

/// One object; `None` where nothing is.
pub fn object(bucket: &str, key: &str) -> Option<Object> {
    let answer = match wait(s3().get_object().bucket(bucket).key(key).send()) {
        Ok(answer) => answer,
        Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_key()) => return None,
        Err(error) => panic!("reading s3://{bucket}/{key}: {error:?}"),
    };
    Some(Object {
        metadata: answer.metadata.unwrap_or_default(),
        content_type: answer.content_type,
        content_encoding: answer.content_encoding,
        etag: answer.e_tag.unwrap_or_default().trim_matches('"').to_owned(),
        version_id: answer.version_id.filter(|version| version != "null"),
        body: wait(answer.body.collect()).unwrap().to_vec(),
    })
}

/// Deletes an object, as no keeper would.
pub fn remove(bucket: &str, key: &str) {
    wait(s3().delete_object().bucket(bucket).key(key).send()).unwrap();
}

/// Puts an object over another, as no keeper would.
pub fn overwrite(
    bucket: &str,
    key: &str,
    body: Vec<u8>,
    metadata: std::collections::HashMap<String, String>,
) {
    let put = s3().put_object().bucket(bucket).key(key).set_metadata(Some(metadata)).body(body.into());
    wait(put.send()).unwrap();
}

/// How many versions there are of each key under a prefix: more than one means that something was overwritten.
pub fn versions(bucket: &str, prefix: &str) -> Vec<(String, usize)> {
    let answer = wait(s3().list_object_versions().bucket(bucket).prefix(prefix).send()).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for version in answer.versions.unwrap_or_default() {
        *counts.entry(version.key.unwrap_or_default()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// The names of all metrics in a CloudWatch namespace, each with its dimensions `name=value`.
pub fn metrics(namespace: &str) -> Vec<(String, Vec<String>)> {
    let answer = wait(cloudwatch().list_metrics().namespace(namespace).send()).unwrap();
    let dimensions = |metric: &aws_sdk_cloudwatch::types::Metric| {
        let pairs = metric.dimensions().iter();
        pairs.map(|d| format!("{}={}", d.name().unwrap_or(""), d.value().unwrap_or(""))).collect()
    };
    let metrics = answer.metrics.unwrap_or_default();
    metrics.iter().map(|metric| (metric.metric_name().unwrap_or("").to_owned(), dimensions(metric))).collect()
}

/// Asks for so many open shards and waits until there are.
pub fn update_shard_count(name: &str, shards: i32) {
    let call = kinesis().update_shard_count().stream_name(name).target_shard_count(shards);
    wait(call.scaling_type(ScalingType::UniformScaling).send()).unwrap();
    wait_until_active(name);
}
