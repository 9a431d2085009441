use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use super::*;
use crate::codec::OwnedRecord;
use crate::model::timestamp::Timestamp;

/// MD5 of `a`.
const HASH_OF_A: u128 = 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661;

/// The message as prost decodes it: all of it at once.
#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<UserRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct UserRecord {
    #[prost(uint64, optional, tag = "1")]
    partition_key_index: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    /// One. Repeated here, to see when there are more.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    data: Vec<Bytes>,
}

/// Partition key, explicit hash key, hash key, payload.
type Read = (String, Option<String>, u128, Vec<u8>);

/// What a message holds by prost, if it is a sound one.
fn by_prost(message: &[u8]) -> Option<Vec<Read>> {
    let decoded = AggregatedRecord::decode(message).ok().filter(|decoded| !decoded.records.is_empty())?;
    // What is longer than any that Kinesis takes is not prost's to say.
    let too_long = decoded.partition_key_table.iter().any(|key| key.chars().count() > LONGEST_KEY)
        || decoded.explicit_hash_key_table.iter().any(|key| key.len() > LARGEST.len());
    if too_long {
        return None;
    }
    let entry = |table: &[String], index: u64| table.get(usize::try_from(index).ok()?).cloned();
    let read = |user: &UserRecord| {
        let key = entry(&decoded.partition_key_table, user.partition_key_index?)?;
        let hash_key = match user.explicit_hash_key_index {
            Some(index) => Some(entry(&decoded.explicit_hash_key_table, index)?),
            None => None,
        };
        let hash = match &hash_key {
            Some(decimal) => decimal.parse().ok()?,
            None => hash_key_of(&key),
        };
        let [data] = user.data.as_slice() else { return None };
        Some((key, hash_key, hash, data.to_vec()))
    };
    decoded.records.iter().map(read).collect()
}

/// … and by the walk.
fn by_walk(message: &[u8]) -> Option<Vec<Read>> {
    let aggregate = Aggregate::proven(message).ok()?;
    let read = |user: User<'_>| {
        let hash = user.hash_key().unwrap();
        let (key, hash_key) = (user.partition_key, user.explicit_hash_key);
        (key.to_owned(), hash_key.map(str::to_owned), hash, user.data.to_vec())
    };
    Some(aggregate.users().map(read).collect())
}

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

#[test]
fn no_user_record_takes_memory_and_a_key_takes_a_few_bytes() {
    let of_records = [b"\x0a\x01a".as_slice(), &b"\x1a\x04\x08\x00\x1a\x00".repeat(100_000)].concat();
    let of_keys = [&b"\x0a\x00\x12\x00".repeat(50_000), b"\x1a\x04\x08\x00\x1a\x00".as_slice()].concat();
    for (message, users, bound) in [(of_records, 100_000, 64), (of_keys, 1, 4 * 200_000)] {
        let aggregate = Aggregate::proven(&message).unwrap();
        assert_eq!(aggregate.users().count(), users);
        let Aggregate { message: _, partition_keys, explicit_hash_keys } = aggregate;
        let held = size_of::<u32>() * (partition_keys.capacity() + explicit_hash_keys.capacity());
        assert!(held <= bound, "{held} bytes for an aggregate of {}", message.len());
    }
}

#[test]
fn keys_that_kinesis_would_not_take_make_no_aggregate() {
    let with_keys = |key: &str, hash_key: Option<&str>| AggregatedRecord {
        partition_key_table: vec![key.to_owned()],
        explicit_hash_key_table: hash_key.map(str::to_owned).into_iter().collect(),
        records: vec![user(0, hash_key.map(|_| 0), "x"), user(0, None, "y")],
    };
    for (key, hash_key, sound) in [
        ("k".repeat(256), None, true),
        ("é".repeat(256), None, true),
        ("k".repeat(257), None, false),
        ("k".into(), Some(LARGEST.to_owned()), true),
        ("k".into(), Some(format!("0{LARGEST}")), false),
    ] {
        let message = with_keys(&key, hash_key.as_deref()).encode_to_vec();
        assert_eq!(by_walk(&message), by_prost(&message));
        if sound {
            assert_eq!(expand_in(&raw(seal(&message)), HashKeyRange::WHOLE).len(), 2);
        } else {
            assert_ordinary(seal(&message), "its key is too long");
        }
    }
}

