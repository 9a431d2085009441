//! A Kinesis out of the can and an S3 that keeps little, on one port, in a process of their own.
//!
//! Replies are rendered beforehand: whoever reads waits for nothing but loopback. Of the objects only ledger
//! entries are kept whole; a second put of a key is refused, as `If-None-Match: *` demands.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use base64_simd::STANDARD;
use fastrand::Rng;

use super::input::event;

/// Records of a reply, about 0.9 MB of payload.
const REPLY: u64 = 1_000;

/// What the servers hold.
struct Held {
    shards: u64,
    /// Up to the iterator, which differs from shard to shard.
    replies: Vec<Vec<u8>>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Object>,
    /// Records in data objects.
    archived: u64,
    /// Shards that were read to the tip.
    drained: std::collections::BTreeSet<u64>,
}

struct Object {
    headers: Vec<(String, String)>,
    size: usize,
    body: Vec<u8>,
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Serves `shards` shards of `replies` replies until standard input closes. Tells the port and the bytes of
/// payload of a shard; each line that is asked is answered with the shards that were read to the tip and the
/// records that were archived.
pub fn serve(shards: u64, replies: u64) -> io::Result<()> {
    let (replies, payload) = render(replies);
    let held = Arc::new(Held { shards, replies, kept: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{} {payload}", listener.local_addr()?.port());
    let own = Arc::clone(&held);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let held = Arc::clone(&own);
            // A contender that goes away in the middle has ended.
            std::thread::spawn(move || drop(converse(stream, &held)));
        }
    });
    for line in io::stdin().lines() {
        line?;
        let kept = held.kept.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{} {}", kept.drained.len(), kept.archived);
    }
    Ok(())
}

fn render(replies: u64) -> (Vec<Vec<u8>>, u64) {
    let mut random = Rng::with_seed(1);
    let mut payload = 0;
    let mut rendered = Vec::new();
    for reply in 0..replies {
        let mut records = Vec::new();
        for number in reply * REPLY..(reply + 1) * REPLY {
            let data = event(&mut random, number);
            payload += data.len() as u64;
            records.push(format!(
                r#"{{"ApproximateArrivalTimestamp":1.{}E9,"Data":"{}","PartitionKey":"user-{}","SequenceNumber":"49660{:051}"}}"#,
                790_003_600_123 + number,
                STANDARD.encode_to_string(data.as_bytes()),
                random.u32(1..20_000),
                number + 1,
            ));
        }
        rendered.push(format!(r#"{{"Records":[{}]"#, records.join(",")).into_bytes());
    }
    (rendered, payload)
}

fn converse(mut stream: TcpStream, held: &Held) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone()?);
    while let Some(request) = read(&mut reader, &mut stream)? {
        if request.header("x-amz-target").is_empty() {
            let (status, headers, body) = held.s3(&request);
            answer(&mut stream, status, &headers, &[&body])?;
        } else {
            let (first, last) = held.kinesis(&request);
            answer(&mut stream, "200 OK", "", &[first, last.as_bytes()])?;
        }
    }
    Ok(())
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = if headers.contains("Content-Length") {
        String::new()
    } else {
        format!("Content-Length: {length}\r\n")
    };
    let date = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT");
    stream.write_all(format!("HTTP/1.1 {status}\r\nDate: {date}\r\n{length}{headers}\r\n").as_bytes())?;
    parts.iter().try_for_each(|part| stream.write_all(part))
}

