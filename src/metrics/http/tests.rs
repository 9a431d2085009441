use std::io::{Read, Write};
use std::net::TcpStream as StdStream;

use tokio::runtime::Runtime;

use super::*;
use crate::metrics::test_clock::TestClock;
use crate::model::metric::Counter;
use crate::model::shard::ShardId;
use crate::ports::ShardState;
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
    meter.state(ShardState { activity: "reading", due: None, troubles: vec!["S3 is away".into()] });
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
fn anything_else_is_refused() {
    let stage = stage(LIMITS);
    assert_eq!(stage.get("/").0, 404);
    assert_eq!(stage.get("/metrics/").0, 404);
    let text = stage.ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("allow: GET\r\n"), "{text}");
    assert!(stage.ask("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 405 "));
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
    let handle = stage.server.as_ref().unwrap().handle.clone();
    let failure = serve(stage.address, stage.registry.clone(), &handle, Stop::new()).unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(failure.message.contains(&stage.address.to_string()), "{failure}");
}
