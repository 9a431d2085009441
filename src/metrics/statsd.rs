//! statsd over UDP, with DogStatsD's tags.
//!
//! Owns the wire format's details. UDP tells nobody whether anything arrived: a push fails only
//! where the system refuses to send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use cadence::prelude::*;
use cadence::{BufferedUdpMetricSink, Metric, MetricBuilder, MetricError, StatsdClient};

use crate::model::metric::{Number, Shape, Value};
use crate::ports::{MetricSink, PushError};
use crate::stop::Stop;

/// Fits into an Ethernet frame with IP and UDP around it.
const DATAGRAM: usize = 1432;

/// Numbers sent in one go, about five datagrams; after each lot the receiver gets time to read, or
/// its socket's buffer overflows when there are a thousand shards.
const LOT: usize = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// Sends to one statsd server.
#[derive(Clone, Debug)]
pub struct Statsd {
    server: String,
    stream: String,
}

impl Statsd {
    /// `server` as `host:port`. It is looked up anew for each push: it may move, and at the start
    /// it may not be known yet.
    pub const fn new(server: String, stream: String) -> Self {
        Self { server, stream }
    }

    fn client(&self) -> Result<StatsdClient, PushError> {
        let failed = |kind, what: &str, error: &dyn std::fmt::Display| PushError {
            kind,
            taken: 0,
            message: format!("{what} statsd server {} failed: {error}", self.server),
        };
        let address = self
            .server
            .to_socket_addrs()
            .and_then(|mut found| found.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(|error| failed("no_address", "looking up the", &error))?;
        let socket = socket_to(address).map_err(|error| failed("socket", "a socket to the", &error))?;
        let sink = BufferedUdpMetricSink::with_capacity(address, socket, DATAGRAM)
            .map_err(|error| failed("socket", "a socket to the", &error))?;
        Ok(StatsdClient::builder("", sink).with_tag("stream", &self.stream).build())
    }
}

/// A socket that never blocks and is not seen from outside when the server is on this machine.
fn socket_to(server: SocketAddr) -> io::Result<UdpSocket> {
    let from = match server.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(ip) if ip.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((from, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl MetricSink for Statsd {
    fn name(&self) -> &'static str {
        "statsd"
    }

    fn shape(&self) -> Shape {
        Shape::TAGGED
    }

    fn push(&self, numbers: &[Number], stop: &Stop) -> Result<(), PushError> {
        let client = self.client()?;
        let mut taken = 0;
        for lot in numbers.chunks(LOT) {
            let sent = lot.iter().try_for_each(|number| send(&client, number)).and_then(|()| client.flush());
            sent.map_err(|error| PushError {
                kind: "send",
                taken,
                message: format!("sending to the statsd server {} failed: {error}", self.server),
            })?;
            taken += lot.len();
            if taken < numbers.len() {
                stop.wait(stop.seen(), PAUSE);
            }
        }
        Ok(())
    }
}

fn send(client: &StatsdClient, number: &Number) -> Result<(), MetricError> {
    let name = number.open_metrics;
    match &number.value {
        // To statsd, nothing happened: nothing to say.
        Value::Delta(0) => Ok(()),
        Value::Delta(more) => tagged(client.count_with_tags(name, *more), number).try_send().map(drop),
        Value::Gauge(value) => tagged(client.gauge_with_tags(name, *value), number).try_send().map(drop),
        Value::Distribution(values) => values.iter().try_for_each(|(value, count)| {
            let mut line = tagged(client.distribution_with_tags(name, *value), number);
            // One line for equal values: seen once at this sampling rate, it happened so many times.
            if *count > 1 {
                line = line.with_sampling_rate(1.0 / *count as f64);
            }
            line.try_send().map(drop)
        }),
    }
}

fn tagged<'m, 'c, T: Metric + From<String>>(
    mut line: MetricBuilder<'m, 'c, T>,
    number: &'m Number,
) -> MetricBuilder<'m, 'c, T> {
    if let Some(shard) = &number.shard {
        line = line.with_tag("shard", shard.as_str());
    }
    for (name, value) in &number.labels {
        line = line.with_tag(name, value);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metric::{Labels, Unit};
    use crate::model::shard::ShardId;

    fn number(open_metrics: &'static str, labels: Labels, value: Value) -> Number {
        let shard = Some(ShardId::new("shardId-0"));
        Number { cloudwatch: "", open_metrics, unit: Unit::Count, shard, labels, value }
    }

    fn receive(server: &UdpSocket, lines: usize) -> Vec<String> {
        server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 2048];
        while received.len() < lines {
            let len = server.recv(&mut buffer).unwrap();
            assert!(len <= DATAGRAM);
            received.extend(String::from_utf8(buffer[..len].to_vec()).unwrap().lines().map(str::to_owned));
        }
        received
    }

    #[test]
    fn numbers_arrive_with_their_tags() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let statsd = Statsd::new(server.local_addr().unwrap().to_string(), "clickstream".into());
        let numbers = [
            number("kinesis_keeper_records_read_total", vec![], Value::Delta(7)),
            number("kinesis_keeper_gaps_total", vec![], Value::Delta(0)),
            number("kinesis_keeper_batches_sealed_total", vec![("reason", "age")], Value::Delta(1)),
            number("kinesis_keeper_data_freshness_seconds", vec![], Value::Gauge(1.5)),
            number("kinesis_keeper_upload_seconds", vec![], Value::Distribution(vec![(0.095, 1), (0.19, 4)])),
        ];
        statsd.push(&numbers, &Stop::new()).unwrap();
        assert_eq!(
            receive(&server, 5),
            [
                "kinesis_keeper_records_read_total:7|c|#stream:clickstream,shard:shardId-0",
                "kinesis_keeper_batches_sealed_total:1|c|#stream:clickstream,shard:shardId-0,reason:age",
                "kinesis_keeper_data_freshness_seconds:1.5|g|#stream:clickstream,shard:shardId-0",
                "kinesis_keeper_upload_seconds:0.095|d|#stream:clickstream,shard:shardId-0",
                "kinesis_keeper_upload_seconds:0.19|d|@0.25|#stream:clickstream,shard:shardId-0",
            ]
        );
    }

    #[test]
    fn many_numbers_go_in_several_datagrams() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let statsd = Statsd::new(server.local_addr().unwrap().to_string(), "clickstream".into());
        let numbers = vec![number("kinesis_keeper_gaps_total", vec![], Value::Delta(1)); 3 * LOT + 1];
        statsd.push(&numbers, &Stop::new()).unwrap();
        assert_eq!(receive(&server, numbers.len()).len(), numbers.len());
    }

    #[test]
    fn a_server_without_an_address_is_an_error() {
        let statsd = Statsd::new("no port".into(), "clickstream".into());
        let error = statsd.push(&[], &Stop::new()).unwrap_err();
        assert_eq!((error.kind, error.taken), ("no_address", 0));
    }
}
