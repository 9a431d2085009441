//! Each record that the stream still held when the keeper got to it is in exactly one object.

use crate::support::keeper::{LIMIT, metric};
use crate::support::proxy::{Action, Gate, Proxy, Request};
use crate::support::scene::Scene;
use crate::support::{servers, wait_for};

/// Waits until the keeper says that it read so many records.
#[track_caller]
pub fn wait_read(http: &str, records: usize) {
    wait_for(&format!("{records} records to be read"), LIMIT, || {
        metric(http, "kinesis_keeper_records_read_total", &[]).filter(|read| *read >= records as f64)
    });
}

#[test]
fn sigterm_puts_all_that_was_read_into_s3_and_ends_with_0_within_ten_seconds() {
    let mut scene = Scene::new("sigterm", 4);
    scene.put(1_500);
    let (setting, http) = scene.setting().with_http();
    let mut keeper = setting.start();
    scene.put(1_500);
    wait_read(&http, scene.put.len());
    keeper.stop();
    let archive = scene.check();
    assert_eq!(archive.ledgers.len(), 4, "every shard has a ledger");
    assert!(archive.reasons().iter().all(|reason| *reason == "shutdown"), "{:?}", archive.reasons());
    assert_eq!(archive.entries("begin").count(), 4);
}

#[test]
fn sigterm_under_load_loses_and_doubles_nothing() {
    let mut scene = Scene::new("load", 3);
    let setting = scene.setting().max_age("1s").max_records(70);
    for _ in 0..2 {
        scene.put(400);
        let mut keeper = setting.start();
        scene.put(600);
        keeper.stop();
    }
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
}

#[test]
fn every_key_comes_back_with_its_record_and_in_order_within_its_shard() {
    let mut scene = Scene::new("keys", 2);
    scene.put(400);
    let setting = scene.setting().max_age("1s");
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    for shard in archive.ledgers.keys().map(|folder| folder.rsplit_once('-').unwrap().0) {
        let numbers: Vec<usize> = archive
            .records
            .iter()
            .filter(|record| record.shard == shard)
            .map(|record| {
                let n = scene.put.iter().position(|payload| *payload == record.data).unwrap();
                assert_eq!(record.partition_key.as_deref(), Some(format!("key-{n}").as_str()));
                n
            })
            .collect();
        assert!(numbers.is_sorted(), "{shard}: records out of order");
    }
}

#[test]
fn killed_in_the_middle_of_a_put_it_goes_on_without_loss_or_double() {
    for held in [Request::puts_object as fn(&Request) -> bool, Request::puts_entry] {
        let mut scene = Scene::new("midput", 2);
        scene.put(200);
        let proxy = Proxy::new(servers::ministack().endpoint());
        let gate = Gate::default();
        let rule = proxy.first(1, held, Action::Hold(gate.clone()));
        let mut setting = scene.setting().max_age("1s");
        proxy.endpoint().clone_into(&mut setting.s3);
        let mut keeper = setting.start();
        wait_for("a put to be held", LIMIT, || (rule.used() == 1).then_some(()));
        keeper.kill();
        // The put of the dead process lands while the next one is at work.
        let mut keeper = setting.start();
        gate.open();
        scene.put(100);
        scene.wait_all_archived(LIMIT);
        keeper.stop();
        scene.check();
    }
}

#[test]
fn a_prefix_and_both_layouts_hold_the_same_archive() {
    let mut scene = Scene::new("layouts", 1);
    let hive = scene.setting().max_age("1s").text("archive", "prefix", "raw/events/");
    scene.put(50);
    let mut watch = scene.watch_under("raw/events/");
    let mut keeper = hive.start();
    watch.wait_archived(50, LIMIT);
    keeper.stop();
    let firehose = hive.text("archive", "layout", "firehose");
    scene.put(50);
    let mut keeper = firehose.start();
    watch.wait_archived(100, LIMIT);
    keeper.stop();
    let archive = crate::support::archive::read_under(&scene.bucket, "raw/events/", &scene.stream);
    archive.assert_exactly(scene.put.iter().map(Vec::as_slice));
    let of_hive = archive.objects.keys().filter(|key| key.contains("/dt=")).count();
    assert!(of_hive > 0 && of_hive < archive.objects.len(), "{:?}", archive.objects.keys());
}
