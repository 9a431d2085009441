//! Enhanced fan-out by the real binary. `ministack` is trusted for positions, takeover and the end of a
//! shard (it forgets the parent's records, so they are archived before); `ferrokinesis` for the end of a
//! subscription's life.

use crate::support::keeper::{LIMIT, Setting};
use crate::support::scene::Scene;
use crate::support::{aws, servers};
#[cfg(feature = "demo")]
use crate::support::{http, wait_for};

const CONSUMER: &str = "keeper";

/// A keeper that subscribes, on the server at `endpoint`.
fn subscribing(scene: &Scene, endpoint: &str) -> Setting {
    let consumer = format!("{{ fan_out = \"{CONSUMER}\" }}");
    let mut setting = scene.setting().max_age("1s").value("stream", "consumer", &consumer);
    setting.kinesis = endpoint.to_owned();
    setting.text("log", "level", "debug")
}

fn on_ministack(word: &str, shards: i32) -> (Scene, Setting) {
    let endpoint = servers::ministack().endpoint();
    aws::use_kinesis(endpoint);
    let scene = Scene::new(word, shards);
    let setting = subscribing(&scene, endpoint);
    (scene, setting)
}

#[test]
fn subscribed_shards_are_archived_exactly_once_over_kills() {
    let (mut scene, setting) = on_ministack("fan-out", 2);
    scene.put(100);
    for round in 0..3 {
        let mut keeper = setting.start();
        scene.wait_all_archived(LIMIT);
        // What comes while the subscription is idle is pushed.
        scene.put(100);
        scene.wait_all_archived(LIMIT);
        let log = keeper.log();
        assert!(log.contains("subscribed") && !log.contains("is polled"), "{log}");
        assert_eq!(log.contains("consumer is registered"), round == 0, "{log}");
        if round == 2 {
            keeper.stop();
        } else {
            keeper.kill();
        }
        scene.put(100);
    }
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
}

#[test]
fn subscriptions_over_tls_are_http2_and_share_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (mut scene, mut setting) = on_ministack("fan-out-tls", 4);
    let front = servers::http2_front(servers::ministack().endpoint(), folder.path());
    setting.kinesis = front.endpoint().to_owned();
    scene.put(100);
    let mut keeper = setting.start_trusting(&folder.path().join("cert.pem"));
    for _ in 0..3 {
        scene.wait_all_archived(LIMIT);
        scene.put_sized(40, 100_000);
    }
    scene.wait_all_archived(LIMIT);
    let log = keeper.log();
    assert!(log.contains("subscribed") && !log.contains("is polled"), "{log}");
    keeper.stop();
    scene.check();
}

#[test]
fn a_subscription_that_another_takes_over_is_taken_back() {
    let (mut scene, setting) = on_ministack("takeover", 1);
    scene.put(100);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    let shard = aws::shards(&scene.stream)[0].shard_id.clone();
    let _taken = aws::take_subscription(&scene.stream, CONSUMER, &shard);
    keeper.wait_for_log("ResourceInUseException", LIMIT);
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    assert!(!keeper.log().contains("is polled"), "{}", keeper.log());
    keeper.stop();
    scene.check();
}

#[test]
fn a_subscribed_shard_ends_with_its_children() {
    let (mut scene, setting) = on_ministack("fan-out-split", 1);
    scene.put(100);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    aws::split(&scene.stream, &aws::shards(&scene.stream)[0]);
    scene.watch().wait_entries("end", 1, LIMIT);
    scene.put(200);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    let end = archive.entries("end").next().unwrap();
    assert_eq!(end.fields["children"].as_array().unwrap().len(), 2, "{}", end.fields);
    assert_eq!(archive.entries("gap").count(), 0);
}

#[test]
fn a_subscribed_stream_deleted_and_made_again_has_new_ledgers() {
    let (mut scene, setting) = on_ministack("fan-out-again", 1);
    scene.put(100);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    aws::delete_stream(&scene.stream);
    aws::create_stream(&scene.stream, 1);
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    assert_eq!(keeper.log().matches("consumer is registered").count(), 2, "{}", keeper.log());
    keeper.stop();
    assert_eq!(scene.check().ledgers.len(), 2);
}

#[cfg(feature = "demo")]
#[test]
fn a_subscription_whose_life_is_over_is_made_again() {
    let server = crate::support::ferrokinesis::Ferrokinesis::start(1500);
    aws::use_kinesis(server.endpoint());
    let mut scene = Scene::new("session", 2);
    let (setting, address) = subscribing(&scene, server.endpoint()).with_http();
    let mut keeper = setting.start();
    for lives in 1..=3 {
        scene.put(100);
        scene.wait_all_archived(LIMIT);
        wait_for("both shards' subscriptions to be over", LIMIT, || {
            (keeper.log().matches("life is over").count() >= 2 * lives).then_some(())
        });
        // Between two subscriptions a shard is not stuck.
        let health = http::get(&address, "/healthz").unwrap();
        assert_eq!(health.status(), 200, "{}", health.text());
    }
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    assert!(!keeper.log().contains("is polled"), "{}", keeper.log());
    keeper.stop();
    scene.check();
}
