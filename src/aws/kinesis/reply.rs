//! An answer of GetRecords on its way to the model: its body is decoded here, past the SDK's parser.
//!
//! Owns which answers are decoded by whom. Signing, endpoints, errors and all that is no plain answer stay the
//! SDK's; what our decoder does not know is read by the SDK's parser from the same bytes, and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::operation::get_records::{GetRecords, GetRecordsError, GetRecordsOutput};
use aws_sdk_kinesis::types;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, Error, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_schema::protocol::SharedClientProtocol;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::ConfigBag;

use crate::model::record::RawRecord;
use crate::model::sequence::NotASequenceNumber;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::Reply;
use decode::{Decoded, Decoder, NotRead, STANDS_IN, Why};

mod buffer;
pub mod decode;

/// No more room is made beforehand, whatever the answer says of its length: GetRecords gives 10 MiB at most, in
/// base64.
const LONGEST_BODY: usize = 16 << 20;

/// Room for the body of an answer that does not tell how long it is.
const USUAL_BODY: usize = 64 << 10;

/// The answer to one call; a clone goes into the call as its interceptor. It keeps the answer, whose body is then
/// decoded as it comes.
#[derive(Clone, Debug)]
pub(super) struct RawReply {
    kept: Arc<Mutex<Option<Kept>>>,
    unusual: Unusual,
}

/// A good answer, and the SDK's parser for it.
#[derive(Debug)]
struct Kept {
    /// Its body was taken once it is received.
    answer: HttpResponse,
    body: Decoder,
    protocol: SharedClientProtocol,
}

/// How many answers had a shape that our decoder does not know.
#[derive(Clone, Debug, Default)]
pub(super) struct Unusual(Arc<AtomicU64>);

impl Unusual {
    fn count(&self, at: usize) {
        let count = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Told at the 1st, 10th, 100th …: a service that always answers so must not fill the log.
        if count == 10_u64.pow(count.ilog10()) {
            tracing::info!(
                count,
                at,
                "an answer of GetRecords has an unusual shape: the SDK's parser reads it"
            );
        }
    }

    /// How many so far.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl RawReply {
    /// Nothing answered yet.
    pub(super) fn new(unusual: &Unusual) -> Self {
        Self { kept: Arc::default(), unusual: unusual.clone() }
    }

