//! Shards split, merge and scale while records come and the keeper dies: all is archived, and a reader can
//! put it back in order by the lineage alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::archive::Archive;
use crate::support::keeper::{LIMIT, metric};
use crate::support::proxy::Proxy;
use crate::support::scene::Scene;
use crate::support::{aws, servers, topics, wait_for};

const KEYS: usize = 97;

/// Puts `records` numbered records over a few keys, 500 a call.
fn produce(scene: &mut Scene, records: usize) {
    let first = scene.put.len();
    let new: Vec<_> = (first..first + records)
        .map(|n| (format!("key-{}", n % KEYS), format!("{{\"n\":{n}}}").into_bytes()))
        .collect();
    aws::put(&scene.stream, &new);
    scene.put.extend(new.into_iter().map(|(_, data)| data));
}

/// The shards of the archive, parents before children, by what the ledgers' `begin` entries say.
fn in_lineage_order(archive: &Archive) -> Vec<String> {
    let parents: BTreeMap<&str, Vec<&str>> = (archive.entries("begin"))
        .map(|begin| {
            let named = begin.fields["parents"].as_array().unwrap().iter();
            (begin.text("shard"), named.map(|parent| parent.as_str().unwrap()).collect())
        })
        .collect();
    let mut order: Vec<&str> = Vec::new();
    while order.len() < parents.len() {
        let before = order.len();
        for (shard, its) in &parents {
            let ready = its.iter().all(|parent| order.contains(parent) || !parents.contains_key(parent));
            if ready && !order.contains(shard) {
                order.push(shard);
            }
        }
        assert!(order.len() > before, "the lineage goes in a circle: {parents:?}");
    }
    order.into_iter().map(str::to_owned).collect()
}

/// Every key's records come in the order of their numbers when the shards are read in lineage order.
fn assert_ordered_by_key(archive: &Archive) {
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for shard in in_lineage_order(archive) {
        for record in archive.records.iter().filter(|record| record.shard == shard) {
            let fields: serde_json::Value = serde_json::from_slice(&record.data).unwrap();
            let n = fields["n"].as_u64().unwrap() as usize;
            let key = record.partition_key.clone().unwrap();
            let before = last.insert(key.clone(), n);
            assert!(before.is_none_or(|before| before < n), "{shard}, {key}: {n} comes after {before:?}");
        }
    }
}

/// Splits the first open shard, merges its children, scales to four, five and three.
fn reshard(stream: &str, step: usize) {
    let open: Vec<_> = aws::shards(stream)
        .into_iter()
        .filter(|shard| {
            let numbers = shard.sequence_number_range.as_ref().unwrap();
            numbers.ending_sequence_number.is_none()
        })
        .collect();
    match step {
        0 => aws::split(stream, &open[0]),
        1 => {
            // The children of the split are the newest, and adjacent.
            let [.., first, second] = open.as_slice() else { panic!("no two open shards") };
            aws::merge(stream, &first.shard_id, &second.shard_id);
        }
        // A count may be doubled or halved at most, so five are two steps from two.
        2 => aws::update_shard_count(stream, 4),
        3 => aws::update_shard_count(stream, 5),
        _ => aws::update_shard_count(stream, 3),
    }
}

#[test]
fn reshards_under_load_with_a_keeper_killed_at_random_lose_and_double_nothing_and_keep_order() {
    const STEPS: usize = 5;
    const EACH: usize = 4_000;
    let seed = std::env::var("KEEPER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("KEEPER_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let server = servers::own_kinesis();
    let place = aws::Place::at(server.endpoint());
    place.use_here();
    let mut scene = Scene::new("torture", 2);
    let mut setting = scene.setting().max_age("1s").max_records(500);
    server.endpoint().clone_into(&mut setting.kinesis);
    let mut keeper = setting.start();
    let mut kills = 0;
    let done = std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            place.use_here();
            for step in 0..STEPS {
                produce(&mut scene, EACH / 2);
                let stream = scene.stream.clone();
                std::thread::scope(|beside| {
                    beside.spawn(move || {
                        place.use_here();
                        reshard(&stream, step);
                    });
                    produce(&mut scene, EACH / 2);
                });
            }
        });
        while !producer.is_finished() {
            let end = Instant::now() + Duration::from_millis(random.u64(500..6_000));
            while Instant::now() < end && !producer.is_finished() {
                std::thread::sleep(Duration::from_millis(20));
            }
            keeper.kill();
            kills += 1;
            keeper = setting.start();
        }
        producer.join()
    });
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
    scene.wait_all_archived(2 * LIMIT);
    let closed = aws::shards(&scene.stream).len() - 3;
    scene.watch().wait_entries("end", closed, LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_eq!(scene.put.len(), STEPS * EACH);
    assert_ordered_by_key(&archive);
    assert!(kills >= 2, "the keeper was killed {kills} times");
    assert_eq!(archive.ledgers.len(), closed + 3);
}

