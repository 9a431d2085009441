//! What the embedded AWS is trusted with, asked through the AWS SDK.

use std::collections::HashMap;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StreamStatus};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use sha2::{Digest, Sha256};

use super::*;

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/clickstream";

fn plain_http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

fn s3_client(embedded: &Embedded) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(embedded.endpoint_url())
        .force_path_style(true)
        .http_client(plain_http())
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

fn kinesis_client(embedded: &Embedded) -> aws_sdk_kinesis::Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(aws_sdk_kinesis::config::BehaviorVersion::latest())
        .region(aws_sdk_kinesis::config::Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(embedded.endpoint_url())
        .http_client(plain_http())
        .build();
    aws_sdk_kinesis::Client::from_conf(config)
}

fn client_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn sha256_base64(body: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(Sha256::digest(body))
}

#[test]
fn s3_keeps_metadata_conditions_and_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::start(folder.path()).unwrap();
    client_runtime().block_on(async {
        let s3 = s3_client(&embedded);
        s3.head_bucket().bucket(BUCKET).send().await.unwrap();
        let key =
            format!("clickstream/dt=2026-11-22/hour=05/shardId-000000000000-{}.ndjson.gz", "4".repeat(56));
        let put = |body: &'static [u8], sha256: String| {
            s3.put_object()
                .bucket(BUCKET)
                .key(&key)
                .if_none_match("*")
                .content_type("application/gzip")
                .checksum_sha256(sha256)
                .set_metadata(Some(HashMap::from([("keeper-serial".to_owned(), "1".to_owned())])))
                .body(ByteStream::from_static(body))
                .send()
        };
        put(b"one", sha256_base64(b"one")).await.unwrap();
        let head = s3.head_object().bucket(BUCKET).key(&key).send().await.unwrap();
        assert_eq!(head.metadata().unwrap()["keeper-serial"], "1");
        assert_eq!(head.content_length(), Some(3));
        let taken = put(b"two", sha256_base64(b"two")).await.unwrap_err();
        assert_eq!(taken.code(), Some("PreconditionFailed"));
        assert_eq!(taken.raw_response().unwrap().status().as_u16(), 412);
        let missing = s3.get_object().bucket(BUCKET).key("nothing").send().await.unwrap_err();
        assert_eq!(missing.code(), Some("NoSuchKey"));
        let wrong = s3
            .put_object()
            .bucket(BUCKET)
            .key("wrong")
            .checksum_sha256(sha256_base64(b"other"))
            .body(ByteStream::from_static(b"one"))
            .send()
            .await
            .unwrap_err();
        assert_eq!(wrong.code(), Some("BadDigest"));
        let lifecycle = s3.get_bucket_lifecycle_configuration().bucket(BUCKET).send().await.unwrap_err();
        assert_eq!(lifecycle.code(), Some("NoSuchLifecycleConfiguration"));
    });
}

#[test]
fn s3_lists_in_order_with_folders() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::start(folder.path()).unwrap();
    client_runtime().block_on(async {
        let s3 = s3_client(&embedded);
        for key in
            ["s/_ledger/a-1/000000000001.json", "s/_ledger/a-1/000000000000.json", "s/_ledger/stream-1.json"]
        {
            let body = ByteStream::from_static(b"{}");
            s3.put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap();
        }
        let list = s3.list_objects_v2().bucket(BUCKET);
        let page = list.clone().prefix("s/_ledger/a-1/").send().await.unwrap();
        let keys: Vec<_> = page.contents().iter().filter_map(|object| object.key()).collect();
        assert_eq!(keys, ["s/_ledger/a-1/000000000000.json", "s/_ledger/a-1/000000000001.json"]);
        let after = list
            .clone()
            .prefix("s/_ledger/a-1/")
            .start_after("s/_ledger/a-1/000000000000.json")
            .send()
            .await
            .unwrap();
        assert_eq!(after.contents().len(), 1);
        let page = list.prefix("s/_ledger/").delimiter("/").send().await.unwrap();
        let folders: Vec<_> = page.common_prefixes().iter().filter_map(|folder| folder.prefix()).collect();
        assert_eq!(folders, ["s/_ledger/a-1/"]);
        let keys: Vec<_> = page.contents().iter().filter_map(|object| object.key()).collect();
        assert_eq!(keys, ["s/_ledger/stream-1.json"]);
    });
}

#[test]
fn kinesis_takes_the_arn_and_gives_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::start(folder.path()).unwrap();
    client_runtime().block_on(async {
        let kinesis = kinesis_client(&embedded);
        kinesis.create_stream().stream_name("clickstream").shard_count(4).send().await.unwrap();
        loop {
            let summary = kinesis.describe_stream_summary().stream_arn(ARN).send().await.unwrap();
            let summary = summary.stream_description_summary().unwrap();
            assert_eq!(summary.stream_arn(), ARN);
            if *summary.stream_status() == StreamStatus::Active {
                break;
            }
        }
        let entries = (0..500).map(|n: u32| {
            let blob = Blob::new(format!("event {n}"));
            PutRecordsRequestEntry::builder().partition_key(format!("{n}")).data(blob).build().unwrap()
        });
        let put = kinesis.put_records().stream_arn(ARN).set_records(Some(entries.collect()));
        assert_eq!(put.send().await.unwrap().failed_record_count(), Some(0));
        let shards = kinesis.list_shards().stream_arn(ARN).send().await.unwrap();
        assert_eq!(shards.shards().len(), 4);
        let mut seen = 0;
        for shard in shards.shards() {
            let iterator = kinesis
                .get_shard_iterator()
                .stream_arn(ARN)
                .shard_id(shard.shard_id())
                .shard_iterator_type(ShardIteratorType::TrimHorizon);
            let iterator = iterator.send().await.unwrap();
            let reply = kinesis
                .get_records()
                .stream_arn(ARN)
                .set_shard_iterator(iterator.shard_iterator().map(str::to_owned));
            seen += reply.send().await.unwrap().records().len();
        }
        assert_eq!(seen, 500);
    });
}

#[test]
fn the_arn_becomes_the_name_and_nothing_else_changes() {
    let body = format!(r#"{{"StreamARN":"{ARN}","Limit":5}}"#);
    let renamed = stream_name_for_arn(body.as_bytes()).unwrap();
    let renamed: serde_json::Value = serde_json::from_slice(&renamed).unwrap();
    assert_eq!(renamed, serde_json::json!({"StreamName": "clickstream", "Limit": 5}));
    assert_eq!(stream_name_for_arn(br#"{"StreamName":"s"}"#), None);
}