    /// Receives the body of the answer, which must have come: its head is all that the call waits for.
    pub(super) async fn receive(&self) -> Result<(), SdkError<GetRecordsError, HttpResponse>> {
        let Some(mut kept) = self.take() else { return Ok(()) };
        let length = kept.answer.headers().get("content-length").and_then(|length| length.parse().ok());
        kept.body = Decoder::new(length.unwrap_or(USUAL_BODY).min(LONGEST_BODY));
        let mut stream = ByteStream::new(kept.answer.take_body());
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => kept.body.take(&piece),
                Err(error) => return Err(SdkError::response_error(error, kept.answer)),
            }
        }
        self.keep(kept);
        Ok(())
    }

    /// What the answer says, once it was received.
    pub(super) fn read(&self) -> Result<Contents, Unread> {
        let Some(Kept { mut answer, body, protocol }) = self.take() else {
            return Err(Unread::Contents("no answer was kept".to_owned()));
        };
        let NotRead { rest, before, why } = match body.finish() {
            Ok(decoded) => return Ok((decoded, Vec::new())),
            Err(not_read) => not_read,
        };
        if let Why::Odd { at } = why {
            self.unusual.count(at);
        }
        *answer.body_mut() = SdkBody::from(rest);
        match by_the_sdk(&answer, &protocol) {
            Ok(output) => parsed_behind(before, output).map_err(Unread::Contents),
            Err(cause) => Err(Unread::Answer(Box::new(SdkError::response_error(cause, answer)))),
        }
    }

    fn keep(&self, kept: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    fn take(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What an answer says, and the shards that took over.
pub(super) type Contents = (Decoded, Vec<ShardId>);

/// Why an answer that came was not read.
pub(super) enum Unread {
    /// It is not what an answer of GetRecords looks like; as the SDK tells it.
    Answer(Box<SdkError<GetRecordsError, HttpResponse>>),
    /// It lacks something, or says something impossible.
    Contents(String),
}

/// The SDK's own parser.
fn by_the_sdk(answer: &HttpResponse, protocol: &SharedClientProtocol) -> Result<GetRecordsOutput, BoxError> {
    // Nothing of the configuration changes how these answers are read.
    let config = ConfigBag::base();
    let mut reader = protocol.deserialize_response(answer, GetRecords::OUTPUT_SCHEMA, &config)?;
    Ok(GetRecordsOutput::deserialize(&mut *reader)?)
}

#[dyn_dispatch_hint]
impl Intercept for RawReply {
    fn name(&self) -> &'static str {
        "RawReply"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().is_success() {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        }
        Ok(())
    }
}

impl DeserializeResponse for RawReply {
    /// Before the body is there: the SDK would gather it in memory of its own.
    fn deserialize_streaming_with_config(
        &self,
        response: &mut HttpResponse,
        config: &ConfigBag,
    ) -> Option<Result<Output, OrchestratorError<Error>>> {
        let Some(protocol) = config.load::<SharedClientProtocol>().cloned() else {
            return Some(Err(OrchestratorError::other("the SDK has no protocol to read the answer by")));
        };
        let mut answer = HttpResponse::new(response.status(), response.take_body());
        *answer.headers_mut() = response.headers().clone();
        self.keep(Kept { answer, body: Decoder::new(0), protocol });
        let nothing = GetRecordsOutput::builder().set_records(Some(Vec::new())).build();
        Some(nothing.map(Output::erase).map_err(OrchestratorError::other))
    }

    /// Not reached: the answer is kept before.
    fn deserialize_nonstreaming_with_config(
        &self,
        _response: &HttpResponse,
        _config: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        Err(OrchestratorError::other("the SDK read the answer's body by itself"))
    }
}

/// What the SDK's parser read, as our decoder would have it, and the shards that took over.
pub(super) fn parsed(output: GetRecordsOutput) -> Result<Contents, String> {
    let (records, bytes) = raw_records(output.records)?;
    let millis_behind_latest = output.millis_behind_latest.map(|millis| u64::try_from(millis).unwrap_or(0));
    let next_iterator = output.next_shard_iterator;
    Ok((Decoded { records, bytes, next_iterator, millis_behind_latest }, children(output.child_shards)))
}

/// The same of the rest of an answer, behind the records that our decoder read.
fn parsed_behind(before: Decoded, mut rest: GetRecordsOutput) -> Result<Contents, String> {
    if rest.records.first().is_none_or(|first| first.sequence_number != STANDS_IN) {
        // None were read; or the answer names its records twice, and the SDK keeps only those named last.
        return parsed(rest);
    }
    rest.records.remove(0);
    let (mut rest, children) = parsed(rest)?;
    let mut records = before.records;
    records.append(&mut rest.records);
    Ok((Decoded { records, bytes: before.bytes + rest.bytes, ..rest }, children))
}

/// The reply, by the service's clock at its answer.
pub(super) fn reply_of(decoded: Decoded, children: Vec<ShardId>, at: Timestamp) -> Result<Reply, String> {
    let next_iterator = decoded.next_iterator.filter(|next| !next.is_empty());
    let millis_behind_latest = match decoded.millis_behind_latest {
        Some(millis) => millis,
        None if next_iterator.is_none() => 0,
        // Taking it for "caught up" could hide records that were trimmed unread.
        None => return Err("the answer has no MillisBehindLatest".to_owned()),
    };
    let Decoded { records, bytes, .. } = decoded;
    let complete_to = at - Duration::from_millis(millis_behind_latest);
    Ok(Reply { records, next_iterator, millis_behind_latest, children, bytes, complete_to, pushed: false })
}

/// The records, and how many bytes of payload and keys they are.
pub(in crate::aws) fn raw_records(given: Vec<types::Record>) -> Result<(Vec<RawRecord>, u64), String> {
    let mut bytes = 0;
    let mut records = Vec::with_capacity(given.len());
    for record in given {
        let record = raw(record)?;
        bytes += (record.data.len() + record.partition_key.as_deref().map_or(0, str::len)) as u64;
        records.push(record);
    }
    Ok((records, bytes))
}

/// The ids of the shards that took over.
pub(in crate::aws) fn children(given: Option<Vec<types::ChildShard>>) -> Vec<ShardId> {
    given.unwrap_or_default().into_iter().map(|child| ShardId::new(child.shard_id)).collect()
}

pub(super) fn raw(record: types::Record) -> Result<RawRecord, String> {
    let sequence_number = record.sequence_number.parse();
    Ok(RawRecord {
        sequence_number: sequence_number.map_err(|error: NotASequenceNumber| error.to_string())?,
        arrival: record.approximate_arrival_timestamp.as_ref().map(timestamp).unwrap_or_default(),
        partition_key: record.partition_key.filter(|key| !key.is_empty()).map(Into::into),
        data: record.data.into_bytes(),
    })
}

/// Whole milliseconds; the epoch for what the archive's form of a time cannot hold.
pub(super) fn timestamp(time: &DateTime) -> Timestamp {
    // Kinesis writes milliseconds as a fraction of a second. Read as a binary number, that lies a little above
    // or below what is meant, so rounding down would make a millisecond less of every second one.
    let millis = (time.as_nanos() + 500_000).div_euclid(1_000_000);
    let time = i64::try_from(millis).map_or(Timestamp::EPOCH, Timestamp::from_millis);
    if (Timestamp::EPOCH..=Timestamp::LATEST).contains(&time) { time } else { Timestamp::EPOCH }
}

#[cfg(test)]
mod tests;
