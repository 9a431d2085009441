use aws_sdk_kinesis::types::{ChildShard, Record, SequenceNumberRange};
use aws_smithy_types::Blob;

use super::*;

fn shard(range: (&str, &str), ending: Option<&str>) -> types::Shard {
    let keys = types::HashKeyRange::builder().starting_hash_key(range.0).ending_hash_key(range.1);
    let numbers = SequenceNumberRange::builder().starting_sequence_number("1");
    types::Shard::builder()
        .shard_id("shardId-000000000002")
        .parent_shard_id("shardId-000000000000")
        .adjacent_parent_shard_id("shardId-000000000001")
        .hash_key_range(keys.build().unwrap())
        .sequence_number_range(numbers.set_ending_sequence_number(ending.map(str::to_owned)).build().unwrap())
        .build()
        .unwrap()
}

#[test]
fn a_listed_shard_has_its_range_and_parents() {
    let whole = ("0", "340282366920938463463374607431768211455");
    let open = listed(shard(whole, None)).unwrap();
    assert_eq!(open.range, HashKeyRange::WHOLE);
    assert_eq!(open.parents.len(), 2);
    assert!(!open.closed);
    assert!(listed(shard(whole, Some("9"))).unwrap().closed);
    let wrong = listed(shard(("0", "340282366920938463463374607431768211456"), None)).unwrap_err();
    assert!(wrong.contains("is not a hash key"), "{wrong}");
}

fn record(key: &str, arrival: Option<DateTime>) -> Record {
    Record::builder()
        .sequence_number("49")
        .partition_key(key)
        .data(Blob::new(*b"abc"))
        .set_approximate_arrival_timestamp(arrival)
        .build()
        .unwrap()
}

#[test]
fn a_reply_is_taken_over_as_the_model_says() {
    let output = GetRecordsOutput::builder()
        .records(record("user-17", Some(DateTime::from_fractional_secs(1_700_000_000, 0.123))))
        .records(record("", None))
        .next_shard_iterator("next")
        .millis_behind_latest(5)
        .build()
        .unwrap();
    let reply = reply(output, Timestamp::from_seconds(1_700_000_002)).unwrap();
    assert_eq!(reply.bytes, 3 + 7 + 3);
    assert_eq!((reply.complete_to, reply.pushed), (Timestamp::from_millis(1_700_000_001_995), false));
    assert_eq!(reply.records[0].arrival, Timestamp::from_millis(1_700_000_000_123));
    assert_eq!(reply.records[1].partition_key, None);
    assert_eq!(reply.records[1].arrival, Timestamp::from_millis(0));
    assert_eq!((reply.next_iterator.as_deref(), reply.millis_behind_latest), (Some("next"), 5));
}

#[test]
fn the_end_of_a_shard_names_its_children() {
    let keys = types::HashKeyRange::builder().starting_hash_key("0").ending_hash_key("1").build().unwrap();
    let child =
        ChildShard::builder().shard_id("shardId-000000000003").parent_shards("a").hash_key_range(keys);
    let output = GetRecordsOutput::builder().set_records(Some(vec![])).child_shards(child.build().unwrap());
    let last = reply(output.build().unwrap(), Timestamp::from_seconds(1_700_000_002)).unwrap();
    assert_eq!((last.next_iterator, last.children), (None, vec![ShardId::new("shardId-000000000003")]));
}

#[test]
fn a_reply_that_does_not_say_how_far_behind_it_is_is_no_reply() {
    let output = GetRecordsOutput::builder().set_records(Some(vec![])).next_shard_iterator("next");
    assert!(
        reply(output.build().unwrap(), Timestamp::from_seconds(1_700_000_002))
            .unwrap_err()
            .contains("MillisBehindLatest")
    );
}
