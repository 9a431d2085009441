//! The stream, read through the Kinesis API.
//!
//! Owns the calls, their deadlines and how answers become values of the model. Does not pace
//! itself and keeps no position: a shard does.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_kinesis::config::StalledStreamProtectionConfig;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::types::{self, ShardIteratorType};
use aws_sdk_kinesis::{Client, config};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::DateTime;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use super::answer::AnswerDate;
use super::blocking::{Blocking, Until};
use super::clients::{CONNECT_TIMEOUT, Clients};
use super::errors::Refusal;
use crate::model::shard::{HashKeyRange, Shard, ShardId, StreamDescription, StreamIdentity, StreamStatus};
use crate::ports::{Clock, IteratorStart, Reply, Served, Stream, StreamError, StreamErrorKind};
use crate::stop::Stop;
use portions::Portions;
use reply::{RawReply, Unread, Unusual, parsed, reply_of, timestamp};
pub(super) use reply::{children, raw_records};

mod portions;
pub mod reply;

/// A full reply is 10 MiB, five seconds' worth of a shard's 2 MB/s; three times that is a hung connection, or a line on
/// which less must be asked for at once.
const RECORDS_DEADLINE: Duration = Duration::from_secs(15);

/// A tiny answer, with the SDK's three tries and their back-off of a second or two.
const ITERATOR_DEADLINE: Duration = Duration::from_secs(10);

/// A page of a thousand shards, or a description, with the SDK's three tries.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(15);

/// However many shards look at the stream at once: DescribeStreamSummary is limited to 20 calls a
/// second for the whole account, and others live there too.
const LOOKS_APART: Duration = Duration::from_millis(200);

const DESCRIBE: &str = "DescribeStreamSummary";

/// How often a listing begins anew when the stream is busy or the page's token expired.
const LISTING_TRIES: u32 = 5;

/// The wait before the first new listing; doubles with each.
const LISTING_PAUSE: Duration = Duration::from_millis(500);

/// Which stream, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamName {
    /// By its name, in the account of the credentials.
    Name(String),
    /// By its ARN, in any account and region.
    Arn(String),
}

/// One stream.
pub struct KinesisStream {
    client: Client,
    /// For GetRecords, which is called a thousand times as often as all else: what is special about it is
    /// settled once and not with each call.
    reader: Client,
    blocking: Blocking,
    clock: Arc<dyn Clock>,
    name: StreamName,
    /// Known once the stream was described; from then on every call names it.
    arn: OnceLock<String>,
    /// Whoever looks at the stream holds it; those who wait share what is found.
    last_look: tokio::sync::Mutex<Option<Look>>,
    unusual: Unusual,
    portions: Portions,
}

/// One description of the stream, for all who asked before it began.
struct Look {
    /// Monotonic.
    began: Duration,
    found: Result<Served<StreamDescription>, StreamError>,
}

impl KinesisStream {
    /// Connects to nothing yet. `clock` stands in where an answer has no date.
    pub fn new(clients: &Clients, blocking: Blocking, clock: Arc<dyn Clock>, name: StreamName) -> Self {
        let (client, arn) = match &name {
            StreamName::Name(_) => (clients.kinesis(None), OnceLock::new()),
            StreamName::Arn(arn) => (clients.kinesis(Some(arn)), OnceLock::from(arn.clone())),
        };
        let last_look = tokio::sync::Mutex::new(None);
        let reader = reader(client.config());
        let (unusual, portions) = (Unusual::default(), Portions::new(RECORDS_DEADLINE));
        Self { client, reader, blocking, clock, name, arn, last_look, unusual, portions }
    }

    /// The client of all its calls.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The stream's ARN; describes the stream if it is not known yet.
    pub(super) fn stream_arn(&self, stop: &Stop) -> Result<String, StreamError> {
        match self.arn.get() {
            Some(arn) => Ok(arn.clone()),
            None => self.describe(stop).map(|served| served.value.identity.arn),
        }
    }

    /// The ARN once it is known, else the name: AWS takes one or the other.
    fn reference(&self) -> (Option<String>, Option<String>) {
        match (self.arn.get(), &self.name) {
            (Some(arn), _) | (None, StreamName::Arn(arn)) => (None, Some(arn.clone())),
            (None, StreamName::Name(name)) => (Some(name.clone()), None),
        }
    }

    fn served<T>(&self, date: &AnswerDate, value: T) -> Served<T> {
        Served { at: date.get().unwrap_or_else(|| self.clock.now()), value }
    }

