//! A Kinesis whose every answer the test decides: shards, records and their age, what was trimmed, states.
//!
//! For what no server can be brought to: a clock that stands elsewhere, retention that is over, broken lineage.
//! It answers as AWS documents it, or as users reported it. Faults of the connection are the proxy's.

mod reply;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use reply::reply;

use super::http::Message;
use super::proxy::{Action, Proxy, Request};

/// The most that a reply of Kinesis holds, and that a shard gives out in five seconds.
const MOST_BYTES: usize = 10 << 20;
const MOST_RECORDS: usize = 10_000;

/// How a position that was trimmed is answered: AWS does not say, users report all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimmed {
    /// GetShardIterator refuses it.
    Refused,
    /// Replies are empty and a retention behind, for ever.
    Empty,
    /// Reading goes on with what is left, as if nothing had happened.
    Silent,
}

/// A record.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it arrived, epoch milliseconds.
    pub arrival: i64,
    /// Its key; none where the stream distributes records itself.
    pub key: Option<String>,
    /// Its payload.
    pub data: Vec<u8>,
}

/// A shard.
#[derive(Clone, Debug)]
pub struct Shard {
    /// The shards that it took over from.
    pub parents: Vec<usize>,
    /// Its hash keys.
    pub range: (u128, u128),
    /// Whether it takes no more records.
    pub closed: bool,
    /// Whether ListShards names it.
    pub listed: bool,
    /// How many of its records are gone.
    pub trimmed: usize,
    /// All that it ever held.
    pub records: Vec<Record>,
}

/// What the stream is and does; the test changes it as it likes.
#[derive(Debug)]
pub struct State {
    /// Epoch seconds.
    pub created: i64,
    /// How many streams bore the name before.
    pub era: usize,
    /// `ACTIVE`, `UPDATING` …
    pub status: &'static str,
    /// `RetentionPeriodHours`.
    pub retention_hours: i64,
    /// How far the stream's clock stands from this machine's, in milliseconds.
    pub clock: i64,
    /// By number.
    pub shards: Vec<Shard>,
    /// Shards a page of ListShards.
    pub page: usize,
    /// How trimmed positions are answered.
    pub gone: Trimmed,
    /// Every call: not found.
    pub missing: bool,
    /// `MillisBehindLatest` whatever is the case.
    pub lag: Option<i64>,
    /// So many more pages of ListShards after a first are refused: their token has expired.
    pub expire_tokens: u32,
    /// So many more listings are refused: the stream is in use.
    pub busy_listings: u32,
    /// So many more replies end without a next iterator and without children.
    pub broken_ends: u32,
    /// So many more replies are empty although there are records.
    pub empty_replies: u32,
    /// Replies name children although there is a next iterator.
    pub early_children: bool,
    /// How often each call came.
    pub calls: BTreeMap<String, u64>,
    /// Calls that came too soon after 10 MiB.
    pub too_soon: u64,
    /// Of GetShardIterator: shard, type and number.
    pub iterators: Vec<(String, String, String)>,
    full: HashMap<usize, Instant>,
}

/// A stream and its server.
pub struct Scripted {
    /// The stream's name.
    pub stream: String,
    state: Arc<Mutex<State>>,
    proxy: Proxy,
}

impl Scripted {
    /// A stream of so many open shards.
    pub fn new(word: &str, shards: usize) -> Self {
        let stream = super::fresh(word);
        let width = u128::MAX / shards as u128;
        let shard = |n: usize| {
            let start = width * n as u128;
            Shard::over((start, if n + 1 == shards { u128::MAX } else { start + width - 1 }), &[])
        };
        let state = State {
            created: 1_790_000_000,
            era: 0,
            status: "ACTIVE",
            retention_hours: 24,
            clock: 0,
            shards: (0..shards).map(shard).collect(),
            page: 1000,
            gone: Trimmed::Refused,
            missing: false,
            lag: None,
            expire_tokens: 0,
            busy_listings: 0,
            broken_ends: 0,
            empty_replies: 0,
            early_children: false,
            calls: BTreeMap::new(),
            too_soon: 0,
            iterators: Vec::new(),
            full: HashMap::new(),
        };
        let state = Arc::new(Mutex::new(state));
        // Nothing is ever forwarded.
        let proxy = Proxy::new("http://127.0.0.1:9");
        let (answering, name) = (Arc::clone(&state), stream.clone());
        let answer = move |request: &Request| answering.lock().unwrap().answer(&name, request);
        proxy.always(|_| true, Action::Compute(Arc::new(answer)));
        Self { stream, state, proxy }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        self.proxy.endpoint()
    }

    /// Changes it, or looks.
    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Puts a record into a shard; gives its payload.
    pub fn put(&self, shard: usize, data: impl Into<Vec<u8>>) -> Vec<u8> {
        let data = data.into();
        self.with(|state| {
            let arrival = state.now();
            let key = Some(format!("key-{}", state.shards[shard].records.len() % 7));
            state.shards[shard].records.push(Record { arrival, key, data: data.clone() });
        });
        data
    }

