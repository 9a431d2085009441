use proptest::prelude::*;

use super::*;
use crate::codec::OwnedRecord;
use crate::model::timestamp::Timestamp;

/// MD5 of `a`.
const HASH_OF_A: u128 = 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661;

fn seal(message: &[u8]) -> Vec<u8> {
    [&MAGIC, message, &Md5::digest(message)].concat()
}

fn user(key: u64, hash_key: Option<u64>, data: &str) -> UserRecord {
    UserRecord {
        partition_key_index: Some(key),
        explicit_hash_key_index: hash_key,
        data: vec![Bytes::copy_from_slice(data.as_bytes())],
    }
}

fn two_keys(records: Vec<UserRecord>) -> AggregatedRecord {
    AggregatedRecord {
        partition_key_table: vec!["a".into(), "b".into()],
        explicit_hash_key_table: vec!["0".into(), u128::MAX.to_string()],
        records,
    }
}

fn raw(data: Vec<u8>) -> RawRecord {
    RawRecord {
        sequence_number: "42".parse().unwrap(),
        arrival: Timestamp::from_millis(7),
        partition_key: Some("outer".into()),
        data: data.into(),
    }
}

fn expand_in(record: &RawRecord, range: HashKeyRange) -> Vec<OwnedRecord> {
    let mut all = Vec::new();
    for_each_user_record(record, range, true, &mut |user| {
        all.push(OwnedRecord {
            sequence_number: user.sequence_number.clone(),
            sub_sequence_number: user.sub_sequence_number,
            arrival: user.arrival,
            partition_key: user.partition_key.map(str::to_owned),
            explicit_hash_key: user.explicit_hash_key.map(str::to_owned),
            outside_hash_range: user.outside_hash_range,
            data: user.data.to_vec(),
        });
    });
    all
}

fn assert_ordinary(data: Vec<u8>, why: &str) {
    let record = raw(data);
    let all = expand_in(&record, HashKeyRange::WHOLE);
    assert_eq!(all.len(), 1, "{why}");
    assert_eq!(all[0].as_archived(), record.as_archived(), "{why}");
}

#[test]
fn user_records_come_out_in_order_with_their_own_keys() {
    let aggregate = two_keys(vec![user(0, None, "x"), user(1, Some(1), ""), user(0, Some(0), "z")]);
    let record = raw(seal(&aggregate.encode_to_vec()));
    let all = expand_in(&record, HashKeyRange::WHOLE);
    let seen: Vec<_> = all
        .iter()
        .map(|user| {
            let keys = (user.partition_key.as_deref().unwrap(), user.explicit_hash_key.as_deref());
            (user.sub_sequence_number, keys, user.data.as_slice())
        })
        .collect();
    let top = u128::MAX.to_string();
    assert_eq!(
        seen,
        [
            (Some(0), ("a", None), &b"x"[..]),
            (Some(1), ("b", Some(top.as_str())), b""),
            (Some(2), ("a", Some("0")), b"z"),
        ]
    );
    assert!(all.iter().all(|user| user.sequence_number == record.sequence_number));
    assert!(all.iter().all(|user| user.arrival == record.arrival && !user.outside_hash_range));
}

#[test]
fn the_wire_form_is_the_producer_librarys() {
    // Written byte by byte: table entry "a", then a record {key 0, data "hi"}.
    let all = expand_in(&raw(seal(b"\x0a\x01a\x1a\x06\x08\x00\x1a\x02hi")), HashKeyRange::WHOLE);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].sub_sequence_number, Some(0));
    assert_eq!(all[0].data, b"hi");
}

#[test]
fn tags_and_unknown_fields_are_passed_over_and_a_second_payload_is_not() {
    let tag = b"\x0a\x01a\x1a\x0d\x08\x00\x1a\x02hi\x22\x05\x0a\x01k\x12\x00".as_slice();
    let unknown = b"\x0a\x01a\x1a\x06\x08\x00\x1a\x02hi\xa2\x06\x03new".as_slice();
    for message in [tag, unknown] {
        let all = expand_in(&raw(seal(message)), HashKeyRange::WHOLE);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].data, b"hi");
    }
    assert_ordinary(seal(b"\x0a\x01a\x1a\x0a\x08\x00\x1a\x02hi\x1a\x02ho"), "two payloads of one record");
}

