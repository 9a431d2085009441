//! `replay` at its edges: what it refuses, what it only counts, and records that do not fit.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;

use serde_json::{Value, json};

use super::replay::{replay, replay_in, state_file};
use crate::support::http::Message;
use crate::support::keeper::{LIMIT, Setting};
use crate::support::kpl::{User, aggregates};
use crate::support::proxy::{Action, Proxy, Request, kinesis_error};
use crate::support::putting::Put;
use crate::support::scene::Scene;
use crate::support::{aws, servers};

fn archived(scene: &mut Scene, records: usize) -> Setting {
    let setting = scene.setting().max_age("1s").max_records(60);
    let mut keeper = setting.start();
    scene.put(records);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    setting
}

fn payloads(stream: &str) -> BTreeSet<Vec<u8>> {
    aws::records(servers::kinesis().endpoint(), stream).into_iter().map(|record| record.data).collect()
}

/// Answers of `operation`, changed.
fn changing(proxy: &Proxy, operation: &'static str, change: impl Fn(&mut Value) + Send + Sync + 'static) {
    let around = move |request: &Request, ask: &dyn Fn(&Message) -> io::Result<Message>| {
        let mut answer = ask(&request.message)?;
        if answer.status() == 200 {
            let mut body: Value = serde_json::from_slice(&answer.body)?;
            change(&mut body);
            answer = Message::response(200, "application/x-amz-json-1.1", body.to_string());
        }
        Ok(answer)
    };
    proxy.always(move |request| request.operation == operation, Action::Around(Arc::new(around)));
}

