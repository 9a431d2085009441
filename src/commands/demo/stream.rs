//! The demo's own client of the embedded Kinesis: makes the stream.
//!
//! Not the keeper's: that one comes from its configuration file, like anybody's.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::error::DisplayErrorContext;
use aws_sdk_kinesis::types::StreamStatus;
use tokio::runtime::Handle;

use super::embedded::{REGION, credentials};
use crate::error::Failure;
use crate::model::timestamp::Timestamp;
use crate::stop::Stop;

/// The stream's name.
pub const STREAM: &str = "clickstream";
/// Its shards.
pub const SHARDS: i32 = 4;

/// Longer than any call to this machine takes.
const CALL: Duration = Duration::from_secs(10);
/// Between two looks at a stream that is being created; it takes 50 ms.
const LOOK: Duration = Duration::from_millis(20);
/// Looks before giving up: ten seconds.
const LOOKS: u32 = 500;

/// A client that tries each call once: a PutRecords that is repeated doubles its records.
pub fn client(endpoint_url: &str) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(endpoint_url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(CALL).build())
        .build();
    Client::from_conf(config)
}

/// Makes the stream and waits until it is there; gives its creation time.
pub fn create(kinesis: &Client, runtime: &Handle, stop: &Stop) -> Result<Timestamp, Failure> {
    let call = kinesis.create_stream().stream_name(STREAM).shard_count(SHARDS).send();
    runtime.block_on(call).map_err(|error| failed("CreateStream", &DisplayErrorContext(&error)))?;
    for _ in 0..LOOKS {
        let call = kinesis.describe_stream_summary().stream_name(STREAM).send();
        let reply = runtime
            .block_on(call)
            .map_err(|error| failed("DescribeStreamSummary", &DisplayErrorContext(&error)))?;
        if let Some(summary) = reply.stream_description_summary()
            && *summary.stream_status() == StreamStatus::Active
        {
            let created = summary.stream_creation_timestamp().to_millis();
            return created
                .map(Timestamp::from_millis)
                .map_err(|error| failed("DescribeStreamSummary", &error));
        }
        stop.wait(stop.seen(), LOOK);
    }
    Err(Failure::failed("the embedded stream did not become ACTIVE within ten seconds"))
}

fn failed(call: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("{call} on the embedded Kinesis failed: {error}"))
}