    /// Calls GetRecords; without a `raw` the SDK parses the answer, which must make no difference.
    fn read(
        &self,
        iterator: &str,
        most: i32,
        stop: &Stop,
        raw: Option<RawReply>,
    ) -> Result<Served<Reply>, StreamError> {
        const CALL: &str = "GetRecords";
        let (_, arn) = self.reference();
        let date = AnswerDate::new();
        let request = self.reader.get_records().shard_iterator(iterator).limit(most);
        let mut request = request.set_stream_arn(arn).customize().interceptor(date.clone());
        if let Some(raw) = &raw {
            request = request.interceptor(raw.clone());
        }
        let arriving = raw.clone();
        let sending = async move {
            let output = request.send().await?;
            if let Some(raw) = arriving {
                raw.receive().await?;
            }
            Ok(output)
        };
        let output = self.call(CALL, RECORDS_DEADLINE, stop, sending).map_err(|(_, error)| error)?;
        let at = self.served(&date, ()).at;
        let contents = match raw {
            Some(raw) => raw.read(),
            None => parsed(output).map_err(Unread::Contents),
        };
        let (decoded, children) = contents.map_err(|unread| match unread {
            Unread::Answer(error) => failed(CALL, &Refusal::of(&*error)),
            Unread::Contents(message) => other(CALL, message),
        })?;
        let value = reply_of(decoded, children, at).map_err(|message| other(CALL, message))?;
        Ok(Served { at, value })
    }

    /// Runs one call and puts its failure into words.
    pub(super) fn call<T, E>(
        &self,
        call: &'static str,
        deadline: Duration,
        stop: &Stop,
        sending: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
    ) -> Result<T, (Refusal, StreamError)>
    where
        T: Send + 'static,
        E: ProvideErrorMetadata + std::error::Error + Send + 'static,
    {
        let refusal = match self.blocking.run(deadline, stop, Until::Stopped, sending) {
            Ok(Ok(output)) => return Ok(output),
            Ok(Err(error)) => Refusal::of(&error),
            Err(cut) => Refusal::cut(cut),
        };
        let error = failed(call, &refusal);
        Err((refusal, error))
    }

    /// Describes the stream, or shares a description that began after `asked` (monotonic).
    async fn look(&self, asked: Duration) -> Result<Served<StreamDescription>, StreamError> {
        let mut last = self.last_look.lock().await;
        if let Some(look) = &*last {
            if look.began > asked {
                return look.found.clone();
            }
            let next = (look.began + LOOKS_APART).saturating_sub(self.clock.monotonic());
            tokio::time::sleep(next).await;
        }
        let began = self.clock.monotonic();
        let found = self.describe_now().await;
        *last = Some(Look { began, found: found.clone() });
        found
    }

    async fn describe_now(&self) -> Result<Served<StreamDescription>, StreamError> {
        let (name, arn) = self.reference();
        let date = AnswerDate::new();
        let request = self.client.describe_stream_summary().set_stream_name(name).set_stream_arn(arn);
        let request = request.customize().config_override(limits(DESCRIBE_DEADLINE));
        let output = Box::pin(request.interceptor(date.clone()).send()).await;
        let output = output.map_err(|error| failed(DESCRIBE, &Refusal::of(&error)))?;
        let summary = output
            .stream_description_summary
            .ok_or_else(|| other(DESCRIBE, "the answer has no description".to_owned()))?;
        let description = described(summary).map_err(|message| other(DESCRIBE, message))?;
        // A stream made again has the same ARN, so the first one stays right.
        let _ = self.arn.set(description.identity.arn.clone());
        Ok(self.served(&date, description))
    }

    /// All pages, or why the listing broke off and whether it may begin anew.
    fn list_once(&self, stop: &Stop) -> Result<Vec<Shard>, (bool, StreamError)> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let request = self.client.list_shards();
            let request = match token.take() {
                // The token stands for the stream: AWS refuses both together.
                Some(token) => request.next_token(token),
                None => {
                    let (name, arn) = self.reference();
                    request.set_stream_name(name).set_stream_arn(arn)
                }
            };
            let sending = request.customize().config_override(limits(DESCRIBE_DEADLINE)).send();
            let page = self
                .call("ListShards", DESCRIBE_DEADLINE, stop, sending)
                .map_err(|(refusal, error)| (refusal.lets_list_anew(), error))?;
            for shard in page.shards.unwrap_or_default() {
                shards.push(listed(shard).map_err(|message| (false, other("ListShards", message)))?);
            }
            match page.next_token.filter(|token| !token.is_empty()) {
                Some(next) => token = Some(next),
                None => return Ok(shards),
            }
        }
    }
}

impl Stream for KinesisStream {
    fn describe(&self, stop: &Stop) -> Result<Served<StreamDescription>, StreamError> {
        let asked = self.clock.monotonic();
        // One call may be under way that began too early for us: it is waited for, then ours is made.
        let deadline = 2 * DESCRIBE_DEADLINE;
        self.blocking
            .run_here(deadline, stop, Until::Stopped, self.look(asked))
            .unwrap_or_else(|cut| Err(failed(DESCRIBE, &Refusal::cut(cut))))
    }

    fn list_shards(&self, stop: &Stop) -> Result<Vec<Shard>, StreamError> {
        let mut pause = LISTING_PAUSE;
        for _ in 1..LISTING_TRIES {
            let seen = stop.seen();
            match self.list_once(stop) {
                Err((true, _)) if stop.reason().is_none() => stop.wait(seen, pause),
                outcome => return outcome.map_err(|(_, error)| error),
            }
            pause *= 2;
        }
        self.list_once(stop).map_err(|(_, error)| error)
    }