    /// Puts so many small records into a shard; gives their payloads.
    pub fn put_many(&self, shard: usize, count: usize) -> Vec<Vec<u8>> {
        let first = self.with(|state| state.shards[shard].records.len());
        (first..first + count).map(|n| self.put(shard, format!("{{\"shard\":{shard},\"n\":{n}}}"))).collect()
    }

    /// Closes shards and opens one that takes over from them.
    pub fn follow(&self, parents: &[usize]) -> usize {
        self.with(|state| {
            let ranges = || parents.iter().map(|&parent| state.shards[parent].range);
            let range = (ranges().map(|r| r.0).min().unwrap(), ranges().map(|r| r.1).max().unwrap());
            for &parent in parents {
                state.shards[parent].closed = true;
            }
            state.shards.push(Shard::over(range, parents));
            state.shards.len() - 1
        })
    }

    /// How often a call came.
    pub fn calls(&self, operation: &str) -> u64 {
        self.with(|state| state.calls.get(operation).copied().unwrap_or(0))
    }
}

impl Shard {
    fn over(range: (u128, u128), parents: &[usize]) -> Self {
        let parents = parents.to_vec();
        Self { parents, range, closed: false, listed: true, trimmed: 0, records: Vec::new() }
    }
}

/// A shard's id.
pub fn id(shard: usize) -> String {
    format!("shardId-{shard:012}")
}

/// The sequence number of a shard's n-th record, in the first stream of its name.
pub fn number(shard: usize, n: usize) -> String {
    number_of(0, shard, n)
}

/// It tells which stream and which shard it came from.
fn number_of(era: usize, shard: usize, n: usize) -> String {
    format!("49{era:04}{shard:016}{:034}", (n + 1) * 10)
}

impl State {
    /// The stream's own time, epoch milliseconds.
    pub fn now(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond() + self.clock
    }

    fn answer(&mut self, stream: &str, request: &Request) -> Message {
        let asked: Value = serde_json::from_slice(&request.message.body).unwrap_or(Value::Null);
        *self.calls.entry(request.operation.clone()).or_default() += 1;
        let answered = if self.missing {
            Err("ResourceNotFoundException")
        } else {
            match request.operation.as_str() {
                "DescribeStreamSummary" => Ok(self.summary(stream).to_string()),
                "ListShards" => self.list(&asked).map(|page| page.to_string()),
                "GetShardIterator" => {
                    self.iterator(&asked).map(|it| json!({"ShardIterator": it}).to_string())
                }
                "GetRecords" => self.records(asked["ShardIterator"].as_str().unwrap_or("")),
                other => panic!("the scripted Kinesis knows no {other}"),
            }
        };
        let (status, body) = match answered {
            Ok(body) => (200, body),
            Err(code) => (400, json!({"__type": code, "message": "scripted"}).to_string()),
        };
        let mut answer = Message::response(status, "application/x-amz-json-1.1", body);
        let now = jiff::Timestamp::from_millisecond(self.now()).unwrap();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap();
        answer.set("Date", date);
        answer
    }

    fn summary(&self, stream: &str) -> Value {
        let open = self.shards.iter().filter(|shard| !shard.closed).count();
        json!({"StreamDescriptionSummary": {
            "StreamName": stream, "StreamARN": format!("arn:aws:kinesis:us-east-1:000000000000:stream/{stream}"),
            "StreamStatus": self.status, "RetentionPeriodHours": self.retention_hours,
            "StreamCreationTimestamp": self.created, "EnhancedMonitoring": [], "OpenShardCount": open}})
    }

