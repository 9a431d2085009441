//! KPL aggregates, made by an implementation that somebody else wrote: their user records come back, each
//! with all that its producer gave it, and what is no sound aggregate comes back as it is.

use aws_sdk_kinesis::types::Shard;

use crate::support::archive::{Archive, Record};
use crate::support::aws;
use crate::support::keeper::LIMIT;
use crate::support::kpl::{Aggregate, User, aggregates};
use crate::support::scene::Scene;

/// What a line of the archive says beside its sequence number and arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    sub_sequence_number: Option<u64>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
    outside_hash_range: bool,
    data: Vec<u8>,
}

impl Line {
    fn of(record: &Record) -> Self {
        Self {
            sub_sequence_number: record.sub_sequence_number,
            partition_key: record.partition_key.clone(),
            explicit_hash_key: record.explicit_hash_key.clone(),
            outside_hash_range: record.outside_hash_range,
            data: record.data.clone(),
        }
    }

    /// A record that is none of an aggregate's.
    fn ordinary(key: &str, data: &[u8]) -> Self {
        Self {
            sub_sequence_number: None,
            partition_key: Some(key.to_owned()),
            explicit_hash_key: None,
            outside_hash_range: false,
            data: data.to_vec(),
        }
    }

    /// The user records of an aggregate in a shard with these hash keys.
    fn of_aggregate(aggregate: &Aggregate, range: (u128, u128)) -> Vec<Self> {
        let users = (0..).zip(aggregate.users.iter().zip(&aggregate.hash_keys));
        let line = |(index, (user, hash_key)): (u64, (&User, &u128))| Self {
            sub_sequence_number: Some(index),
            partition_key: Some(user.partition_key.clone()),
            explicit_hash_key: user.explicit_hash_key.clone(),
            outside_hash_range: !(range.0..=range.1).contains(hash_key),
            data: user.data.clone(),
        };
        users.map(line).collect()
    }
}

const WHOLE: (u128, u128) = (0, u128::MAX);

/// Puts records as they are, of which so many lines are to come.
fn put(scene: &mut Scene, hash_key: Option<u128>, records: &[(String, Vec<u8>)], lines: &[Line]) {
    aws::put_at(&scene.stream, hash_key, records);
    scene.put.extend(lines.iter().map(|line| line.data.clone()));
}

/// Fails at the first difference and shows no more of it than a screen takes.
#[track_caller]
fn assert_lines<'a>(records: impl IntoIterator<Item = &'a Record>, expected: &[Line]) {
    let lines: Vec<Line> = records.into_iter().map(Line::of).collect();
    for (n, (line, expected)) in lines.iter().zip(expected).enumerate() {
        if line != expected {
            let short = |line: &Line| format!("{line:?}").chars().take(400).collect::<String>();
            panic!("line {n} is\n{}\nand should be\n{}", short(line), short(expected));
        }
    }
    assert_eq!(lines.len(), expected.len());
}

fn as_put(aggregate: &Aggregate) -> (String, Vec<u8>) {
    (aggregate.partition_key.clone(), aggregate.data.clone())
}

/// Everything that a producer may put into an aggregate.
fn all_sorts() -> Vec<Vec<User>> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let key = |n: usize| format!("key-{}", n % 50);
    let many_keys = (0..200).map(|n| User::new(&key(n), format!("{{\"n\":{n}}}"))).collect();
    let hash_keys = (0..100).map(|n| {
        let user = User::new(&key(n), format!("hash key {n}"));
        if n % 3 == 0 { user } else { user.at(u128::MAX / 7 * (n % 7) as u128) }
    });
    let ends = vec![User::new("low", "0").at(0), User::new("high", "max").at(u128::MAX)];
    let odd = [&b""[..], b"\n", b"\0", b"\"\\", &[0xff], &every_byte, b"", &[0xf3, 0x89, 0x9a, 0xc2]];
    let odd = odd.into_iter().map(|data| User::new("odd", data)).collect();
    let empty = vec![User::new("nothing", ""); 3];
    let long = "\u{1f980}".repeat(128);
    let keys =
        [long.as_str(), "\u{30ad}\u{30fc} \"\\\n", " ", "key-1"].map(|key| User::new(key, key)).to_vec();
    let big = vec![User::new("big", every_byte.repeat(3_600)), User::new("big", "small")];
    let one = vec![User::new("one", "alone")];
    vec![many_keys, hash_keys.collect(), ends, odd, empty, keys, big, one]
}

