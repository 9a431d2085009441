use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::{ChildShard, Record, SequenceNumberRange};
use aws_smithy_types::Blob;

use super::reply::raw;
use super::*;
use crate::aws::scripted::{Answer, Scripted, Still};
use crate::model::timestamp::Timestamp;
use crate::stop::StopReason;

fn shard(range: (&str, &str), ending: Option<&str>) -> types::Shard {
    let keys = types::HashKeyRange::builder().starting_hash_key(range.0).ending_hash_key(range.1);
    let numbers = SequenceNumberRange::builder().starting_sequence_number("1");
    types::Shard::builder()
        .shard_id("shardId-000000000002")
        .parent_shard_id("shardId-000000000000")
        .adjacent_parent_shard_id("shardId-000000000001")
        .hash_key_range(keys.build().unwrap())
        .sequence_number_range(numbers.set_ending_sequence_number(ending.map(str::to_owned)).build().unwrap())
        .build()
        .unwrap()
}

#[test]
fn a_listed_shard_has_its_range_and_parents() {
    let whole = ("0", "340282366920938463463374607431768211455");
    let open = listed(shard(whole, None)).unwrap();
    assert_eq!(open.range, HashKeyRange::WHOLE);
    assert_eq!(open.parents.len(), 2);
    assert!(!open.closed);
    assert!(listed(shard(whole, Some("9"))).unwrap().closed);
    let wrong = listed(shard(("0", "340282366920938463463374607431768211456"), None)).unwrap_err();
    assert!(wrong.contains("is not a hash key"), "{wrong}");
}

fn reply(output: GetRecordsOutput, at: Timestamp) -> Result<Reply, String> {
    parsed(output).and_then(|(decoded, children)| reply_of(decoded, children, at))
}

fn record(key: &str, arrival: Option<DateTime>) -> Record {
    Record::builder()
        .sequence_number("49")
        .partition_key(key)
        .data(Blob::new(*b"abc"))
        .set_approximate_arrival_timestamp(arrival)
        .build()
        .unwrap()
}

#[test]
fn a_reply_is_taken_over_as_the_model_says() {
    let output = GetRecordsOutput::builder()
        .records(record("user-17", Some(DateTime::from_fractional_secs(1_700_000_000, 0.123))))
        .records(record("", None))
        .next_shard_iterator("next")
        .millis_behind_latest(5)
        .build()
        .unwrap();
    let reply = reply(output, Timestamp::from_seconds(1_700_000_002)).unwrap();
    assert_eq!(reply.bytes, 3 + 7 + 3);
    assert_eq!((reply.complete_to, reply.pushed), (Timestamp::from_millis(1_700_000_001_995), false));
    assert_eq!(reply.records[0].arrival, Timestamp::from_millis(1_700_000_000_123));
    assert_eq!(reply.records[1].partition_key, None);
    assert_eq!(reply.records[1].arrival, Timestamp::from_millis(0));
    assert_eq!((reply.next_iterator.as_deref(), reply.millis_behind_latest), (Some("next"), 5));
}

#[test]
fn an_arrival_is_the_millisecond_that_is_meant() {
    let arrival = |seconds| {
        let read = raw(record("key", Some(DateTime::from_secs_f64(seconds)))).unwrap();
        read.arrival.as_millis()
    };
    for millis in 1_763_787_600_000..1_763_787_601_000_i64 {
        let seconds: f64 = format!("{}.{:03}", millis / 1000, millis % 1000).parse().unwrap();
        assert_eq!(arrival(seconds), millis);
    }
    // What no line can say, so that every line can be read back.
    for seconds in [-1.0, -1e300, 253_402_300_800.0, 1e300] {
        assert_eq!(arrival(seconds), 0);
    }
}

#[test]
fn the_end_of_a_shard_names_its_children() {
    let keys = types::HashKeyRange::builder().starting_hash_key("0").ending_hash_key("1").build().unwrap();
    let child =
        ChildShard::builder().shard_id("shardId-000000000003").parent_shards("a").hash_key_range(keys);
    let output = GetRecordsOutput::builder().set_records(Some(vec![])).child_shards(child.build().unwrap());
    let last = reply(output.build().unwrap(), Timestamp::from_seconds(1_700_000_002)).unwrap();
    assert_eq!((last.next_iterator, last.children), (None, vec![ShardId::new("shardId-000000000003")]));
}

