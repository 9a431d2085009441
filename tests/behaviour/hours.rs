//! Each hour that is over has a manifest, in a chain, and a notice; a batch job needs nothing else.

use serde_json::Value;

use super::staged::Stage;
use crate::support::keeper::LIMIT;
use crate::support::{aws, sha256, topics, wait_for};

const HOUR: i64 = 3_600_000;

/// The manifests of a bucket, by key, in order of hours.
fn manifests(bucket: &str, stream: &str) -> Vec<(String, Vec<u8>, Value)> {
    let keys = aws::keys(bucket, &format!("{stream}/dt="));
    let keys = keys.into_iter().filter(|key| key.ends_with("/_hour.json"));
    keys.map(|key| {
        let body = aws::object(bucket, &key).unwrap().body;
        let value = serde_json::from_slice(&body).unwrap();
        (key, body, value)
    })
    .collect()
}

/// Records of three hours ago and of now; the second hour is idle. Then the disk is lost.
#[test]
fn past_hours_are_told_once_chained_and_announced() {
    let mut stage = Stage::new("hours", 2);
    let topic = topics::topic("hours");
    stage.put(0, 40);
    stage.put(1, 30);
    stage.kinesis.with(|state| {
        for record in state.shards.iter_mut().flat_map(|shard| &mut shard.records) {
            record.arrival -= 3 * HOUR;
        }
    });
    stage.put(0, 20);
    let setting = stage.setting().max_records(25).text("notice", "topic_arn", &topic.arn);
    let mut keeper = setting.start();
    stage.wait_all_archived();
    let stream = stage.kinesis.stream.clone();
    let three = || manifests(&stage.bucket, &stream).len() >= 3;
    wait_for("three hours told", 3 * LIMIT, || three().then_some(()));
    let mut heard = Vec::new();
    wait_for("their notices", LIMIT, || {
        heard.extend(topic.take().into_iter().filter(|message| message.attributes["type"] == "hour"));
        (heard.len() >= 3).then_some(())
    });
    keeper.stop();

    let told = manifests(&stage.bucket, &stream);
    let records: Vec<_> = told.iter().map(|(.., hour)| hour["totals"]["records"].as_u64().unwrap()).collect();
    assert_eq!(records[..3], [70, 0, 0]);
    assert_eq!(told[0].2["previous"], Value::Null);
    for pair in told.windows(2) {
        let (before, after) = (&pair[0], &pair[1].2);
        assert_eq!(
            (&after["previous"]["key"], &before.2["next_key"]),
            (&before.0.as_str().into(), &after["key"])
        );
        assert_eq!(after["previous"]["sha256"], sha256(&before.1));
    }
    let archive = stage.check();
    for entry in
        told[0].2["shards"].as_array().unwrap().iter().flat_map(|shard| shard["entries"].as_array().unwrap())
    {
        let object = &archive.objects[entry["key"].as_str().unwrap()];
        assert_eq!(
            (&entry["sha256"], &entry["size"]),
            (&sha256(&object.body).into(), &object.body.len().into())
        );
    }
    for message in &heard {
        let (key, body, hour) = told.iter().find(|(key, ..)| message.body["key"] == key.as_str()).unwrap();
        assert_eq!(
            (&message.body["sha256"], &message.body["totals"]),
            (&sha256(body).into(), &hour["totals"])
        );
        assert_eq!(message.body["url"], format!("s3://{}/{key}", stage.bucket));
        assert!(!message.attributes.contains_key("shard"));
    }
    setting.lose_disk();
    let mut keeper = setting.start();
    stage.put(1, 10);
    stage.wait_all_archived();
    keeper.stop();
    assert!(manifests(&stage.bucket, &stream).starts_with(&told), "what was told stays as it is");
}