    fn list(&mut self, asked: &Value) -> Result<Value, &'static str> {
        if self.busy_listings > 0 {
            self.busy_listings -= 1;
            return Err("ResourceInUseException");
        }
        let from = match asked["NextToken"].as_str() {
            None => 0,
            // The token stands for the stream.
            Some(_) if !asked["StreamName"].is_null() || !asked["StreamARN"].is_null() => {
                return Err("InvalidArgumentException");
            }
            Some(_) if self.expire_tokens > 0 => {
                self.expire_tokens -= 1;
                return Err("ExpiredNextTokenException");
            }
            Some(token) => token.trim_start_matches("from-").parse().unwrap_or(0),
        };
        let listed: Vec<usize> = (0..self.shards.len()).filter(|&n| self.shards[n].listed).collect();
        let page: Vec<Value> = listed.iter().skip(from).take(self.page).map(|&n| self.shard(n)).collect();
        let mut answer = json!({"Shards": page});
        if from + self.page < listed.len() {
            answer["NextToken"] = format!("from-{}", from + self.page).into();
        }
        Ok(answer)
    }

    fn shard(&self, n: usize) -> Value {
        let shard = &self.shards[n];
        let mut value = json!({"ShardId": id(n),
            "HashKeyRange": {"StartingHashKey": shard.range.0.to_string(), "EndingHashKey": shard.range.1.to_string()},
            "SequenceNumberRange": {"StartingSequenceNumber": number_of(self.era, n, 0)}});
        for (name, parent) in ["ParentShardId", "AdjacentParentShardId"].iter().zip(&shard.parents) {
            value[name] = id(*parent).into();
        }
        if shard.closed {
            value["SequenceNumberRange"]["EndingSequenceNumber"] =
                number_of(self.era, n, shard.records.len()).into();
        }
        value
    }

    /// `shard id/next record`, or `shard id/gone`; the stream's creation comes first.
    fn iterator(&mut self, asked: &Value) -> Result<String, &'static str> {
        let text = |name: &str| asked[name].as_str().unwrap_or("").to_owned();
        let (shard, kind, from) =
            (text("ShardId"), text("ShardIteratorType"), text("StartingSequenceNumber"));
        self.iterators.push((shard.clone(), kind.clone(), from.clone()));
        let n: usize = shard.trim_start_matches("shardId-").parse().unwrap_or(usize::MAX);
        let log = self.shards.get(n).filter(|log| log.listed).ok_or("ResourceNotFoundException")?;
        let at = (0..log.records.len())
            .find(|&at| number_of(self.era, n, at) >= from)
            .unwrap_or(log.records.len());
        let numbered = matches!(kind.as_str(), "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER");
        if numbered && from.get(2..22) != number_of(self.era, n, 0).get(2..22) {
            return Err("InvalidArgumentException");
        }
        if numbered && at < log.trimmed {
            match self.gone {
                Trimmed::Refused => return Err("InvalidArgumentException"),
                Trimmed::Empty => return Ok(format!("{}/{shard}/gone", self.created)),
                Trimmed::Silent => {}
            }
        }
        let next = match kind.as_str() {
            "AT_SEQUENCE_NUMBER" => at,
            "AFTER_SEQUENCE_NUMBER" => at + 1,
            "AT_TIMESTAMP" => {
                let time = (asked["Timestamp"].as_f64().unwrap_or(0.0) * 1000.0) as i64;
                log.records.iter().position(|record| record.arrival >= time).unwrap_or(log.records.len())
            }
            _ => 0,
        };
        Ok(format!("{}/{shard}/{}", self.created, next.max(log.trimmed)))
    }

    fn records(&mut self, iterator: &str) -> Result<String, &'static str> {
        let mut parts = iterator.split('/');
        let mut part = || parts.next().unwrap_or("");
        let (created, shard, place) = (part(), part(), part());
        if created != self.created.to_string() {
            return Err("ResourceNotFoundException");
        }
        let n: usize = shard.trim_start_matches("shardId-").parse().unwrap_or(0);
        let retention = self.retention_hours * 3_600_000;
        if self.full.get(&n).is_some_and(|since| since.elapsed() < Duration::from_secs(5)) {
            self.too_soon += 1;
            return Err("ProvisionedThroughputExceededException");
        }
        let Ok(from) = place.parse::<usize>() else {
            return Ok(reply(&[], Some(iterator), retention - 1000, &[]));
        };
        let from = from.max(self.shards[n].trimmed);
        let more = self.shards[n].records.len() > from;
        if more && self.empty_replies > 0 {
            self.empty_replies -= 1;
            return Ok(reply(&[], Some(iterator), 60_000, &[]));
        }
        Ok(self.some_records(n, from))
    }

    /// As many as fit, and what comes after them.
    fn some_records(&mut self, n: usize, from: usize) -> String {
        let (mut bytes, mut end) = (0, from);
        for record in self.shards[n].records.iter().skip(from).take(MOST_RECORDS) {
            bytes += record.data.len();
            if bytes > MOST_BYTES && end > from {
                bytes -= record.data.len();
                break;
            }
            end += 1;
        }
        if bytes >= MOST_BYTES {
            self.full.insert(n, Instant::now());
        }
        let shard = &self.shards[n];
        let numbered: Vec<_> =
            (from..end).map(|at| (number_of(self.era, n, at), &shard.records[at])).collect();
        let behind = shard.records.get(end).map_or(0, |next| (self.now() - next.arrival).max(1));
        let is_end = shard.closed && end >= shard.records.len();
        let children: Vec<Value> = (0..self.shards.len())
            .filter(|&child| self.shards[child].parents.contains(&n) && (is_end || self.early_children))
            .map(|child| {
                let parents: Vec<String> = self.shards[child].parents.iter().map(|&p| id(p)).collect();
                let range = self.shard(child)["HashKeyRange"].clone();
                json!({"ShardId": id(child), "ParentShards": parents, "HashKeyRange": range})
            })
            .collect();
        let next = format!("{}/{}/{end}", self.created, id(n));
        let lag = self.lag.unwrap_or(behind);
        if self.broken_ends > 0 {
            let answer = reply(&numbered, None, lag, &[]);
            self.broken_ends -= 1;
            return answer;
        }
        reply(&numbered, (!is_end).then_some(next.as_str()), lag, &children)
    }
}
