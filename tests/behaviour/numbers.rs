//! The numbers: over HTTP at any time, to statsd and CloudWatch once a minute and at the end.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use crate::support::keeper::{LIMIT, metric};
use crate::support::scene::Scene;
use crate::support::{aws, fresh, http, wait_for};

#[test]
fn metrics_and_health_are_served_over_http() {
    let mut scene = Scene::new("http", 2);
    scene.put(100);
    let (setting, address) = scene.setting().max_age("1s").with_http();
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    let health =
        wait_for("health", LIMIT, || http::get(&address, "/healthz").filter(|answer| answer.status() == 200));
    assert!(!health.body.is_empty());
    let page = http::get(&address, "/metrics").unwrap();
    assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(page.text().ends_with("# EOF\n"));
    for (name, least) in [
        ("kinesis_keeper_records_read_total", 100.0),
        ("kinesis_keeper_objects_archived_total", 2.0),
        ("kinesis_keeper_batches_sealed_total", 2.0),
        ("kinesis_keeper_bytes_read_total", 100.0),
        ("kinesis_keeper_bytes_archived_total", 100.0),
        ("kinesis_keeper_upload_seconds_count", 2.0),
        ("kinesis_keeper_shards_running", 2.0),
        ("kinesis_keeper_key_space_covered_ratio", 1.0),
    ] {
        wait_for(name, LIMIT, || metric(&address, name, &[]).filter(|value| *value >= least));
    }
    assert_eq!(metric(&address, "kinesis_keeper_gaps_total", &[]).unwrap_or(0.0), 0.0);
    assert_eq!(metric(&address, "kinesis_keeper_shard_restarts_total", &[]).unwrap_or(0.0), 0.0);
    assert!(metric(&address, "kinesis_keeper_records_read_total", &["shardId-000000000001"]).is_some());
    assert_eq!(http::get(&address, "/nothing").map(|answer| answer.status()), Some(404));
    keeper.stop();
}

#[test]
fn cloudwatch_and_statsd_get_the_last_numbers_at_the_end() {
    let mut scene = Scene::new("sinks", 1);
    scene.put(100);
    let namespace = fresh("KeeperTest");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let setting = scene.setting().max_age("1s").text("metrics", "cloudwatch_namespace", &namespace).text(
        "metrics",
        "statsd",
        &socket.local_addr().unwrap().to_string(),
    );
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
    check_statsd(&socket, &scene.stream);
    let metrics = aws::metrics(&namespace);
    let names: BTreeSet<&str> = metrics.iter().map(|(name, _)| name.as_str()).collect();
    for name in
        ["RecordsRead", "BytesRead", "ObjectsArchived", "BytesArchived", "BatchesSealed", "ShardsRunning"]
    {
        assert!(names.contains(name), "no {name} in {names:?}");
    }
    let stream = format!("Stream={}", scene.stream);
    assert!(metrics.iter().all(|(_, dimensions)| dimensions.contains(&stream)), "{metrics:?}");
}

fn check_statsd(socket: &UdpSocket, stream: &str) {
    let mut lines = Vec::new();
    let mut packet = vec![0; 65_536];
    while let Ok(length) = socket.recv(&mut packet) {
        let text = String::from_utf8(packet[..length].to_vec()).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    let tag = format!("stream:{stream}");
    for (name, value) in [("records_read", 100.0), ("objects_archived", 1.0)] {
        let of_name = lines.iter().filter(|line| line.starts_with("kinesis_keeper") && line.contains(name));
        let values = of_name
            .filter(|line| line.contains("|c") && line.contains(&tag))
            .filter_map(|line| line.split_once(':')?.1.split('|').next()?.parse::<f64>().ok());
        let total: f64 = values.sum();
        assert!((total - value).abs() < 0.5, "{name} is {total} in {lines:#?}");
    }
}