#[test]
fn what_is_sound_is_what_prost_takes() {
    let key = b"\x0a\x01a".as_slice();
    let user = b"\x08\x00\x1a\x02hi".as_slice();
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let with = |more: &[u8]| [key, &field(3, &[user, more].concat())].concat();
    let mut sound = 0;
    let mut hold = |message: &[u8]| {
        let read = by_walk(message);
        assert_eq!(read, by_prost(message), "{}", message.escape_ascii());
        sound += usize::from(read.is_some());
    };
    for depth in [1, 2, 50, 97, 98, 99, 100, 101] {
        for inner in [b"".as_slice(), b"\x30\x01"] {
            let groups = [b"\x2b".repeat(depth), inner.to_vec(), b"\x2c".repeat(depth)].concat();
            hold(&[key, &field(3, user), &groups].concat());
            // With its length in two bytes.
            let record = [user, &groups].concat();
            let length = [0x1a, record.len() as u8 | 0x80, (record.len() >> 7) as u8];
            hold(&[key, &length, &record].concat());
        }
    }
    for more in [
        // Varints: long for no need, as long as may be, too long, too large, cut.
        b"\x20\x80\x00".as_slice(),
        b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        b"\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
        b"\x20\x80",
        // Keys: of number 0, of the largest number, beyond it, of kinds that are none.
        b"\x00\x00",
        b"\xf8\xff\xff\xff\x0f\x00",
        b"\xf8\xff\xff\xff\x1f\x00",
        b"\x26\x00",
        b"\x27\x00",
        // Fields of fixed lengths, whole and cut; groups that end too soon, too late, otherwise.
        b"\x21\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x21\x00\x00\x00\x00\x00\x00\x00",
        b"\x25\x00\x00\x00\x00",
        b"\x25\x00\x00\x00",
        b"\x2c",
        b"\x2b\x34",
        b"\x2b",
        // Known fields: again, of another kind, with an index that is none.
        b"\x08\x00",
        b"\x0a\x00",
        b"\x0b\x0c",
        b"\x10\x00",
        b"\x08\x01",
        b"\x18\x00",
        b"\x1a\x00",
        b"\x1a\x05",
    ] {
        hold(&with(more));
        hold(&[with(b"").as_slice(), more].concat());
    }
    // Keys behind the records; a hash key that is no number, which a record names or none does.
    hold(&[field(3, user), key.to_vec()].concat());
    let zeros = "0".repeat(50);
    let beyond = "340282366920938463463374607431768211456";
    for hash_key in ["0", "+7", "-1", "x", "", LARGEST, beyond, &zeros] {
        let table = [key, &field(2, b"1"), &field(2, hash_key.as_bytes())].concat();
        hold(&[table.as_slice(), &field(3, user)].concat());
        for index in 0..3 {
            hold(&[table.as_slice(), &field(3, &[user, &[0x10, index]].concat())].concat());
        }
    }
    assert!(sound > 40, "{sound}");
}

/// A field as producers write it, or nearly.
fn any_field() -> impl Strategy<Value = Vec<u8>> {
    let key =
        prop_oneof![Just("a".to_owned()), Just(String::new()), any::<u128>().prop_map(|n| n.to_string())];
    let text = (1..=2_u8, key).prop_map(|(number, key)| (number, key.into_bytes()));
    let record =
        (prop::option::of(0..4_u64), prop::option::of(0..3_u64), prop::collection::vec(any::<u8>(), 0..4))
            .prop_map(|(key, hash_key, data)| {
                let record = UserRecord {
                    partition_key_index: key,
                    explicit_hash_key_index: hash_key,
                    data: vec![data.into()],
                };
                (3, record.encode_to_vec())
            });
    let unknown = prop::collection::vec(any::<u8>(), 0..4).prop_map(|bytes| (4, bytes));
    prop_oneof![3 => text, 4 => record, 1 => unknown]
        .prop_map(|(number, bytes)| [&[number << 3 | 2, bytes.len() as u8], &bytes[..]].concat())
}

proptest! {
    #[test]
    fn whatever_is_changed_the_walk_and_prost_read_the_same(
        fields in prop::collection::vec(any_field(), 0..12),
        changes in prop::collection::vec((any::<Index>(), any::<u8>(), 0..3_u8), 0..4),
    ) {
        let mut message = [b"\x0a\x01a\x0a\x01b\x12\x017".to_vec(), fields.concat()].concat();
        for (at, byte, how) in changes {
            let at = at.index(message.len());
            match how {
                0 => message[at] = byte,
                1 => message[at] ^= 1 << (byte % 8),
                _ => message.insert(at, byte),
            }
        }
        prop_assert_eq!(by_walk(&message), by_prost(&message));
    }

    #[test]
    fn any_bytes_are_kept_or_split_but_never_panic(
        message in prop::collection::vec(any::<u8>(), 0..200),
        change in prop::option::of((any::<Index>(), any::<u8>())),
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