#[test]
fn what_lies_outside_the_shard_is_marked_and_kept() {
    let aggregate = two_keys(vec![user(0, None, "md5"), user(0, Some(0), "low"), user(0, Some(1), "high")]);
    let record = raw(seal(&aggregate.encode_to_vec()));
    let marks = |record: &RawRecord, start, end| -> Vec<bool> {
        expand_in(record, HashKeyRange { start, end }).iter().map(|user| user.outside_hash_range).collect()
    };
    assert_eq!(marks(&record, HASH_OF_A, HASH_OF_A), [false, true, true]);
    assert_eq!(marks(&record, HASH_OF_A + 1, u128::MAX), [true, true, false]);
    assert_eq!(marks(&record, 0, HASH_OF_A - 1), [true, false, true]);
    // Without partition keys the stream itself chose the shard.
    let distributed = RawRecord { partition_key: None, ..record };
    assert_eq!(marks(&distributed, 0, 0), [false; 3]);
}

#[test]
fn a_record_that_is_no_sound_aggregate_is_ordinary() {
    let sound = two_keys(vec![user(0, None, "x")]).encode_to_vec();
    assert_eq!(expand_in(&raw(seal(&sound)), HashKeyRange::WHOLE)[0].data, b"x");

    assert_ordinary(vec![], "empty");
    assert_ordinary(b"{}".to_vec(), "no magic");
    assert_ordinary(MAGIC.to_vec(), "the magic alone");
    assert_ordinary(MAGIC[..3].to_vec(), "half of the magic");
    assert_ordinary([&MAGIC[..], &[0; 16]].concat(), "no message");
    assert_ordinary(seal(b""), "an empty message");
    assert_ordinary([&MAGIC[..], &sound, &[0; 16]].concat(), "a wrong sum");
    assert_ordinary(seal(&sound[..sound.len() - 1]), "a cut message");
    assert_ordinary(seal(b"\xff\xff\xff"), "no protobuf");
    assert_ordinary(seal(b"\x0a\x02\xff\xfe\x1a\x05\x08\x00\x1a\x01x"), "a key that is not text");
    assert_ordinary(seal(&two_keys(vec![]).encode_to_vec()), "no user record");

    let with = |bad: UserRecord| seal(&two_keys(vec![user(0, None, "x"), bad]).encode_to_vec());
    assert_ordinary(with(user(2, None, "y")), "a key beyond the table");
    assert_ordinary(with(user(u64::MAX, None, "y")), "a key far beyond the table");
    assert_ordinary(with(user(0, Some(2), "y")), "a hash key beyond the table");
    assert_ordinary(with(UserRecord { partition_key_index: None, ..user(0, None, "y") }), "no key");
    assert_ordinary(with(UserRecord { data: vec![], ..user(0, None, "y") }), "no data");
    let mut table = two_keys(vec![user(0, Some(0), "x")]);
    table.explicit_hash_key_table[0] = "not a number".into();
    assert_ordinary(seal(&table.encode_to_vec()), "a hash key that is no number");
}

#[test]
fn aggregates_are_kept_whole_where_that_is_asked() {
    let record = raw(seal(&two_keys(vec![user(0, None, "x"), user(1, None, "y")]).encode_to_vec()));
    let mut seen = 0;
    for_each_user_record(&record, HashKeyRange { start: 0, end: 0 }, false, &mut |user| {
        seen += 1;
        assert_eq!(*user, record.as_archived());
    });
    assert_eq!(seen, 1);
}

#[test]
fn payloads_are_borrowed_from_the_reply() {
    let record = raw(seal(&two_keys(vec![user(0, None, &"x".repeat(1000))]).encode_to_vec()));
    for_each_user_record(&record, HashKeyRange::WHOLE, true, &mut |user| {
        assert_eq!(user.data.len(), 1000);
        assert!(record.data.as_ptr_range().contains(&user.data.as_ptr()), "not copied");
    });
}

proptest! {
    #[test]
    fn any_bytes_are_kept_or_split_but_never_panic(
        message in prop::collection::vec(any::<u8>(), 0..200),
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        assert_ordinary([&MAGIC[..], &message].concat(), "without its sum");
        let mut sound = two_keys(vec![user(0, None, "x"), user(1, Some(1), "yy")]).encode_to_vec();
        if let Some((at, byte)) = change {
            let at = at.index(sound.len());
            sound[at] = byte;
        }
        for message in [message, sound] {
            let record = raw(seal(&message));
            let all = expand_in(&record, HashKeyRange::WHOLE);
            prop_assert!(!all.is_empty());
            if all[0].sub_sequence_number.is_none() {
                prop_assert_eq!(all[0].as_archived(), record.as_archived());
            }
        }
    }
}
