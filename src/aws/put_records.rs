//! The stream as somebody who puts sees it: PutRecords, ListShards, DescribeStreamSummary, CreateStream.
//!
//! Owns the calls, their deadlines, and what a failed one may have done. Tries a PutRecords once: the
//! producer tries again, and knows what it repeats.

mod body;

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::types::RecordDistributionStrategy;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::time::timeout;

use self::body::{HandWritten, write_body};
use super::blocking::Cut;
use super::clients::Clients;
use super::errors::{Cause, Refusal};
use super::kinesis::{StreamName, limits, listed, once};
use crate::model::shard::{Shard, ShardId};
use crate::ports::StreamErrorKind;
use crate::ports::put::{
    Answering, DEADLINE, Distribution, PutError, PutFault, PutOutcome, Record, RecordSink, StreamFacts,
};

/// A page of a thousand shards, or a description, with the SDK's three tries.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(15);
/// What our own time limit has on top of the SDK's, which tells why.
const GRACE: Duration = Duration::from_secs(1);
/// What a stream takes that says nothing of it.
const USUAL_RECORD: usize = 1 << 20;

/// One stream, to be put into.
#[derive(Clone, Debug)]
pub struct KinesisSink {
    client: Client,
    name: StreamName,
}

impl KinesisSink {
    /// Connects to nothing yet.
    pub fn new(clients: &Clients, name: StreamName) -> Self {
        let client = match &name {
            StreamName::Name(_) => clients.kinesis(None),
            StreamName::Arn(arn) => clients.kinesis(Some(arn)),
        };
        Self { client, name }
    }

    /// Name or ARN: AWS takes one or the other.
    fn reference(&self) -> (Option<String>, Option<String>) {
        match &self.name {
            StreamName::Name(name) => (Some(name.clone()), None),
            StreamName::Arn(arn) => (None, Some(arn.clone())),
        }
    }

    /// Whether the stream is there and takes records; `None` if there is no such stream.
    pub async fn is_active(&self) -> Result<Option<bool>, PutError> {
        const CALL: &str = "DescribeStreamSummary";
        let (name, arn) = self.reference();
        let request = self.client.describe_stream_summary().set_stream_name(name).set_stream_arn(arn);
        let sending = request.customize().config_override(limits(DESCRIBE_DEADLINE)).send();
        match cut(DESCRIBE_DEADLINE, sending).await {
            Ok(output) => {
                let status = output.stream_description_summary.map(|summary| summary.stream_status);
                Ok(Some(status.is_some_and(|status| matches!(status.as_str(), "ACTIVE" | "UPDATING"))))
            }
            Err(refusal) if refusal.stream_kind() == StreamErrorKind::NotFound => Ok(None),
            Err(refusal) => Err(error(CALL, &refusal)),
        }
    }

    /// CreateStream; fine if somebody else was quicker. The stream takes records once it is active.
    pub async fn create(&self, shards: u32) -> Result<(), PutError> {
        const CALL: &str = "CreateStream";
        let StreamName::Name(name) = &self.name else {
            let message = "a stream is made by its name, not its ARN".to_owned();
            return Err(PutError { call: CALL, fault: PutFault::Fatal, message });
        };
        let count = i32::try_from(shards).unwrap_or(i32::MAX);
        let request = self.client.create_stream().stream_name(name).shard_count(count);
        let sending = request.customize().config_override(limits(DESCRIBE_DEADLINE)).send();
        match cut(DESCRIBE_DEADLINE, sending).await {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.code == "ResourceInUseException" => Ok(()),
            Err(refusal) => Err(error(CALL, &refusal)),
        }
    }

    async fn describe(&self) -> Result<StreamFacts, PutError> {
        const CALL: &str = "DescribeStreamSummary";
        let (name, arn) = self.reference();
        let request = self.client.describe_stream_summary().set_stream_name(name).set_stream_arn(arn);
        let sending = request.customize().config_override(limits(DESCRIBE_DEADLINE)).send();
        let output = cut(DESCRIBE_DEADLINE, sending).await.map_err(|refusal| error(CALL, &refusal))?;
        let summary = output.stream_description_summary;
        let most = summary.as_ref().and_then(|summary| summary.max_record_size_in_kib);
        let most = most.and_then(|kib| usize::try_from(kib).ok()).filter(|kib| *kib > 0);
        // Only on-demand streams say it.
        let distribution = match summary.and_then(|summary| summary.record_distribution_strategy) {
            Some(RecordDistributionStrategy::Auto) => Distribution::Auto,
            Some(_) | None => Distribution::ByKey,
        };
        let max_record_bytes = most.map_or(USUAL_RECORD, |kib| kib << 10);
        Ok(StreamFacts { max_record_bytes, distribution })
    }

