//! Two keepers on one stream at once, whatever they are configured to: still exactly once.

use crate::support::keeper::{LIMIT, metric};
use crate::support::proxy::{self, Proxy, Request};
use crate::support::scene::Scene;
use crate::support::servers;

#[test]
fn two_keepers_with_different_settings_archive_exactly_once() {
    let mut scene = Scene::new("two", 2);
    scene.put(500);
    let (first, http_of_first) = scene.setting().max_age("1s").max_records(37).with_http();
    let (second, http_of_second) = scene
        .setting()
        .max_age("2s")
        .max_records(53)
        .value("archive", "level", "9")
        .text("archive", "layout", "firehose")
        .with_http();
    let (mut a, mut b) = (first.start(), second.start());
    for _ in 0..4 {
        // Who is overtaken by the other does not read what the other has archived: only the archive counts.
        scene.put(250);
        scene.wait_all_archived(LIMIT);
    }
    let conflicts = |http: &str| metric(http, "kinesis_keeper_conflicts_total", &[]).unwrap_or(0.0);
    let adopted = conflicts(&http_of_first) + conflicts(&http_of_second);
    a.stop();
    b.stop();
    let archive = scene.check();
    let mut hosts: Vec<&str> = archive.entries("batch").map(|entry| entry.text("host")).collect();
    hosts.sort_unstable();
    hosts.dedup();
    assert!(adopted > 0.0 || hosts.len() < 2, "entries of {hosts:?} and none adopted");
}

#[test]
fn two_keepers_killed_again_and_again_archive_exactly_once() {
    let mut scene = Scene::new("twokills", 2);
    let first = scene.setting().max_age("1s").max_records(41);
    let second = scene.setting().max_age("1s").max_records(59).value("archive", "level", "1");
    for (point, lost) in [("after-entry", true), ("after-seal", false), ("after-put", true)] {
        scene.put(150);
        let mut other = second.start();
        let mut dying = first.start_to_crash(point, 1);
        scene.put(150);
        // It may find nothing left to do and so never come to its point.
        crate::support::wait_for("a crash, or all to be archived", LIMIT, || {
            (!dying.is_running() || scene.watch().archived() == scene.put.len() as u64).then_some(())
        });
        if dying.is_running() {
            dying.kill();
        }
        if lost {
            first.lose_disk();
        }
        scene.wait_all_archived(LIMIT);
        other.stop();
    }
    let mut keeper = first.start();
    keeper.stop();
    scene.check();
}

#[test]
fn an_entry_whose_writer_died_before_its_object_is_completed_by_the_other() {
    let mut scene = Scene::new("complete", 1);
    scene.put(100);
    let dead = scene.setting().max_age("1s").max_records(60);
    // The first entry is the ledger's begin.
    dead.start_to_crash("after-entry", 2).wait_crash();
    dead.lose_disk();
    assert_eq!(scene.watch().entries("batch"), 1, "it died with its claim in the ledger");
    assert_eq!(scene.watch().archived(), 0, "and without its object");
    let other = scene.setting().max_age("2s").value("archive", "level", "9").max_records(1_000);
    let mut keeper = other.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    let sizes: Vec<u64> = archive.entries("batch").map(|entry| entry.number("records")).collect();
    assert_eq!(sizes[0], 60, "the claim was kept as it was");
}

#[test]
fn a_ledger_that_another_began_between_two_looks_is_gone_on_with() {
    let mut scene = Scene::new("between", 1);
    scene.put(50);
    let mut first = scene.setting().max_age("1s").start();
    scene.wait_all_archived(LIMIT);
    first.stop();
    // As if the first look came just before the other's first entry, and the second just after.
    let proxy = Proxy::new(servers::ministack().endpoint());
    let looks = |request: &Request| {
        matches!(request.method.as_str(), "HEAD" | "GET") && request.path.contains("/000000000000.json")
    };
    let rule = proxy.first(1, looks, proxy::s3_error(404, "NoSuchKey"));
    let mut setting = scene.setting().max_age("1s");
    proxy.endpoint().clone_into(&mut setting.s3);
    scene.put(50);
    let mut second = setting.start();
    scene.wait_all_archived(LIMIT);
    second.stop();
    assert_eq!(rule.used(), 1);
    scene.check();
}