#[test]
fn children_that_a_reply_names_are_read_at_once_though_the_next_look_is_far_away() {
    let mut scene = Scene::new("atonce", 1);
    let (setting, http) = scene.setting().text("stream", "refresh", "1h").with_http();
    let mut keeper = setting.start();
    scene.put(100);
    super::exactly_once::wait_read(&http, 100);
    aws::split(&scene.stream, &aws::shards(&scene.stream)[0]);
    scene.put(100);
    super::exactly_once::wait_read(&http, 200);
    // Five minutes are far away, too: only the end can have sealed the parent's batch.
    scene.watch().wait_archived(100, LIMIT);
    wait_for("the parent's thread to end", LIMIT, || {
        metric(&http, "kinesis_keeper_shards_running", &[]).filter(|running| *running == 2.0)
    });
    assert_eq!(metric(&http, "kinesis_keeper_key_space_covered_ratio", &[]), Some(1.0));
    keeper.stop();
    let archive = scene.check();
    let parent = &aws::shards(&scene.stream)[0].shard_id;
    let of_parent: Vec<&str> = (archive.entries("batch"))
        .filter(|batch| batch.text("shard") == parent)
        .map(|batch| batch.text("sealed_by"))
        .collect();
    assert_eq!(of_parent, ["shard_end"]);
}

#[test]
fn lineage_survives_restarts_and_manifests_name_the_parents() {
    let mut scene = Scene::new("lineage", 1);
    let proxy = Proxy::new(servers::kinesis().endpoint());
    let topic = topics::topic("lineage");
    let mut setting = scene.setting().max_age("1s").text("notice", "topic_arn", &topic.arn);
    proxy.endpoint().clone_into(&mut setting.kinesis);
    scene.put(50);
    // Closed before the keeper saw it.
    aws::split(&scene.stream, &aws::shards(&scene.stream)[0]);
    scene.put(50);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    scene.watch().wait_entries("end", 1, LIMIT);
    let shards = aws::shards(&scene.stream);
    aws::merge(&scene.stream, &shards[1].shard_id, &shards[2].shard_id);
    keeper.kill();
    let ended = shards[0].shard_id.clone();
    let again = proxy.count(move |request| {
        request.operation == "GetShardIterator" && request.message.text().contains(&ended)
    });
    let (setting, http) = setting.with_http();
    let mut keeper = setting.start();
    scene.put(50);
    scene.wait_all_archived(LIMIT);
    scene.watch().wait_entries("end", 3, LIMIT);
    wait_for("one shard to run", LIMIT, || {
        metric(&http, "kinesis_keeper_shards_running", &[]).filter(|running| *running == 1.0)
    });
    keeper.stop();
    assert_eq!(again.used(), 0, "an ended shard is not read again");
    let archive = scene.check();
    let expected: BTreeMap<&str, BTreeSet<String>> = (archive.entries("begin"))
        .map(|begin| {
            let named = begin.fields["parents"].as_array().unwrap().iter();
            (begin.text("shard"), named.map(|parent| parent.as_str().unwrap().to_owned()).collect())
        })
        .collect();
    assert_eq!(expected.values().map(BTreeSet::len).collect::<Vec<_>>(), [0, 1, 1, 2]);
    let mut told = BTreeMap::new();
    wait_for("a notice of each shard", LIMIT, || {
        for message in topic.take().into_iter().filter(|message| message.body["type"] == "batch") {
            let named = message.body["parents"].as_array().unwrap().iter();
            let named: BTreeSet<String> = named.map(|parent| parent.as_str().unwrap().to_owned()).collect();
            told.insert(message.body["shard"].as_str().unwrap().to_owned(), named);
        }
        (told.len() == 4).then_some(())
    });
    for (shard, parents) in expected {
        assert_eq!(told[shard], parents, "{shard}");
    }
}
