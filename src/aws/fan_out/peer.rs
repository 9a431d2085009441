//! A Kinesis that does what a test says: answers by operation, refusals, and subscriptions whose
//! every frame the test sends. Only for tests.
//!
//! It speaks HTTP/1.1, as the SDK does without TLS; the event stream is the same bytes either way.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::aws::blocking::Blocking;
use crate::aws::clients::{AwsSettings, Clients};
use crate::model::timestamp::Timestamp;
use crate::ports::Clock;

pub(super) const DATE: &str = "Mon, 16 Dec 2019 23:48:18 GMT";
pub(super) const DATE_SECONDS: i64 = 1_576_540_098;
pub(super) const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/clickstream";
pub(super) const CONSUMER_ARN: &str =
    "arn:aws:kinesis:us-east-1:123456789012:stream/clickstream/consumer/keeper:1700000000";

const LIMIT: Duration = Duration::from_secs(30);

/// A clock that a test moves.
#[derive(Default)]
pub(super) struct Hand(Mutex<Duration>);

impl Hand {
    pub(super) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(1000) + *self.0.lock().unwrap()
    }
}

type Answer = (u16, Value);

#[derive(Default)]
struct State {
    /// By operation.
    answers: HashMap<&'static str, Answer>,
    /// The answers to the next calls, before those.
    once: HashMap<&'static str, VecDeque<Answer>>,
    asked: Vec<(String, Value)>,
    pipes: VecDeque<Pipe>,
    held: Option<&'static str>,
}

/// The server, and clients that speak to it.
pub(super) struct Peer {
    runtime: Runtime,
    pub(super) clients: Clients,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Peer {
    /// A stream with an ACTIVE consumer that takes subscriptions.
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = AwsSettings::local(format!("http://{}", listener.local_addr().unwrap()));
        let state = Arc::<(Mutex<State>, Condvar)>::default();
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                let served = Arc::clone(&served);
                std::thread::spawn(move || while serve(&connection, &served).is_some() {});
            }
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clients = Clients::load(runtime.handle(), &settings).unwrap();
        let peer = Self { runtime, clients, state };
        peer.describe(1_700_000_000);
        peer.answer("DescribeStreamConsumer", consumer("ACTIVE"));
        peer.answer(
            "RegisterStreamConsumer",
            json!({"Consumer": consumer("CREATING")["ConsumerDescription"]}),
        );
        peer.answer("GetShardIterator", json!({"ShardIterator": "it"}));
        peer.answer("GetRecords", reply(&[]));
        peer
    }

    pub(super) fn blocking(&self) -> Blocking {
        Blocking::new(self.runtime.handle().clone())
    }

    /// From now on this is the answer.
    pub(super) fn answer(&self, operation: &'static str, answer: Value) {
        self.state.0.lock().unwrap().answers.insert(operation, (200, answer));
    }

    /// From now on the operation is refused.
    pub(super) fn refuse(&self, operation: &'static str, code: &str) {
        self.state.0.lock().unwrap().answers.insert(operation, refusal(code));
    }

    /// The next call is refused; the others are answered as before.
    pub(super) fn refuse_once(&self, operation: &'static str, code: &str) {
        self.state.0.lock().unwrap().once.entry(operation).or_default().push_back(refusal(code));
    }

    /// From now on the operation is not refused any more: a subscription is taken.
    pub(super) fn relent(&self, operation: &'static str) {
        self.state.0.lock().unwrap().answers.remove(operation);
    }

    /// From now on the stream was made then.
    pub(super) fn describe(&self, created: i64) {
        let summary = json!({"StreamName": "clickstream", "StreamARN": STREAM_ARN,
            "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24, "StreamCreationTimestamp": created,
            "EnhancedMonitoring": [], "OpenShardCount": 1});
        self.answer("DescribeStreamSummary", json!({"StreamDescriptionSummary": summary}));
    }

    /// Keeps whoever asks this waiting until `let_go`.
    pub(super) fn hold(&self, operation: &'static str) {
        self.state.0.lock().unwrap().held = Some(operation);
    }

    pub(super) fn let_go(&self) {
        self.state.0.lock().unwrap().held = None;
        self.state.1.notify_all();
    }

    /// What was asked of an operation, in order.
    pub(super) fn asked(&self, operation: &str) -> Vec<Value> {
        let state = self.state.0.lock().unwrap();
        let of = state.asked.iter().filter(|(name, _)| name == operation);
        of.map(|(_, body)| body.clone()).collect()
    }

    /// Waits until an operation was asked so often.
    pub(super) fn wait_asked(&self, operation: &str, times: usize) {
        let state = self.state.0.lock().unwrap();
        let few =
            |state: &mut State| state.asked.iter().filter(|(name, _)| name == operation).count() < times;
        let (_state, late) = self.state.1.wait_timeout_while(state, LIMIT, few).unwrap();
        assert!(!late.timed_out(), "{operation} was not asked {times} times");
    }

    /// The next subscription that was taken.
    pub(super) fn pipe(&self) -> Pipe {
        let mut state = self.state.0.lock().unwrap();
        state.pipes.pop_front().expect("a subscription")
    }

    /// Whether a subscription was taken that the test has not got.
    pub(super) fn has_pipe(&self) -> bool {
        !self.state.0.lock().unwrap().pipes.is_empty()
    }
}

fn refusal(code: &str) -> Answer {
    (400, json!({"__type": code, "message": "scripted"}))
}

/// A description of the consumer.
pub(super) fn consumer(status: &str) -> Value {
    consumer_of(CONSUMER_ARN, status)
}