#[test]
fn user_records_of_foreign_aggregates_come_back_with_their_keys() {
    let mut scene = Scene::new("aggregates", 1);
    let mut expected = Vec::new();
    let mut records = Vec::new();
    for (n, aggregate) in aggregates(all_sorts()).iter().enumerate() {
        records.push(as_put(aggregate));
        expected.extend(Line::of_aggregate(aggregate, WHOLE));
        // As a producer puts what it does not aggregate.
        let (key, data) = (format!("bare-{n}"), format!("bare {n}").into_bytes());
        expected.push(Line::ordinary(&key, &data));
        records.push((key, data));
    }
    put(&mut scene, None, &records, &expected);
    let mut keeper = scene.setting().max_age("1s").start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_lines(&archive.records, &expected);
    let mut numbers: Vec<&str> =
        archive.records.iter().map(|record| record.sequence_number.as_str()).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), records.len(), "user records share the number of the record they came in");
}

#[test]
fn user_records_outside_the_shard_are_kept_and_marked() {
    let mut scene = Scene::new("outside", 2);
    let shards = aws::shards(&scene.stream);
    let ranges: Vec<(u128, u128)> = shards.iter().map(range).collect();
    let users = (0..40).map(|n| User::new(&format!("key-{n}"), format!("by key {n}")));
    let edges = ranges.iter().flat_map(|(start, end)| [*start, *start + 1, *end - 1, *end]);
    let edges = edges.map(|key| User::new("edge", format!("at {key}")).at(key));
    let aggregate = &aggregates(vec![users.chain(edges).collect()])[0];
    // As after a split: the producer sends it to one shard, learns better and sends it to the other.
    for range in &ranges {
        put(&mut scene, Some(range.0), &[as_put(aggregate)], &Line::of_aggregate(aggregate, *range));
    }
    let mut keeper = scene.setting().max_age("1s").start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    for (range, shard) in ranges.into_iter().zip(&shards) {
        let in_shard = archive.records.iter().filter(|record| record.shard == shard.shard_id);
        let expected = Line::of_aggregate(aggregate, range);
        let outside = expected.iter().filter(|line| line.outside_hash_range).count();
        assert!((5..43).contains(&outside), "the keys lie on both sides");
        assert_lines(in_shard, &expected);
    }
    let inside = archive.records.iter().filter(|record| !record.outside_hash_range);
    assert_eq!(inside.count(), aggregate.users.len(), "without the marked ones each is there once");
}

fn range(shard: &Shard) -> (u128, u128) {
    let range = shard.hash_key_range.as_ref().unwrap();
    (range.starting_hash_key.parse().unwrap(), range.ending_hash_key.parse().unwrap())
}

/// So many aggregates of so many user records of about so many bytes.
fn alike(count: usize, users: usize, bytes: usize) -> Vec<Aggregate> {
    let user = |n: usize| User::new(&format!("key-{n}"), format!("{n:0bytes$}"));
    aggregates((0..count).map(|of| (0..users).map(|n| user(of * users + n)).collect()).collect())
}

fn put_alike(scene: &mut Scene, aggregates: &[Aggregate]) {
    for aggregate in aggregates {
        let lines = Line::of_aggregate(aggregate, WHOLE);
        put(scene, None, &[as_put(aggregate)], &lines);
    }
}

