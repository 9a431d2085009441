//! A Kinesis that takes everything: the same for all contenders, in a process of its own.
//!
//! Answers PutRecords as AWS does, with a shard and a sequence number for each record, and keeps nothing.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem;

/// So many that no contender waits for a shard's limits.
const SHARDS: u128 = 400;
const MOST_RECORDS: usize = 500;

/// Serves until standard input closes; tells its port on standard output.
pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let records = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&records);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let records = Arc::clone(&total);
            // A contender that goes away in the middle has ended.
            std::thread::spawn(move || drop(converse(stream, &records)));
        }
    });
    // Each line asks how many records came since the last one.
    for line in io::stdin().lines() {
        line?;
        println!("{}", records.swap(0, Ordering::SeqCst));
    }
    Ok(())
}

fn converse(mut stream: TcpStream, records: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone()?);
    let answers: Vec<String> = (0..=MOST_RECORDS).map(stored).collect();
    let mut body = Vec::new();
    while let Some((operation, length)) = head(&mut reader, &mut stream)? {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        let computed;
        let answer = match operation.as_str() {
            "PutRecords" => {
                let count = memmem::find_iter(&body, b"\"PartitionKey\"").count();
                records.fetch_add(count as u64, Ordering::SeqCst);
                answers.get(count).map_or("", String::as_str)
            }
            "ListShards" => {
                computed = list();
                &computed
            }
            _ => {
                computed = describe(&operation);
                &computed
            }
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nx-amzn-RequestId: 9a3c3c7e-0000-4000-8000-000000000000\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        stream.write_all(&[head.as_bytes(), answer.as_bytes()].concat())?;
    }
    Ok(())
}

/// The operation and the body's length of the next request.
fn head(reader: &mut impl BufRead, stream: &mut TcpStream) -> io::Result<Option<(String, usize)>> {
    let (mut operation, mut length) = (String::new(), 0);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if text.is_empty() {
            return Ok(Some((operation, length)));
        }
        let Some((name, value)) = text.split_once(':') else { continue };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => operation = value.rsplit('.').next().unwrap_or_default().to_owned(),
            "content-length" => length = value.parse().unwrap_or(0),
            "expect" => stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?,
            _ => {}
        }
    }
}

fn stored(count: usize) -> String {
    let entry = |n: usize| {
        format!(
            r#"{{"SequenceNumber":"49653{:051}","ShardId":"shardId-{:012}"}}"#,
            n * 7919,
            n as u128 % SHARDS
        )
    };
    let entries: Vec<_> = (0..count).map(entry).collect();
    format!(r#"{{"FailedRecordCount":0,"Records":[{}]}}"#, entries.join(","))
}

fn shard(n: u128) -> String {
    let width = u128::MAX / SHARDS;
    let end = if n + 1 == SHARDS { u128::MAX } else { width * (n + 1) - 1 };
    format!(
        r#"{{"ShardId":"shardId-{n:012}","HashKeyRange":{{"StartingHashKey":"{}","EndingHashKey":"{end}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"49"}}}}"#,
        width * n
    )
}

fn shards() -> String {
    (0..SHARDS).map(shard).collect::<Vec<_>>().join(",")
}

fn list() -> String {
    format!(r#"{{"Shards":[{}]}}"#, shards())
}

/// DescribeStream and DescribeStreamSummary.
fn describe(operation: &str) -> String {
    let common = r#""StreamName":"bench","StreamARN":"arn:aws:kinesis:us-east-1:123456789012:stream/bench","StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1790000000,"EnhancedMonitoring":[]"#;
    if operation == "DescribeStream" {
        format!(r#"{{"StreamDescription":{{{common},"HasMoreShards":false,"Shards":[{}]}}}}"#, shards())
    } else {
        format!(r#"{{"StreamDescriptionSummary":{{{common},"OpenShardCount":{SHARDS}}}}}"#)
    }
}