#[test]
fn a_reply_that_does_not_say_how_far_behind_it_is_is_no_reply() {
    let output = GetRecordsOutput::builder().set_records(Some(vec![])).next_shard_iterator("next");
    assert!(
        reply(output.build().unwrap(), Timestamp::from_seconds(1_700_000_002))
            .unwrap_err()
            .contains("MillisBehindLatest")
    );
}

/// A clock that goes on by a second at each look.
struct Ticking(std::sync::atomic::AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(3600)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
}

#[test]
fn a_thousand_shards_that_look_at_the_stream_at_once_share_one_description() {
    const SUMMARY: &str = r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"arn:aws:kinesis:eu-west-1:123456789012:stream/s","StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1700000000,"EnhancedMonitoring":[],"OpenShardCount":1}}"#;
    let server = Scripted::new(vec![Answer(200, &[], SUMMARY), Answer(200, &[], SUMMARY)]);
    let clock = Arc::new(Ticking(1.into()));
    let stream = KinesisStream::new(&server.clients, server.blocking(), clock, StreamName::Name("s".into()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let looks: Vec<_> = (0..1000).map(|_| Box::pin(stream.look(Duration::ZERO))).collect();
        for look in looks {
            assert_eq!(look.await.unwrap().value.status, StreamStatus::Active);
        }
        assert_eq!(server.asked().len(), 1);
        // Who asks later needs to know how it is then.
        let later = stream.clock.monotonic();
        assert!(stream.look(later).await.is_ok());
        assert_eq!(server.asked().len(), 2);
    });
}

/// A service that answers each call with a head and half a body, and then does `then` with the connection.
fn breaking_off(then: impl Fn(TcpStream) + Send + 'static) -> (KinesisStream, Scripted) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut head = [0; 64 << 10];
            // That a request has begun is enough; what it says is of no interest.
            let _ = connection.read(&mut head).unwrap();
            let half = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: 900\r\n\r\n{\"Rec";
            connection.write_all(half.as_bytes()).unwrap();
            then(connection);
        }
    });
    let server = Scripted::new(Vec::new());
    let clients = server.clients.at_endpoint(url);
    let name = StreamName::Arn("arn:aws:kinesis:us-east-1:123456789012:stream/s".into());
    (KinesisStream::new(&clients, server.blocking(), Arc::new(Still), name), server)
}

#[test]
fn an_answer_that_breaks_off_is_the_same_error_as_where_the_sdk_reads_it() {
    let (stream, _runtime) = breaking_off(|mut connection| {
        connection.shutdown(Shutdown::Write).unwrap();
        // Until the caller hangs up: to close before all that it sent was read would be a reset.
        let _ = std::io::copy(&mut connection, &mut std::io::sink());
    });
    let told = |raw| stream.read("iterator", 10_000, &Stop::new(), raw).map(|_| ()).unwrap_err();
    let (ours, theirs) = (told(Some(RawReply::new(&stream.unusual))), told(None));
    // By the stream of the body, which the SDK reads in another way.
    assert_eq!(ours.message.replace("streaming error: ", ""), theirs.message);
    assert_eq!(ours.kind, theirs.kind);
    assert_eq!(ours.kind, StreamErrorKind::NoAnswer, "{}", ours.message);
}

#[test]
fn a_stop_does_not_wait_for_the_rest_of_an_answer() {
    let (begun, under_way) = std::sync::mpsc::channel();
    let (stream, _runtime) = breaking_off(move |connection| {
        begun.send(connection).unwrap();
    });
    let stop = Stop::new();
    let stopping = stop.clone();
    let thread = std::thread::spawn(move || {
        let connection = under_way.recv().unwrap();
        stopping.stop(StopReason::Requested);
        // Open until the call is over.
        (connection, under_way)
    });
    let error =
        stream.read("iterator", 10_000, &stop, Some(RawReply::new(&stream.unusual))).map(|_| ()).unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Stopped, "{}", error.message);
    drop(thread.join().unwrap());
}