#[test]
fn a_dry_run_counts_and_changes_nothing_and_the_source_is_refused() {
    let mut scene = Scene::new("dry", 2);
    let setting = archived(&mut scene, 300);
    let target = aws::stream("target", 2);
    let dry = replay(&setting, &target, &["--dry-run", "--json", "--rate", "10"]);
    assert_eq!(dry.code, Some(0), "{dry:?}");
    let summary = dry.summary();
    let keys: usize = (0..300).map(|n| format!("key-{n}").len()).sum();
    let bytes = keys + scene.put.iter().map(Vec::len).sum::<usize>();
    assert_eq!(
        (&summary["records"], &summary["bytes"], &summary["seconds"]),
        (&json!(300), &json!(bytes), &json!(30.0)),
        "{summary}"
    );
    let told = replay(&setting, &target, &["--dry-run"]);
    assert!(told.stdout.starts_with("would put 300 records ("), "{told:?}");
    assert!(!setting.state().join("replay").exists() && payloads(&target).is_empty());

    let itself = replay(&setting, &scene.stream, &[]);
    assert_eq!(itself.code, Some(2), "{itself:?}");
    assert!(itself.stderr.contains("say --force"), "{itself:?}");
    // By its ARN it is no other stream.
    let arn = aws::arn(&scene.stream);
    assert_eq!(replay(&setting, &arn, &["--dry-run"]).code, Some(2));
    let forced = replay(&setting, &scene.stream, &["--force", "--json", "--shard", "shardId-000000000000"]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    let there = aws::records(servers::kinesis().endpoint(), &scene.stream).len() as u64;
    assert_eq!(there, 300 + forced.summary()["records"].as_u64().unwrap());
    let nowhere = replay(&setting, "no-such-stream", &[]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert!(nowhere.stderr.contains("nothing can be put into no-such-stream"), "{nowhere:?}");
    let no_shard = replay(&setting, &target, &["--shard", "shardId-000000000009"]);
    assert!(no_shard.stderr.contains("there is no archive of shardId-000000000009"), "{no_shard:?}");
}

#[test]
fn a_state_file_is_of_one_range_and_one_target_and_outlives_neither() {
    let mut scene = Scene::new("tied", 1);
    let setting = archived(&mut scene, 120);
    let (target, other) = (aws::stream("target", 1), aws::stream("other", 1));
    let state = setting.folder.path().join("mine.ndjson");
    let state = state.to_str().unwrap();
    let first = replay(&setting, &target, &["--state", state, "--from", "1h", "--to", "2030-01-01"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    for (stream, more, said) in [
        (&target, &["--from", "2h", "--to", "2030-01-01"][..], "its --from is 1h, and here it is 2h"),
        (&target, &["--from", "1h"], "its --to is 2030-01-01T00:00:00.000Z, and here it is not given"),
        (&target, &["--from", "1h", "--to", "2030-01-01", "--all"], "its --all is false"),
        (&other, &["--from", "1h", "--to", "2030-01-01"], "its target stream is arn:aws:kinesis:"),
    ] {
        let refused = replay(&setting, stream, &[&["--state", state], more].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(said), "{said}: {refused:?}");
    }
    assert!(payloads(&other).is_empty());
    // Without --state each range and target has a file of its own.
    let to_other = replay(&setting, &other, &["--from", "1h", "--json"]);
    assert_eq!((to_other.code, to_other.summary()["records"].as_u64()), (Some(0), Some(120)), "{to_other:?}");
    // An age is another range once it is through.
    fs::remove_file(state_file(&setting)).unwrap();
    let again =
        replay(&setting, &target, &["--state", state, "--from", "1h", "--to", "2030-01-01", "--json"]);
    assert_eq!((again.code, again.summary()["records"].as_u64()), (Some(0), Some(120)), "{again:?}");
    // A target that was deleted and made again has nothing of it.
    aws::delete_stream(&other);
    aws::create_stream(&other, 1);
    let new = replay(&setting, &other, &["--from", "1h", "--json"]);
    assert_eq!(
        (&new.summary()["done_before"], &new.summary()["records"]),
        (&json!(0), &json!(120)),
        "{new:?}"
    );
}

#[test]
fn records_that_do_not_fit_are_told_and_kept_and_go_when_they_fit() {
    let mut scene = Scene::new("fit", 1);
    scene.put_sized(3, 5_000);
    let setting = archived(&mut scene, 100);
    let target = aws::stream("target", 1);
    let proxy = Proxy::new(servers::kinesis().endpoint());
    changing(&proxy, "DescribeStreamSummary", |body| {
        body["StreamDescriptionSummary"]["MaxRecordSizeInKiB"] = json!(1);
    });
    let small = ["--to-endpoint-url", proxy.endpoint(), "--json"];
    let mut setting_of_proxy = setting;
    setting_of_proxy.kinesis = proxy.endpoint().to_owned();
    let setting = setting_of_proxy;
    let dry = replay(&setting, &target, &["--dry-run", "--json"]);
    assert_eq!((&dry.summary()["records"], &dry.summary()["failed"]), (&json!(100), &json!(3)), "{dry:?}");
    let done = replay(&setting, &target, &small);
    assert_eq!(done.code, Some(1), "{done:?}");
    let summary = done.summary();
    assert_eq!((&summary["records"], &summary["failed"]), (&json!(100), &json!(3)), "{summary}");
    assert_eq!(summary["finished"], false, "{summary}");
    assert!(done.stderr.contains("raise MaxRecordSizeInKiB") && done.stderr.contains("entry "), "{done:?}");
    // Among the dead letters they are done.
    let dead = setting.folder.path().join("dead.ndjson");
    let more = [&small[..], &["--dead-letter", dead.to_str().unwrap()]].concat();
    let kept = replay(&setting, &target, &more);
    assert_eq!(kept.code, Some(1), "{kept:?}");
    let summary = kept.summary();
    assert_eq!((&summary["records"], &summary["done_before"]), (&json!(0), &json!(100)), "{summary}");
    assert_eq!((&summary["failed"], &summary["finished"]), (&json!(3), &json!(true)), "{summary}");
    let put = Put::new(servers::kinesis().endpoint(), &target).with("--envelope").path(&dead).run();
    assert_eq!(put.code, Some(0), "{put:?}");
    assert_eq!(payloads(&target), scene.put.iter().cloned().collect());
    assert_eq!(aws::records(servers::kinesis().endpoint(), &target).len(), 103);
}

#[test]
fn a_target_that_drops_keys_and_order_is_refused_and_forced_it_is_told() {
    let mut scene = Scene::new("keys", 1);
    let mut setting = archived(&mut scene, 100);
    let target = aws::stream("target", 2);
    let proxy = Proxy::new(servers::kinesis().endpoint());
    changing(&proxy, "DescribeStreamSummary", |body| {
        body["StreamDescriptionSummary"]["RecordDistributionStrategy"] = json!("AUTO");
    });
    setting.kinesis = proxy.endpoint().to_owned();
    let lost =
        format!("{target} distributes records by itself (record distribution AUTO): it drops partition keys");
    for more in [&[][..], &["--dry-run"]] {
        let refused = replay(&setting, &target, more);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(&lost) && refused.stderr.contains("say --force"), "{refused:?}");
        assert!(refused.stderr.contains("have no order there"), "{refused:?}");
    }
    assert!(!setting.state().join("replay").exists() && payloads(&target).is_empty());
    let itself = replay(&setting, &scene.stream, &[]);
    assert!(
        itself.stderr.contains("the archive is of") && itself.stderr.contains("AUTO"),
        "both: {itself:?}"
    );
    let dry = replay(&setting, &target, &["--force", "--dry-run", "--json"]);
    assert_eq!((dry.code, &dry.summary()["records"]), (Some(0), &json!(100)), "{dry:?}");
    assert!(dry.stderr.contains(&lost), "{dry:?}");
    let forced = replay(&setting, &target, &["--force", "--json"]);
    assert_eq!((forced.code, &forced.summary()["records"]), (Some(0), &json!(100)), "{forced:?}");
    assert_eq!((forced.stderr.matches(&lost).count(), payloads(&target).len()), (1, 100), "{forced:?}");
}

#[test]
fn records_without_a_key_go_by_their_sequence_numbers() {
    let mut scene = Scene::new("keyless", 1);
    let proxy = Proxy::new(servers::kinesis().endpoint());
    changing(&proxy, "GetRecords", |body| {
        for record in body["Records"].as_array_mut().unwrap() {
            record.as_object_mut().unwrap().remove("PartitionKey");
        }
    });
    let mut setting = scene.setting().max_age("1s");
    setting.kinesis = proxy.endpoint().to_owned();
    let mut keeper = setting.start();
    scene.put(50);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    let target = aws::stream("target", 2);
    let done = replay(&setting, &target, &["--json"]);
    assert_eq!((done.code, done.summary()["without_key"].as_u64()), (Some(0), Some(50)), "{done:?}");
    let expected: BTreeSet<_> =
        archive.records.iter().map(|record| (record.sequence_number.clone(), record.data.clone())).collect();
    let records = aws::records(servers::kinesis().endpoint(), &target);
    assert_eq!(
        records.into_iter().map(|record| (record.key, record.data)).collect::<BTreeSet<_>>(),
        expected
    );
}

#[test]
fn aggregates_go_back_as_user_records_and_astray_ones_only_when_all_is_asked() {
    let mut scene = Scene::new("astray", 2);
    let users = |word: &str| {
        (0..40).map(|n| User::new(&format!("{word}-{n}"), format!("{word} {n}"))).collect::<Vec<_>>()
    };
    let at: Vec<User> = users("at").into_iter().map(|user| user.at(7)).collect();
    // Of keys everywhere, so that some lie outside of whatever shard it comes to.
    let made = aggregates(vec![at, users("astray")]);
    for aggregate in &made {
        aws::put_at(&scene.stream, Some(7), &[(aggregate.partition_key.clone(), aggregate.data.clone())]);
        scene.put.extend(aggregate.users.iter().map(|user| user.data.clone()));
    }
    let setting = scene.setting().max_age("1s");
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let (some, all) = (aws::stream("some", 2), aws::stream("all", 2));
    let done = replay(&setting, &some, &["--json"]);
    assert_eq!((done.code, done.summary()["records"].as_u64()), (Some(0), Some(40)), "{done:?}");
    let records = aws::records(servers::kinesis().endpoint(), &some);
    assert!(records.iter().all(|record| record.key.starts_with("at-")), "user records with their own keys");
    let shards: BTreeSet<_> = records.iter().map(|record| record.shard.clone()).collect();
    assert_eq!(shards.len(), 1, "all by the explicit hash key that their producer gave");
    let done = replay(&setting, &all, &["--json", "--all"]);
    assert_eq!((done.code, done.summary()["records"].as_u64()), (Some(0), Some(80)), "{done:?}");
}

#[test]
fn a_target_that_refuses_everything_takes_nothing_from_what_is_to_be_done() {
    let mut scene = Scene::new("refused", 1);
    let setting = archived(&mut scene, 200);
    let target = aws::stream("target", 1);
    let proxy = Proxy::new(servers::kinesis().endpoint());
    let denied =
        proxy.always(|request| request.operation == "PutRecords", kinesis_error("AccessDeniedException"));
    let dead = setting.folder.path().join("dead.ndjson");
    let more = ["--json", "--to-endpoint-url", proxy.endpoint(), "--dead-letter", dead.to_str().unwrap()];
    let mut through_proxy = setting;
    through_proxy.kinesis = proxy.endpoint().to_owned();
    let done = replay(&through_proxy, &target, &more);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("kinesis:PutRecords"), "{done:?}");
    let summary = done.summary();
    assert_eq!((&summary["records"], &summary["failed"]), (&json!(0), &json!(0)), "{summary}");
    assert_eq!(fs::read_to_string(&dead).unwrap(), "");
    denied.end();
    let done = replay(&through_proxy, &target, &more);
    assert_eq!((done.code, done.summary()["records"].as_u64()), (Some(0), Some(200)), "{done:?}");
    assert_eq!(payloads(&target), scene.put.iter().cloned().collect());
}

#[test]
fn objects_whose_bodies_break_off_are_read_on_from_there() {
    let mut scene = Scene::new("broken", 1);
    scene.put_sized(40, 20_000);
    let mut setting = archived(&mut scene, 100);
    let target = aws::stream("target", 1);
    let proxy = Proxy::new(servers::ministack().endpoint());
    let objects = |request: &Request| request.method == "GET" && request.path.contains(".ndjson.gz");
    // More often than any one answer breaks, each time a little further on.
    let broken = proxy.first(9, objects, Action::CutAnswer(60_000));
    proxy.endpoint().clone_into(&mut setting.s3);
    let done = replay(&setting, &target, &["--json"]);
    assert_eq!((done.code, done.summary()["records"].as_u64()), (Some(0), Some(140)), "{done:?}");
    assert!(broken.used() > 2, "bodies broke off {} times", broken.used());
    assert_eq!(payloads(&target), scene.put.iter().cloned().collect());
}

#[test]
fn copies_in_folders_are_replayed_each_to_its_end_also_when_an_object_comes_late() {
    let mut scene = Scene::new("folders", 1);
    let setting = archived(&mut scene, 120);
    let target = aws::stream("target", 1);
    let keys = aws::keys(&scene.bucket, "");
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for folder in &folders {
        for key in &keys {
            let file = folder.path().join("copy").join(key);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, aws::object(&scene.bucket, key).unwrap().body).unwrap();
        }
    }
    // As it was a moment before the newest object came.
    let newest = keys.iter().rfind(|key| key.contains("_ledger/shardId-")).unwrap();
    let newest: Value = serde_json::from_slice(&aws::object(&scene.bucket, newest).unwrap().body).unwrap();
    let (key, late) = (newest["key"].as_str().unwrap(), newest["records"].as_u64().unwrap());
    let object = folders[0].path().join("copy").join(key);
    let bytes = fs::read(&object).unwrap();
    fs::remove_file(&object).unwrap();

    let more = ["--dir", "copy", "--json"];
    let early = replay_in(folders[0].path(), &setting, &target, &more);
    assert_eq!((early.code, early.summary()["records"].as_u64()), (Some(1), Some(120 - late)), "{early:?}");
    assert_eq!(early.summary()["on_their_way"], 1, "{early:?}");
    assert!(early.stderr.contains(key) && early.stderr.contains("the same command"), "{early:?}");
    fs::write(&object, bytes).unwrap();
    let again = replay_in(folders[0].path(), &setting, &target, &more);
    assert_eq!((again.code, again.summary()["records"].as_u64()), (Some(0), Some(late)), "{again:?}");
    assert_eq!(payloads(&target), scene.put.iter().cloned().collect());
    // The same words, said elsewhere, mean another archive.
    let other = replay_in(folders[1].path(), &setting, &target, &more);
    assert_eq!((other.code, other.summary()["records"].as_u64()), (Some(0), Some(120)), "{other:?}");
}
