//! A Kinesis out of the can and an S3 that keeps little, on one port, in a process of their own.
//!
//! Records are rendered beforehand: whoever reads waits for nothing but loopback. The bench asks on standard input
//! and is told on standard output; the process ends when its input closes.

mod kinesis;
mod lags;
mod s3;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::input::Input;
use super::process;
use kinesis::Stream;
use s3::Bucket;

/// What lies in the shards from the start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Content {
    /// json1k, in replies as long as any.
    Backlog,
    /// json1k, in replies of about a megabyte.
    InMegabytes,
    /// small100, in replies of as many records as any.
    Small,
}

impl Content {
    /// Of its input, so many replies.
    pub fn replies(self, number: u64, arrived: u64) -> super::Outcome<Input> {
        Input::named(self.name(), [number, self.each()], arrived)
    }

    /// Of the input.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backlog | Self::InMegabytes => "json1k",
            Self::Small => "small100",
        }
    }

    /// Records in a reply: one call of GetRecords gives 10,000 at most.
    const fn each(self) -> u64 {
        match self {
            Self::Backlog | Self::Small => 10_000,
            Self::InMegabytes => 1_000,
        }
    }

    /// As many replies as are about so many megabytes of payload; one at least.
    pub fn filling(self, megabytes: u64) -> u64 {
        match self {
            Self::Backlog => (megabytes / 9).max(1),
            Self::InMegabytes | Self::Small => megabytes.max(1),
        }
    }
}

/// What is served.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Plan {
    /// So many replies in each shard, all there from the start.
    Full { content: Content, shards: u64, replies: u64 },
    /// A record of json1k in each shard every so many microseconds; none, if that is 0.
    Paced { shards: u64, every_micros: u64 },
}

impl Plan {
    pub const fn shards(self) -> u64 {
        match self {
            Self::Full { shards, .. } | Self::Paced { shards, .. } => shards,
        }
    }
}

/// What the bench tells.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// How far is it?
    State,
    /// Forget how long records waited so far.
    ForgetLags,
    /// Write no more records.
    EndOfRecords,
}

/// What the bench is told first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Opened {
    pub port: u16,
    /// Bytes of payload of a shard, and its records; 0 where they come as time passes.
    pub payload: u64,
    pub records: u64,
}

/// How far it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Shards that were asked at least once, and those that were read to the tip.
    pub begun: u64,
    pub drained: u64,
    /// Records that were written so far.
    pub written: u64,
    /// Records in data objects, and such objects.
    pub archived: u64,
    pub objects: u64,
    /// Of the servers themselves.
    pub cpu_seconds: f64,
    /// How long records waited until GetRecords took them, in milliseconds.
    pub median: u64,
    pub p99: u64,
    pub longest: u64,
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    /// Empty where only its length counts.
    body: Vec<u8>,
    size: u64,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

struct Held {
    stream: Stream,
    bucket: Bucket,
}

/// Serves until standard input closes.
pub fn serve(plan: Plan) -> super::Outcome<()> {
    let (stream, payload, records) = Stream::new(plan)?;
    let held = Arc::new(Held { stream, bucket: Bucket::default() });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let opened = Opened { port: listener.local_addr()?.port(), payload, records };
    println!("{}", serde_json::to_string(&opened)?);
    let own = Arc::clone(&held);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let held = Arc::clone(&own);
            // A contender that goes away in the middle has ended.
            std::thread::spawn(move || drop(converse(stream, &held)));
        }
    });
    for line in io::stdin().lines() {
        match serde_json::from_str(&line?)? {
            Ask::State => {}
            Ask::ForgetLags => held.stream.forget_lags(),
            Ask::EndOfRecords => held.stream.end(),
        }
        let mut state = State { cpu_seconds: process::cpu_seconds("self")?, ..State::default() };
        held.stream.tell(&mut state);
        held.bucket.tell(&mut state);
        println!("{}", serde_json::to_string(&state)?);
    }
    Ok(())
}

fn converse(mut stream: TcpStream, held: &Held) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, stream.try_clone()?);
    let mut room = Vec::new();
    while let Some(request) = read(&mut reader, &mut stream)? {
        if request.header("x-amz-target").is_empty() {
            let (status, headers, body) = held.bucket.answer(&request);
            answer(&mut stream, status, &headers, &[&body])?;
        } else {
            let (first, last) = held.stream.answer(&request, &mut room);
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
    let mut head = format!("HTTP/1.1 {status}\r\nDate: {date}\r\n{length}{headers}\r\n").into_bytes();
    // What is small goes out in one piece.
    if let [parts @ .., last] = parts
        && last.len() < 4096
        && parts.iter().all(|part| part.is_empty())
    {
        head.extend_from_slice(last);
        return stream.write_all(&head);
    }
    stream.write_all(&head)?;
    parts.iter().try_for_each(|part| stream.write_all(part))
}

fn read(reader: &mut impl BufRead, stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { method, target, headers: Vec::new(), body: Vec::new(), size: 0 };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if !request.header("expect").is_empty() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    request.size = request.header("content-length").parse().unwrap_or(0);
    let mut body = reader.take(request.size);
    if request.method == "PUT" && !s3::is_kept(&request.target) {
        io::copy(&mut body, &mut io::sink())?;
    } else {
        body.read_to_end(&mut request.body)?;
    }
    Ok(Some(request))
}
