//! The adapter as it reads a reply, without a service: GetRecords is answered with given bytes.
//!
//! Everything behind the socket is the real thing, the SDK's parsing too. Only for tests and fuzzing.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use tokio::runtime::Runtime;

use super::portions::MOST_RECORDS;
use super::{KinesisStream, StreamName};
use crate::aws::blocking::Blocking;
use crate::aws::clients::{AwsSettings, Clients};
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::{Clock, Reply, Stream, StreamError};
use crate::stop::Stop;

/// A stream of which GetRecords is answered with given bytes.
pub struct Canned {
    stream: KinesisStream,
    answer: Answer,
    shard: ShardId,
    stop: Stop,
    /// The calls run on it.
    _runtime: Runtime,
}

impl Canned {
    /// Connects to nothing, now and later.
    pub fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let settings = AwsSettings::local("http://127.0.0.1:9");
        let clients = Clients::load(runtime.handle(), &settings).map_err(io::Error::other)?;
        let blocking = Blocking::new(runtime.handle().clone());
        let name = StreamName::Name("canned".to_owned());
        let mut stream = KinesisStream::new(&clients, blocking, Arc::new(Epoch), name);
        let answer = Answer::default();
        let config = stream.reader.config().to_builder().http_client(answer.clone()).build();
        stream.reader = aws_sdk_kinesis::Client::from_conf(config);
        Ok(Self { stream, answer, shard: ShardId::new("shard"), stop: Stop::new(), _runtime: runtime })
    }

    /// What the adapter makes of an answer.
    pub fn records(&self, status: u16, body: &[u8]) -> Result<Reply, StreamError> {
        self.answer_with(status, body);
        self.stream.records(&self.shard, "iterator", &self.stop).map(|served| served.value)
    }

    /// The same, as the SDK's own parser reads it.
    pub fn parsed(&self, status: u16, body: &[u8]) -> Result<Reply, StreamError> {
        self.answer_with(status, body);
        self.stream.read("iterator", MOST_RECORDS, &self.stop, None).map(|served| served.value)
    }

    /// How many answers our decoder did not know so far.
    pub fn unusual(&self) -> u64 {
        self.stream.unusual.get()
    }

    fn answer_with(&self, status: u16, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        *self.answer.0.lock().unwrap_or_else(PoisonError::into_inner) = (status, body);
    }
}

/// Stands still: the answers bear no date.
struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Status and body of the next answer, in the place of a connection.
#[derive(Clone, Default)]
struct Answer(Arc<Mutex<(u16, Bytes)>>);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

impl HttpConnector for Answer {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer =
            StatusCode::try_from(status).map(|status| HttpResponse::new(status, SdkBody::from(body)));
        HttpConnectorFuture::ready(answer.map_err(|error| ConnectorError::user(error.into())))
    }
}

impl HttpClient for Answer {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
