use std::io::{Read, Write};
use std::net::TcpStream as StdStream;

use tokio::runtime::Runtime;

use super::*;
use crate::metrics::status::{OpenBatchStatus, Status};
use crate::metrics::test_clock::TestClock;
use crate::model::batch::SealReason;
use crate::model::manifest::{BatchNotice, Origin};
use crate::model::metric::{Counter, Gauge};
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::{ShardState, Standing};
use crate::stop::StopReason;

struct Stage {
    server: Option<Server>,
    address: SocketAddr,
    registry: Registry,
    stop: Stop,
    _runtime: Runtime,
}

fn stage(limits: Limits) -> Stage {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let registry = Registry::new("clickstream".into(), true, Arc::new(TestClock::default()));
    let stop = Stop::new();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = serve_within(limits, loopback, registry.clone(), runtime.handle(), stop.clone()).unwrap();
    Stage { address: server.address(), server: Some(server), registry, stop, _runtime: runtime }
}

impl Stage {
    fn connect(&self) -> StdStream {
        let peer = StdStream::connect(self.address).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        peer
    }

    /// Sends a request as it is and reads until the server closes.
    fn ask(&self, request: &str) -> String {
        let mut peer = self.connect();
        peer.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        text
    }

    fn get(&self, path: &str) -> (u16, String) {
        let text = self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[test]
fn it_serves_metrics_and_health() {
    let stage = stage(LIMITS);
    assert_eq!(stage.get("/healthz"), (503, "waiting for stream\n".to_owned()));
    stage.registry.stream_state(None);
    let meter = stage.registry.shard(&ShardId::new("shardId-0"));
    meter.count(Counter::RecordsRead, 3);
    let troubles = vec!["S3 is away".to_owned()];
    meter.state(ShardState { activity: "reading", troubles, ..ShardState::default() });
    assert_eq!(stage.get("/healthz"), (200, "ok\nshardId-0: S3 is away\n".to_owned()));
    let (status, body) = stage.get("/metrics?whatever");
    assert_eq!(status, 200);
    assert!(
        body.contains("kinesis_keeper_records_read_total{stream=\"clickstream\",shard=\"shardId-0\"} 3\n")
    );
    let text = stage.ask("GET /metrics HTTP/1.0\r\n\r\n");
    assert!(text.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_head_is_answered_without_a_body() {
    let stage = stage(LIMITS);
    let text = stage.ask("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn the_page_asks_nobody_but_this_server() {
    let stage = stage(LIMITS);
    let text = stage.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, page) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert!(head.contains("default-src 'none'") && head.contains("connect-src 'self'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    for foreign in ["src=", "@import", "url(", "<link", "innerHTML", "document.write"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn status_json_tells_of_every_shard() {
    let stage = stage(LIMITS);
    stage.registry.set_archive("my-archive", "raw/");
    stage.registry.stream_state(None);
    let meter = stage.registry.shard(&ShardId::new("shardId-0"));
    meter.count(Counter::RecordsRead, 3);
    let standing = Standing {
        read_to: Some("49".parse().unwrap()),
        archived_to: Some("48".parse().unwrap()),
        open_records: 2,
        open_bytes: 100,
        open_since: Some(Duration::ZERO),
    };
    let troubles = vec!["S3 is away".to_owned()];
    meter.state(ShardState { activity: "reading", troubles, standing, ..ShardState::default() });
    meter.archived(&batch("clickstream/dt=2026-11-22/hour=05/shardId-0-1.ndjson.gz"));
    let (code, body) = stage.get("/status.json");
    assert_eq!(code, 200);
    let status: Status = serde_json::from_str(&body).unwrap();
    assert_eq!((status.version, status.stream.as_str()), (1, "clickstream"));
    assert_eq!(status.archive, "s3://my-archive/raw/");
    assert!(status.healthy);
    assert_eq!(status.troubles, ["shardId-0: S3 is away"]);
    let shard = &status.shards[0];
    assert_eq!((shard.activity.as_str(), shard.records_read), ("reading", 3));
    assert_eq!(shard.read_to.as_ref().unwrap().as_str(), "49");
    assert_eq!(shard.batch, Some(OpenBatchStatus { records: 2, bytes: 100, age_seconds: 0.0 }));
    assert_eq!(shard.last_batch.as_ref(), status.last_batches.first());
    assert_eq!(status.last_batches[0].records, 7);
    assert_eq!(status.last_hour.iter().map(|minute| minute.records).sum::<u64>(), 3);
    stage.registry.retire(&ShardId::new("shardId-0"));
    let ended = stage.registry.status();
    assert_eq!(ended.shards[0].activity, "ended");
    assert!(ended.shards[0].batch.is_none() && ended.troubles.is_empty());
}

#[test]
fn the_batches_archived_last_are_kept_newest_first() {
    let stage = stage(LIMITS);
    let meter = stage.registry.shard(&ShardId::new("shardId-0"));
    (0..50).for_each(|n| meter.archived(&batch(&n.to_string())));
    let last = stage.registry.status().last_batches;
    assert_eq!((last.len(), last[0].key.as_str(), last[19].key.as_str()), (20, "49", "30"));
}

#[test]
fn gaps_and_the_end_of_retention_are_told_in_plain_words() {
    let stage = stage(LIMITS);
    stage.registry.stream_state(None);
    let meter = stage.registry.shard(&ShardId::new("shardId-0"));
    meter.set(Gauge::RetentionUsed, 0.755);
    meter.count(Counter::Gaps, 1);
    let troubles = stage.registry.status().troubles;
    assert!(troubles[0].starts_with("75 % of the stream's retention"), "{troubles:?}");
    assert!(troubles[1].starts_with("1 gap was recorded"), "{troubles:?}");
}

fn batch(key: &str) -> BatchNotice {
    BatchNotice {
        origin: Origin {
            stream: "clickstream".into(),
            stream_arn: "arn".into(),
            stream_created: Timestamp::from_seconds(0),
            shard: ShardId::new("shardId-0"),
            serial: 41,
            bucket: "my-archive".into(),
        },
        key: key.into(),
        url: format!("s3://my-archive/{key}"),
        etag: "e".into(),
        version_id: None,
        sha256: "x".into(),
        size: 123,
        content_sha256: "y".into(),
        content_size: 456,
        records: 7,
        first_sequence_number: "1".parse().unwrap(),
        last_sequence_number: "2".parse().unwrap(),
        first_arrival: Timestamp::from_seconds(0),
        last_arrival: Timestamp::from_seconds(0),
        parents: vec![],
        sealed_by: SealReason::Age,
        side: None,
        millis_behind_latest: 0,
    }
}

#[test]
fn anything_else_is_refused() {
    let stage = stage(LIMITS);
    assert_eq!(stage.get("/index.html").0, 404);
    assert_eq!(stage.get("/metrics/").0, 404);
    let text = stage.ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("allow: GET, HEAD\r\n"), "{text}");
    for method in ["PUT", "DELETE", "OPTIONS", "TRACE"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(stage.ask(&request).starts_with("HTTP/1.1 405 "), "{method}");
    }
    assert!(stage.ask("rubbish\r\n\r\n").starts_with("HTTP/1.1 400 "));
}

#[test]
fn whoever_sends_no_request_is_cut_off_and_makes_room() {
    let head = Duration::from_millis(50);
    let stage = stage(Limits { connections: 2, head, ..LIMITS });
    let mut idle = [stage.connect(), stage.connect()];
    idle[0].write_all(b"GET /heal").unwrap();
    // Both connections are taken: this one is answered because they are cut off.
    assert_eq!(stage.get("/healthz").0, 503);
    for mut peer in idle {
        let mut text = String::new();
        let _ = peer.read_to_string(&mut text);
        assert!(!text.contains(" 200 "), "{text}");
    }
}

#[test]
fn a_connection_that_takes_too_long_is_closed() {
    let whole = Duration::from_millis(50);
    let stage = stage(Limits { connections: 1, whole, ..LIMITS });
    let mut slow = stage.connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let mut text = String::new();
    let _ = slow.read_to_string(&mut text);
    assert_eq!(text, "");
}

#[test]
fn a_stop_ends_it_and_frees_the_address() {
    let mut stage = stage(Limits { drain: Duration::from_millis(50), ..LIMITS });
    let idle = stage.connect();
    assert_eq!(stage.get("/healthz").0, 503);
    stage.stop.stop(StopReason::Requested);
    stage.server.take().unwrap().join();
    assert!(StdStream::connect(stage.address).is_err());
    drop(idle);
}

#[test]
fn a_taken_address_is_said_so() {
    let stage = stage(LIMITS);
    let handle = stage.server.as_ref().unwrap().serving.handle.clone();
    let failure = serve(stage.address, stage.registry.clone(), &handle, Stop::new()).unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(failure.message.contains(&stage.address.to_string()), "{failure}");
}
