//! The stream changes: missing, split, merged, deleted and made again.

use crate::support::keeper::LIMIT;
use crate::support::scene::Scene;
use crate::support::{aws, fresh, http, wait_for};

#[test]
fn a_missing_stream_is_waited_for() {
    let mut scene = Scene::new("missing", 1);
    scene.stream = fresh("missing");
    let (setting, address) = scene.setting().max_age("1s").with_http();
    let mut keeper = setting.start();
    let health = wait_for("an answer of /healthz", LIMIT, || http::get(&address, "/healthz"));
    assert_eq!(health.status(), 503);
    assert!(health.text().contains("waiting for stream"), "{}", health.text());
    aws::create_stream(&scene.stream, 2);
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    wait_for("health", LIMIT, || http::get(&address, "/healthz").filter(|answer| answer.status() == 200));
    keeper.stop();
    scene.check();
}

#[test]
fn a_split_and_a_merge_are_followed_and_each_parents_ledger_ends() {
    let mut scene = Scene::new("split", 1);
    scene.put(100);
    let mut keeper = scene.setting().max_age("1s").start();
    scene.wait_all_archived(LIMIT);
    aws::split(&scene.stream, &aws::shards(&scene.stream)[0]);
    scene.put(200);
    scene.watch().wait_entries("end", 1, LIMIT);
    let shards = aws::shards(&scene.stream);
    let children: Vec<&str> = shards[1..].iter().map(|shard| shard.shard_id.as_str()).collect();
    aws::merge(&scene.stream, children[0], children[1]);
    scene.put(100);
    scene.watch().wait_entries("end", 3, LIMIT);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_eq!(archive.ledgers.len(), 4);
    for entry in archive.entries("end") {
        let named: Vec<&str> =
            entry.fields["children"].as_array().unwrap().iter().filter_map(|child| child.as_str()).collect();
        let expected = if entry.text("shard") == shards[0].shard_id { 2 } else { 1 };
        assert_eq!(named.len(), expected, "{}", entry.fields);
    }
    let merged = archive.entries("begin").find(|entry| entry.text("shard").ends_with("3")).unwrap();
    assert_eq!(merged.fields["parents"].as_array().unwrap().len(), 2);
}

#[test]
fn a_backlog_over_a_split_is_archived_whole() {
    let mut scene = Scene::new("backlog", 1);
    scene.put(200);
    aws::split(&scene.stream, &aws::shards(&scene.stream)[0]);
    scene.put(200);
    let mut keeper = scene.setting().max_age("1s").start();
    scene.wait_all_archived(LIMIT);
    scene.watch().wait_entries("end", 1, LIMIT);
    keeper.stop();
    scene.check();
}

#[test]
fn a_stream_deleted_and_made_again_has_new_ledgers() {
    let mut scene = Scene::new("again", 1);
    scene.put(100);
    let setting = scene.setting().max_age("1s");
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    aws::delete_stream(&scene.stream);
    aws::create_stream(&scene.stream, 1);
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_eq!(archive.ledgers.len(), 2);
}