/// Every batch holds whole aggregates, which have so many user records each.
#[track_caller]
fn assert_whole(archive: &Archive, users: u64) {
    let mut before = "";
    for batch in archive.entries("batch") {
        assert_eq!(batch.number("records") % users, 0, "{}: it ends inside an aggregate", batch.at);
        assert_ne!(
            batch.text("first_sequence_number"),
            before,
            "{}: it begins inside an aggregate",
            batch.at
        );
        before = batch.text("last_sequence_number");
    }
}

#[test]
fn a_batch_sealed_by_records_never_ends_inside_an_aggregate() {
    let mut scene = Scene::new("whole", 1);
    // Some are larger than a batch may be, some are not.
    put_alike(&mut scene, &alike(5, 120, 10));
    put_alike(&mut scene, &alike(10, 30, 10));
    let mut keeper = scene.setting().max_records(50).start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_whole(&archive, 30);
    let sizes: Vec<u64> = archive.entries("batch").map(|batch| batch.number("records")).collect();
    assert_eq!(sizes, [120, 120, 120, 120, 120, 60, 60, 60, 60, 60]);
    assert!(archive.reasons().iter().all(|reason| *reason == "records"));
}

#[test]
fn a_batch_sealed_by_bytes_never_ends_inside_an_aggregate() {
    let mut scene = Scene::new("wholebytes", 1);
    put_alike(&mut scene, &alike(12, 40, 1_000));
    let mut keeper = scene.setting().text("batch", "max_bytes", "64 KiB").start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_whole(&archive, 40);
    let sizes: Vec<u64> = archive.entries("batch").map(|batch| batch.number("records")).collect();
    assert_eq!(sizes, [80; 6], "two of them are more than 64 KiB");
    assert!(archive.reasons().iter().all(|reason| *reason == "bytes"));
}

#[test]
fn without_deaggregation_an_aggregate_is_kept_as_it_is() {
    let mut scene = Scene::new("kept", 1);
    let made = aggregates(all_sorts());
    let records: Vec<_> = made.iter().map(as_put).collect();
    let expected: Vec<_> = records.iter().map(|(key, data)| Line::ordinary(key, data)).collect();
    put(&mut scene, None, &records, &expected);
    let mut keeper = scene.setting().max_age("1s").value("stream", "deaggregate", "false").start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_lines(&archive.records, &expected);
    assert!(archive.entries("batch").all(|batch| batch.fields["deaggregate"] == false));
}

#[test]
fn a_damaged_aggregate_comes_back_byte_for_byte() {
    let mut scene = Scene::new("damaged", 1);
    let users = (0..20).map(|n| User::new(&format!("key-{}", n % 5), format!("user record {n}")).at(n));
    let sound = &aggregates(vec![users.collect()])[0];
    let data = &sound.data;
    let flipped = |at: usize| {
        let mut data = data.clone();
        data[at] ^= 1;
        data
    };
    let len = data.len();
    let damaged = [
        flipped(0),
        flipped(3),
        flipped(4),
        flipped(len / 2),
        flipped(len - 16),
        flipped(len - 1),
        data[..len - 1].to_vec(),
        data[..len - 16].to_vec(),
        data[..len / 2].to_vec(),
        data[..20].to_vec(),
        data[..4].to_vec(),
        data[1..].to_vec(),
        data[4..].to_vec(),
        [data, &b"\n"[..]].concat(),
        [&b" "[..], data].concat(),
        [&data[..], data].concat(),
    ];
    let records: Vec<_> = damaged.into_iter().map(|data| ("damaged".to_owned(), data)).collect();
    let mut expected: Vec<_> = records.iter().map(|(key, data)| Line::ordinary(key, data)).collect();
    put(&mut scene, None, &records, &expected);
    let whole = Line::of_aggregate(sound, WHOLE);
    put(&mut scene, None, &[as_put(sound)], &whole);
    expected.extend(whole);
    let mut keeper = scene.setting().max_age("1s").start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    assert_lines(&scene.check().records, &expected);
}