    async fn list(&self) -> Result<Vec<Shard>, PutError> {
        const CALL: &str = "ListShards";
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let request = match token.take() {
                // The token stands for the stream: AWS refuses both together.
                Some(token) => self.client.list_shards().next_token(token),
                None => {
                    let (name, arn) = self.reference();
                    self.client.list_shards().set_stream_name(name).set_stream_arn(arn)
                }
            };
            let sending = request.customize().config_override(limits(DESCRIBE_DEADLINE)).send();
            let page = cut(DESCRIBE_DEADLINE, sending).await.map_err(|refusal| error(CALL, &refusal))?;
            for shard in page.shards.unwrap_or_default() {
                let unread = |message| PutError { call: CALL, fault: PutFault::Later, message };
                shards.push(listed(shard).map_err(unread)?);
            }
            match page.next_token.filter(|token| !token.is_empty()) {
                Some(next) => token = Some(next),
                None => return Ok(shards),
            }
        }
    }

    async fn put_once(&self, records: &[&Record]) -> Result<Vec<PutOutcome>, PutError> {
        const CALL: &str = "PutRecords";
        let (name, arn) = self.reference();
        let body = HandWritten::new(write_body(name.as_deref(), arn.as_deref(), records));
        let request = self.client.put_records().set_stream_name(name).set_stream_arn(arn);
        // The endpoint is found by the name, so the input bears it; the records are in the body alone.
        let request = request.set_records(Some(Vec::new()));
        let sending = request.customize().config_override(once(DEADLINE)).interceptor(body).send();
        let output = cut(DEADLINE, sending).await.map_err(|refusal| unput(CALL, &refusal))?;
        outcomes(output).map_err(|message| PutError { call: CALL, fault: PutFault::Unknown, message })
    }
}

impl RecordSink for KinesisSink {
    fn facts(&self) -> Answering<'_, StreamFacts> {
        Box::pin(self.describe())
    }

    fn shards(&self) -> Answering<'_, Vec<Shard>> {
        Box::pin(self.list())
    }

    fn put<'a>(&'a self, records: &'a [&'a Record]) -> Answering<'a, Vec<PutOutcome>> {
        Box::pin(self.put_once(records))
    }
}

/// One call, ended by our own limit even if the SDK's is not.
async fn cut<T, E>(
    deadline: Duration,
    sending: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, Refusal>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match timeout(deadline + GRACE, Box::pin(sending)).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(Refusal::of(&error)),
        Err(_) => Err(Refusal::cut(Cut::Deadline(deadline))),
    }
}

fn error(call: &'static str, refusal: &Refusal) -> PutError {
    PutError { call, fault: fault(refusal), message: refusal.advice(&format!("kinesis:{call}")) }
}

/// A PutRecords that failed. There were credentials when the stream was described: now a refresh of them failed, as
/// when STS throttles, and the next may not.
fn unput(call: &'static str, refusal: &Refusal) -> PutError {
    let error = error(call, refusal);
    match refusal.cause {
        Cause::NoCredentials => PutError { fault: PutFault::Later, ..error },
        Cause::Answered(_) | Cause::NoAnswer | Cause::NeverSent | Cause::Stopped | Cause::Unsendable => error,
    }
}

/// What a refused request may have done.
fn fault(refusal: &Refusal) -> PutFault {
    match (refusal.stream_kind(), refusal.cause) {
        (StreamErrorKind::Throttled | StreamErrorKind::KmsThrottled, _) | (_, Cause::NeverSent) => {
            PutFault::Later
        }
        (StreamErrorKind::AccessDenied | StreamErrorKind::NotFound | StreamErrorKind::Kms(_), _)
        | (_, Cause::Unsendable | Cause::NoCredentials) => PutFault::Fatal,
        // Still being made, or busy with a reshard; or a listing that took too long from page to page.
        (_, Cause::Answered(400)) if refusal.lets_list_anew() => PutFault::Later,
        (_, Cause::Answered(400..=499)) => PutFault::Invalid,
        (_, Cause::Answered(_) | Cause::NoAnswer | Cause::Stopped) => PutFault::Unknown,
    }
}

fn outcomes(output: PutRecordsOutput) -> Result<Vec<PutOutcome>, String> {
    let outcome = |entry: aws_sdk_kinesis::types::PutRecordsResultEntry| {
        let stored = match (entry.shard_id, entry.sequence_number) {
            (Some(shard), Some(number)) if entry.error_code.is_none() => Some((shard, number)),
            _ => None,
        };
        let Some((shard, number)) = stored else {
            let code = entry.error_code.unwrap_or_else(|| "InternalFailure".to_owned());
            let message = entry.error_message.unwrap_or_default();
            return Ok(PutOutcome::Refused { code, message });
        };
        let sequence_number =
            number.parse().map_err(|error: crate::model::sequence::NotASequenceNumber| error.to_string())?;
        Ok(PutOutcome::Stored { shard: ShardId::new(shard), sequence_number })
    };
    output.records.into_iter().map(outcome).collect()
}

#[cfg(test)]
mod tests;
