//! A notice for each object, after the object, with the fields of the one shape.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::archive::{Archive, Entry};
use crate::support::keeper::LIMIT;
use crate::support::scene::Scene;
use crate::support::topics::{self, Message, Topic};
use crate::support::{aws, sha256, wait_for};

/// Takes messages until there is one for each of so many entries.
fn take(topic: &Topic, entries: usize) -> BTreeMap<(String, u64), Message> {
    let mut by_entry = BTreeMap::new();
    wait_for("a notice for each entry", LIMIT, || {
        // An hour may end while the test runs.
        for message in topic.take().into_iter().filter(|message| message.attributes["type"] != "hour") {
            let shard = message.body["shard"].as_str().unwrap().to_owned();
            by_entry.insert((shard, message.body["serial"].as_u64().unwrap()), message);
        }
        (by_entry.len() >= entries).then_some(())
    });
    by_entry
}

fn check_batch(entry: &Entry, archive: &Archive, bucket: &str, message: &Message) {
    let notice = &message.body;
    let key = entry.text("key");
    let object = &archive.objects[key];
    let same = [
        "version",
        "type",
        "stream",
        "stream_arn",
        "stream_created",
        "shard",
        "serial",
        "key",
        "content_sha256",
        "content_size",
        "records",
        "first_sequence_number",
        "last_sequence_number",
        "first_arrival",
        "last_arrival",
        "sealed_by",
    ];
    for name in same {
        assert_eq!(notice[name], entry.fields[name], "{name} of {notice}");
    }
    assert_eq!(notice["bucket"], bucket);
    assert_eq!(notice["url"], format!("s3://{bucket}/{key}"));
    assert_eq!(notice["etag"], object.etag.as_str());
    assert_eq!(notice["version_id"], object.version_id.clone().map_or(Value::Null, Value::String));
    assert_eq!(notice["sha256"], sha256(&object.body));
    assert_eq!(notice["size"], object.body.len());
    assert_eq!(notice["parents"], serde_json::json!([]));
    assert!(notice["millis_behind_latest"].is_u64(), "{notice}");
    assert_eq!(notice.as_object().unwrap().len(), 24, "{notice}");
    for name in ["type", "stream", "shard"] {
        assert_eq!(Some(message.attributes[name].as_str()), notice[name].as_str(), "attribute {name}");
    }
}

#[test]
fn each_object_is_announced_with_its_key_hash_and_range() {
    let mut scene = Scene::new("notices", 2);
    scene.bucket = aws::versioned_bucket("notices");
    let topic = topics::topic("notices");
    scene.put(200);
    let setting = scene.setting().max_age("1s").max_records(30).text("notice", "topic_arn", &topic.arn);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    let batches: Vec<_> = archive.entries("batch").collect();
    let messages = take(&topic, batches.len());
    assert_eq!(messages.len(), batches.len());
    for entry in batches {
        let message = &messages[&(entry.text("shard").to_owned(), entry.number("serial"))];
        check_batch(entry, &archive, &scene.bucket, message);
    }
    for (key, versions) in aws::versions(&scene.bucket, "") {
        assert_eq!(versions, 1, "{key} was overwritten");
    }
}

#[test]
fn a_fifo_topic_is_published_to_as_one() {
    let mut scene = Scene::new("fifo", 1);
    let topic = topics::fifo_topic("fifo");
    scene.put(90);
    let setting = scene.setting().max_age("1s").max_records(30).text("notice", "topic_arn", &topic.arn);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_eq!(take(&topic, 3).len(), archive.entries("batch").count());
}