    fn iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
        stop: &Stop,
    ) -> Result<Served<String>, StreamError> {
        const CALL: &str = "GetShardIterator";
        let (name, arn) = self.reference();
        let request = self.client.get_shard_iterator().set_stream_name(name).set_stream_arn(arn);
        let request = request.shard_id(shard.as_str());
        let request = match start {
            IteratorStart::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            IteratorStart::AtTime(time) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(time.as_millis())),
            IteratorStart::At(number) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(number.as_str()),
            IteratorStart::After(number) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(number.as_str()),
        };
        let date = AnswerDate::new();
        let sending =
            request.customize().config_override(limits(ITERATOR_DEADLINE)).interceptor(date.clone()).send();
        let output = self.call(CALL, ITERATOR_DEADLINE, stop, sending).map_err(|(_, error)| error)?;
        let iterator =
            output.shard_iterator.ok_or_else(|| other(CALL, "the answer has no iterator".to_owned()))?;
        Ok(self.served(&date, iterator))
    }

    fn records(&self, shard: &ShardId, iterator: &str, stop: &Stop) -> Result<Served<Reply>, StreamError> {
        let (asked, began) = (self.portions.of(shard), self.clock.monotonic());
        let outcome = self.read(iterator, asked, stop, Some(RawReply::new(&self.unusual)));
        let took = self.clock.monotonic().saturating_sub(began);
        match &outcome {
            Ok(reply) => self.portions.came(shard, asked, reply.value.records.len(), took),
            Err(error) if error.kind == StreamErrorKind::NoAnswer => self.portions.failed(shard, asked, took),
            Err(_) => {}
        }
        outcome
    }
}

/// The deadline of one operation with all its tries. One try gets half of it, so that a dead
/// connection leaves time for another.
pub(super) fn limits(deadline: Duration) -> config::Builder {
    let limits = TimeoutConfig::builder().operation_timeout(deadline).operation_attempt_timeout(deadline / 2);
    config::Config::builder().timeout_config(limits.build())
}

/// One try, which gets all of the time: the SDK's own tries would spend the shard's five calls a
/// second unseen.
pub(super) fn once(deadline: Duration) -> config::Builder {
    let limits = TimeoutConfig::builder().operation_timeout(deadline);
    config::Config::builder().timeout_config(limits.build()).retry_config(RetryConfig::disabled())
}

/// The client of GetRecords: one try, which gets all of the time. The deadline of the whole call covers the body as
/// well, so nothing watches how fast it comes.
fn reader(config: &config::Config) -> Client {
    let limits =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(RECORDS_DEADLINE);
    let config = config
        .to_builder()
        .timeout_config(limits.build())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    Client::from_conf(config.build())
}

/// A refused or cut call in the caller's terms.
fn failed(call: &'static str, refusal: &Refusal) -> StreamError {
    let message = refusal.advice(&format!("kinesis:{call}"));
    StreamError { call, kind: refusal.stream_kind(), message }
}

pub(super) const fn other(call: &'static str, message: String) -> StreamError {
    StreamError { call, kind: StreamErrorKind::Other, message }
}

fn described(summary: types::StreamDescriptionSummary) -> Result<StreamDescription, String> {
    let status = match summary.stream_status.as_str() {
        "ACTIVE" => StreamStatus::Active,
        "UPDATING" => StreamStatus::Updating,
        "CREATING" => StreamStatus::Creating,
        "DELETING" => StreamStatus::Deleting,
        unknown => return Err(format!("the stream is in the unknown state {unknown}")),
    };
    let hours = u64::try_from(summary.retention_period_hours).unwrap_or(0);
    let identity = StreamIdentity {
        name: summary.stream_name,
        arn: summary.stream_arn,
        created: timestamp(&summary.stream_creation_timestamp),
    };
    Ok(StreamDescription { identity, status, retention: Duration::from_secs(hours * 3600) })
}

pub(super) fn listed(shard: types::Shard) -> Result<Shard, String> {
    let id = ShardId::new(shard.shard_id);
    let range = shard.hash_key_range.as_ref().map(range_of).transpose();
    let range = range.and_then(|range| range.ok_or_else(|| "it has no hash key range".to_owned()));
    let range = range.map_err(|why| format!("{id}: {why}"))?;
    let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
    let parents =
        parents.into_iter().flatten().filter(|parent| !parent.is_empty()).map(ShardId::new).collect();
    let closed = shard
        .sequence_number_range
        .and_then(|numbers| numbers.ending_sequence_number)
        .is_some_and(|ending| !ending.is_empty());
    Ok(Shard { id, parents, range, closed })
}

fn range_of(range: &types::HashKeyRange) -> Result<HashKeyRange, String> {
    let key = |text: &str| text.parse::<u128>().map_err(|_| format!("`{text}` is not a hash key"));
    Ok(HashKeyRange { start: key(&range.starting_hash_key)?, end: key(&range.ending_hash_key)? })
}

#[cfg(any(test, feature = "testing"))]
pub mod canned;

#[cfg(test)]
mod tests;