/// A description of another consumer of that name.
pub(super) fn consumer_of(arn: &str, status: &str) -> Value {
    json!({"ConsumerDescription": {"ConsumerName": "keeper", "ConsumerARN": arn,
        "ConsumerStatus": status, "ConsumerCreationTimestamp": 1_700_000_000, "StreamARN": STREAM_ARN}})
}

/// Records of these numbers.
pub(super) fn records(numbers: &[u64]) -> Value {
    let record = |number: &u64| {
        json!({"SequenceNumber": number.to_string(), "ApproximateArrivalTimestamp": 1_576_540_000,
            "Data": "AAEC", "PartitionKey": "k"})
    };
    numbers.iter().map(record).collect()
}

/// A reply of GetRecords.
pub(super) fn reply(numbers: &[u64]) -> Value {
    json!({"Records": records(numbers), "NextShardIterator": "it", "MillisBehindLatest": 0})
}

/// An event.
pub(super) fn event(numbers: &[u64], continuation: &str) -> Value {
    json!({"Records": records(numbers), "ContinuationSequenceNumber": continuation,
        "MillisBehindLatest": 0})
}

/// A subscription as the service sees it.
pub(super) struct Pipe(TcpStream);

impl Pipe {
    pub(super) fn event(&self, event: &Value) {
        self.chunk(&frame(&[(":message-type", "event"), (":event-type", "SubscribeToShardEvent")], event));
    }

    /// Two events in one piece.
    pub(super) fn events(&self, events: [&Value; 2]) {
        let headers = [(":message-type", "event"), (":event-type", "SubscribeToShardEvent")];
        self.chunk(&events.map(|event| frame(&headers, event)).concat());
    }

    /// An error between the events; it is the last frame.
    pub(super) fn exception(&self, code: &str) {
        let headers = [(":message-type", "exception"), (":exception-type", code)];
        self.chunk(&frame(&headers, &json!({"message": "scripted"})));
    }

    /// The regular end.
    pub(super) fn end(self) {
        (&self.0).write_all(b"0\r\n\r\n").unwrap();
    }

    /// The connection breaks in the middle of a frame.
    pub(super) fn cut(self) {
        let whole =
            frame(&[(":message-type", "event"), (":event-type", "SubscribeToShardEvent")], &json!({}));
        self.chunk(&whole[..whole.len() / 2]);
        self.0.shutdown(Shutdown::Both).unwrap();
    }

    /// Whether the other side stops taking bytes before it has taken so many.
    pub(super) fn blocks_within(&self, bytes: usize) -> bool {
        (&self.0).write_all(format!("{bytes:x}\r\n").as_bytes()).unwrap();
        // As long as bytes are taken at all, no write waits for half a second.
        self.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let piece = vec![0; 64 << 10];
        (0..bytes / piece.len()).any(|_| (&self.0).write_all(&piece).is_err())
    }

    /// Waits until the other side has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.0.set_read_timeout(Some(LIMIT)).unwrap();
        match (&self.0).read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    fn chunk(&self, bytes: &[u8]) {
        let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
        (&self.0).write_all(&out).unwrap();
    }
}

/// One message of `application/vnd.amazon.eventstream`, its headers all strings (type 7).
fn frame(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let mut named = Vec::new();
    for (name, value) in headers.iter().chain(&[(":content-type", "application/json")]) {
        named.push(name.len() as u8);
        named.extend_from_slice(name.as_bytes());
        named.push(7);
        named.extend_from_slice(&(value.len() as u16).to_be_bytes());
        named.extend_from_slice(value.as_bytes());
    }
    let payload = payload.to_string().into_bytes();
    let total = 12 + named.len() + payload.len() + 4;
    let mut frame = (total as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&(named.len() as u32).to_be_bytes());
    frame.extend_from_slice(&crc(&frame).to_be_bytes());
    frame.extend_from_slice(&named);
    frame.extend_from_slice(&payload);
    frame.extend_from_slice(&crc(&frame).to_be_bytes());
    frame
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// One request; `None` when the connection is at its end, or belongs to a subscription.
fn serve(connection: &TcpStream, shared: &(Mutex<State>, Condvar)) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None if line.trim_end().is_empty() => break,
            None => None,
        };
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let operation = headers.get("x-amz-target")?.rsplit('.').next()?.to_owned();
    let mut state = shared.0.lock().unwrap();
    state.asked.push((operation.clone(), serde_json::from_slice(&body).ok()?));
    shared.1.notify_all();
    state = shared.1.wait_while(state, |state| state.held == Some(operation.as_str())).unwrap();
    let once = state.once.get_mut(operation.as_str()).and_then(VecDeque::pop_front);
    let answer = once.or_else(|| state.answers.get(operation.as_str()).cloned());
    let mut out = connection;
    let Some((status, answer)) = answer else {
        // The test ends the connection with the subscription: the client must not ask the next over it.
        let head = format!(
            "HTTP/1.1 200 OK\r\ndate: {DATE}\r\ncontent-type: application/vnd.amazon.eventstream\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        out.write_all(head.as_bytes()).ok()?;
        let pipe = Pipe(connection.try_clone().ok()?);
        let first = [(":message-type", "event"), (":event-type", "initial-response")];
        // Before the first frame: whoever is told of the subscription finds it here.
        state.pipes.push_back(Pipe(connection.try_clone().ok()?));
        pipe.chunk(&frame(&first, &json!({})));
        return None;
    };
    let text = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ndate: {DATE}\r\ncontent-type: application/x-amz-json-1.1\r\n\
         content-length: {}\r\n\r\n{text}",
        text.len()
    );
    out.write_all(head.as_bytes()).ok()
}