fn read(reader: &mut impl BufRead, stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { method, target, headers: Vec::new(), body: Vec::new() };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if !request.header("expect").is_empty() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    request.body.resize(request.header("content-length").parse().unwrap_or(0), 0);
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

impl Held {
    fn kinesis(&self, request: &Request) -> (&[u8], String) {
        let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |name: &str| asked[name].as_str().unwrap_or_default();
        let nothing: &[u8] = b"";
        match request.header("x-amz-target").rsplit('.').next() {
            Some("GetRecords") => {
                let (shard, reply) = text("ShardIterator").split_once('/').unwrap_or(("0", "0"));
                let (shard, reply): (u64, usize) = (shard.parse().unwrap_or(0), reply.parse().unwrap_or(0));
                let Some(records) = self.replies.get(reply) else {
                    self.kept.lock().unwrap_or_else(PoisonError::into_inner).drained.insert(shard);
                    let next = format!(r#""NextShardIterator":"{shard}/{reply}","MillisBehindLatest":0}}"#);
                    return (b"{\"Records\":[],", next);
                };
                let behind = if reply + 1 < self.replies.len() { 60_000 } else { 0 };
                let next = reply + 1;
                (records, format!(r#","NextShardIterator":"{shard}/{next}","MillisBehindLatest":{behind}}}"#))
            }
            Some("GetShardIterator") => {
                let shard: u64 = text("ShardId").trim_start_matches("shardId-").parse().unwrap_or(0);
                (nothing, format!(r#"{{"ShardIterator":"{shard}/0"}}"#))
            }
            Some("ListShards") => {
                let shards: Vec<_> = (0..self.shards).map(|shard| listed(shard, self.shards)).collect();
                (nothing, format!(r#"{{"Shards":[{}]}}"#, shards.join(",")))
            }
            _ => {
                let common = r#""StreamName":"bench","StreamARN":"arn:aws:kinesis:us-east-1:123456789012:stream/bench","StreamStatus":"ACTIVE","RetentionPeriodHours":8760,"StreamCreationTimestamp":1790000000,"EnhancedMonitoring":[]"#;
                (
                    nothing,
                    format!(
                        r#"{{"StreamDescriptionSummary":{{{common},"OpenShardCount":{}}}}}"#,
                        self.shards
                    ),
                )
            }
        }
    }

    fn s3(&self, request: &Request) -> (&'static str, String, Vec<u8>) {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key).replace("%3D", "=");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.objects.get(&key);
        match request.method.as_str() {
            "PUT" if found.is_some() => {
                let body = "<Error><Code>PreconditionFailed</Code><Message>there is one</Message></Error>";
                ("412 Precondition Failed", String::new(), body.into())
            }
            "PUT" => {
                if !key.contains("/_") {
                    kept.archived += request.header("x-amz-meta-keeper-records").parse().unwrap_or(0);
                }
                let headers =
                    request.headers.iter().filter(|(name, _)| name.starts_with("x-amz-meta-")).cloned();
                let body = if key.contains("/_ledger/") { request.body.clone() } else { Vec::new() };
                let object = Object { headers: headers.collect(), size: request.body.len(), body };
                kept.objects.insert(key, object);
                ("200 OK", "ETag: \"1\"\r\n".to_owned(), Vec::new())
            }
            _ if query.starts_with("lifecycle") => {
                let body = "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>";
                ("404 Not Found", String::new(), body.into())
            }
            _ if key.is_empty() => ("200 OK", String::new(), kept.list(query).into_bytes()),
            _ => match found {
                Some(object) => {
                    let mut headers = "ETag: \"1\"\r\n".to_owned();
                    for (name, value) in &object.headers {
                        headers += &format!("{name}: {value}\r\n");
                    }
                    if request.method == "HEAD" {
                        headers += &format!("Content-Length: {}\r\n", object.size);
                    }
                    let body = if request.method == "HEAD" { Vec::new() } else { object.body.clone() };
                    ("200 OK", headers, body)
                }
                None if request.method == "HEAD" => ("404 Not Found", String::new(), Vec::new()),
                None => ("404 Not Found", String::new(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
            },
        }
    }
}

impl Kept {
    /// ListObjectsV2, all on one page.
    fn list(&self, query: &str) -> String {
        let given = |name: &str| {
            let value = query.split('&').find_map(|part| part.strip_prefix(name)).unwrap_or_default();
            value.replace("%2F", "/").replace("%3D", "=")
        };
        let (prefix, after) = (given("prefix="), given("start-after="));
        let keys = self.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let listed: String = keys
            .map(|(key, object)| {
                format!("<Contents><Key>{key}</Key><Size>{}</Size><ETag>\"1\"</ETag></Contents>", object.size)
            })
            .collect();
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"
        )
    }
}

fn listed(shard: u64, shards: u64) -> String {
    let width = u128::MAX / u128::from(shards);
    let start = width * u128::from(shard);
    let end = if shard + 1 == shards { u128::MAX } else { start + width - 1 };
    format!(
        r#"{{"ShardId":"shardId-{shard:012}","HashKeyRange":{{"StartingHashKey":"{start}","EndingHashKey":"{end}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"49"}}}}"#
    )
}
