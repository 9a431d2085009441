use base64_simd::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::aws::kinesis::canned::Canned;

/// The SDK tells at which byte an answer is damaged; of ours it sees only what we do not know.
fn without_place(message: &str) -> String {
    message.chars().filter(|char| !char.is_ascii_digit()).collect()
}

/// Both readers, and whether ours knew the shape.
fn both(canned: &Canned, body: &[u8]) -> bool {
    let unusual = canned.unusual();
    let told = |read: Result<_, crate::ports::StreamError>| {
        read.map_err(|error| (error.kind, without_place(&error.message)))
    };
    assert_eq!(told(canned.records(200, body)), told(canned.parsed(200, body)), "{}", body.escape_ascii());
    canned.unusual() == unusual
}

/// An answer of one record with this arrival, as text.
fn at(arrival: &str) -> String {
    format!(
        r#"{{"MillisBehindLatest":0,"NextShardIterator":"n","Records":[{{"ApproximateArrivalTimestamp":{arrival},"Data":"eA==","PartitionKey":"k","SequenceNumber":"1"}}]}}"#
    )
}

#[test]
fn every_form_of_an_arrival_is_read_as_the_sdk_reads_it() {
    let canned = Canned::new().unwrap();
    for known in [
        "1763787600",
        "1763787600.1",
        "1763787600.123",
        "1763787600.000",
        "1.763787600123E9",
        "1.7637876E9",
        "0",
        "0.001",
        "1.763787600123e9",
        "1.763787600123E+9",
        "1763787600.123456",
        "1763787600.1235",
        "17E8",
        "0.0005",
        "253402207200",
        "253402207200.001",
        "253402300800.5",
        "999999999999.999",
        "1.7637876001234567E9",
        "2E11",
        "99999999999E3",
    ] {
        assert!(both(&canned, at(known).as_bytes()), "{known}");
    }
    for odd in [
        "-1",
        "1e300",
        "1e-9",
        "01",
        "1.",
        ".5",
        "1.e3",
        "1E",
        "1E+",
        "--1",
        "1.2.3",
        "\"1\"",
        "null",
        "1763787600123456",
        "9007199254740993",
        "-62135596800",
        "1e12",
        "true",
        "+1",
        "0x10",
        "1E9E9",
    ] {
        assert!(!both(&canned, at(odd).as_bytes()), "{odd}");
    }
}

#[test]
fn what_kinesis_sends_is_known_and_what_it_does_not_is_left_to_the_sdk() {
    let canned = Canned::new().unwrap();
    let plain = at("1763787600.123");
    for (from, to) in [
        ("\"Data\":\"eA==\"", "\"Data\":\"\""),
        ("\"PartitionKey\":\"k\",", ""),
        ("\"k\"", "\"\""),
        ("\"k\"", "\"käy\""),
        ("\"k\"", r#""a\"b\\c\/\u00e9\ud83e\udd80\n""#),
        ("\"k\"", "\"k\",\"EncryptionType\":\"KMS\""),
        ("\"NextShardIterator\":\"n\"", "\"NextShardIterator\":null"),
        ("\"NextShardIterator\":\"n\",", ""),
        ("\"MillisBehindLatest\":0,", ""),
        ("\"MillisBehindLatest\":0", "\"MillisBehindLatest\":86400000,\"ChildShards\":null"),
        ("\"MillisBehindLatest\":0", "\"ChildShards\":[],\"MillisBehindLatest\":7"),
        (
            "\"SequenceNumber\":\"1\"",
            "\"SequenceNumber\":\"49660000000000000000000000000000000000000000000000000001\"",
        ),
    ] {
        assert!(plain.contains(from));
        assert!(both(&canned, plain.replace(from, to).as_bytes()), "{to}");
    }
    for (from, to) in [
        ("\"Data\":\"eA==\"", "\"Data\":\"eA=\""),
        ("\"Data\":\"eA==\"", "\"Data\":\"eA\""),
        ("\"Data\":\"eA==\"", "\"Data\":\"e\\u0041==\""),
        ("\"Data\":\"eA==\"", "\"Data\":\"eB==\""),
        ("\"Data\":\"eA==\"", "\"Data\":null"),
        ("\"Data\":\"eA==\"", "\"Data\":\"eA==\",\"Data\":\"eQ==\""),
        ("\"k\"", "null"),
        ("\"k\"", "\"\\ud83e\""),
        ("\"k\"", "\"a\tb\""),
        ("\"k\"", "\"k\",\"New\":{\"a\":[1,\"]}\"]}"),
        ("\"k\"", "\"k\",\"EncryptionType\":\"\\u004bMS\""),
        ("\"SequenceNumber\":\"1\"", "\"SequenceNumber\":\"01\""),
        ("\"SequenceNumber\":\"1\"", "\"SequenceNumber\":1"),
        (",\"SequenceNumber\":\"1\"", ""),
        ("\"MillisBehindLatest\":0", "\"MillisBehindLatest\":-1"),
        ("\"MillisBehindLatest\":0", "\"MillisBehindLatest\":0.0"),
        ("\"MillisBehindLatest\":0", "\"MillisBehindLatest\":00"),
        ("\"MillisBehindLatest\":0", "\"MillisBehindLatest\":\"0\""),
        ("\"MillisBehindLatest\":0", "\"MillisBehindLatest\":0,\"MillisBehindLatest\":1"),
        ("\"Records\":[", "\"Records\": ["),
        ("]}", "]} "),
        ("]}", "],}"),
        ("]}", "]}{}"),
        ("]}", "]"),
        ("{\"Appro", "null,{\"Appro"),
    ] {
        assert!(plain.contains(from));
        assert!(!both(&canned, plain.replace(from, to).as_bytes()), "{to}");
    }
    for odd in ["", "{}", "null", "[]", "{\"Records\":null,\"MillisBehindLatest\":0}"] {
        assert!(!both(&canned, odd.as_bytes()), "{odd}");
    }
    // The end of a shard is read by the SDK, and nothing unusual.
    let end = r#"{"ChildShards":[{"HashKeyRange":{"EndingHashKey":"1","StartingHashKey":"0"},"ParentShards":["a"],"ShardId":"b"}],"MillisBehindLatest":0,"Records":[]}"#;
    assert!(both(&canned, end.as_bytes()));
    assert_eq!(canned.records(200, end.as_bytes()).unwrap().children.len(), 1);
}

#[test]
fn payloads_and_keys_of_neighbours_lie_in_one_buffer() {
    let record = |n: u32| json!({"SequenceNumber": n.to_string(), "ApproximateArrivalTimestamp": 1, "Data": "eHl6".repeat(100), "PartitionKey": "key"});
    let records: Vec<Value> = (1..=2_000).map(record).collect();
    let body = json!({"Records": records, "NextShardIterator": "n", "MillisBehindLatest": 0}).to_string();
    let decoded = decode::decode(body.as_bytes()).unwrap();
    assert_eq!(decoded.bytes, 2_000 * 303);
    let apart = |[one, next]: &[RawRecord; 2]| {
        let at = |record: &RawRecord| record.data.as_ptr() as usize;
        assert_eq!(one.partition_key.as_deref(), Some("key"));
        at(next).wrapping_sub(at(one)) != 303
    };
    // 606,000 bytes in buffers of 262,144.
    assert!(decoded.records.array_windows().filter(|neighbours| apart(neighbours)).count() <= 2);
}

#[test]
fn records_around_the_length_of_a_buffer_are_read_as_the_sdk_reads_them() {
    let canned = Canned::new().unwrap();
    for key_first in [true, false] {
        let record = |(n, len): (usize, usize)| {
            let data = format!("\"Data\":\"{}\"", STANDARD.encode_to_string(vec![b'a' + n as u8; len]));
            let key = format!("\"PartitionKey\":\"key {n}\"");
            let [one, other] = if key_first { [key, data] } else { [data, key] };
            format!("{{\"ApproximateArrivalTimestamp\":1,{one},{other},\"SequenceNumber\":\"1{n}\"}}")
        };
        let lengths =
            [10, 262_134, 100_000, 200_000, 1, 262_144, 262_145, 600_000, 0, 7, 262_138, 262_120, 5];
        let records: Vec<String> = lengths.into_iter().enumerate().map(record).collect();
        let answer = format!(
            "{{\"MillisBehindLatest\":0,\"NextShardIterator\":\"n\",\"Records\":[{}]}}",
            records.join(",")
        );
        assert!(both(&canned, answer.as_bytes()));
        let at_once = decode::decode(answer.as_bytes()).unwrap();
        for len in [60_000, 300_001] {
            assert_eq!(in_pieces(0, answer.as_bytes().chunks(len)).unwrap(), at_once);
        }
    }
}

/// What comes of an answer that comes in these pieces.
fn in_pieces<'a>(length: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Decoded, NotRead> {
    let mut decoder = Decoder::new(length);
    for piece in pieces {
        decoder.take(piece);
    }
    decoder.finish()
}

#[test]
fn wherever_an_answer_is_cut_it_is_the_same() {
    let record = |n: u32| {
        let key = ["", "käy\n\"", "}}}}}},{}}}}]}"][n as usize % 3];
        json!({"Data": "eHl6".repeat(n as usize * 7), "PartitionKey": key, "SequenceNumber": n.to_string(), "ApproximateArrivalTimestamp": 1763787600.123})
    };
    let records: Vec<Value> = (1..5).map(record).collect();
    let whole = json!({"MillisBehindLatest": 0, "Records": records, "NextShardIterator": "n"}).to_string();
    let children = whole.replace("\"NextShardIterator\":\"n\"", "\"ChildShards\":[{}]");
    for answer in [&whole, &whole.replace("null", "[]"), &whole.replace("]}", ",]}"), &children] {
        let answer = answer.as_bytes();
        let at_once = decode::decode(answer);
        assert_eq!(in_pieces(answer.len(), answer.chunks(1)), at_once);
        for cut in 0..=answer.len() {
            let (one, other) = answer.split_at(cut);
            assert_eq!(in_pieces(0, [one, other]), at_once, "{cut}");
            assert_eq!(decode::decode(one).is_ok(), one == answer && at_once.is_ok(), "{cut}");
        }
    }
}

#[test]
fn a_record_longer_than_a_piece_is_read() {
    let payload = vec![b'x'; 1 << 20];
    let answer = at("1763787600.123").replace("eA==", &STANDARD.encode_to_string(&payload));
    for len in [100, 1 << 10, 16 << 10, 100_000] {
        let read = in_pieces(answer.len(), answer.as_bytes().chunks(len)).unwrap();
        assert!(read.records.len() == 1 && read.records[0].data == payload, "{len}");
    }
}

#[test]
fn what_follows_an_odd_record_is_left_to_the_sdk_and_what_came_before_it_is_kept() {
    let canned = Canned::new().unwrap();
    let plain = at("1763787600.123");
    let record = &plain[plain.find("[{").unwrap() + 1..plain.len() - 2];
    let with = |records: &[&str]| plain.replace(record, &records.join(","));
    let odd = record.replace("\"k\"", "\"k\",\"New\":1");
    for records in
        [&[record, &odd][..], &[record, record, &odd, record], &[&odd, record], &[record, &odd, &odd]]
    {
        let body = with(records);
        assert!(!both(&canned, body.as_bytes()));
        assert_eq!(canned.records(200, body.as_bytes()).unwrap().records.len(), records.len());
    }
    for broken in
        [&[record, ""][..], &[record, record, "{}"], &[record, "", record], &["", record], &[record, "1"]]
    {
        assert!(!both(&canned, with(broken).as_bytes()));
    }
    let children = r#"],"ChildShards":[{"HashKeyRange":{"EndingHashKey":"1","StartingHashKey":"0"},"ParentShards":["a"],"ShardId":"b"}]}"#;
    let last = with(&[record, record]).replace("]}", children);
    assert!(both(&canned, last.as_bytes()), "the end of a shard is nothing unusual");
    let last = canned.records(200, last.as_bytes()).unwrap();
    assert_eq!((last.records.len(), last.children.len()), (2, 1));
    // Which of two lists counts is the SDK's to say.
    let twice = with(&[record, record]).replace("]}", "],\"Records\":[]}");
    assert!(!both(&canned, twice.as_bytes()));
}

#[test]
fn a_shorter_number_is_read_though_a_quote_stands_where_the_last_one_ended() {
    let record = |number: &str, more: &str| {
        format!(
            r#"{{"SequenceNumber":"{number}","ApproximateArrivalTimestamp":1763787600,"Data":"eA=="{more}}}"#
        )
    };
    for len in 2..100 {
        let records =
            [record(&"1".repeat(len), ""), record("7", r#","PartitionKey":"k","EncryptionType":"KMS""#)];
        let answer = format!(r#"{{"MillisBehindLatest":0,"Records":[{}]}}"#, records.join(","));
        let read = decode::decode(answer.as_bytes()).unwrap();
        assert_eq!(read.records.len(), 2, "{len}");
        assert_eq!(in_pieces(answer.len(), answer.as_bytes().chunks(3)).unwrap(), read, "{len}");
    }
}

/// A field's value, mostly as Kinesis would send it.
fn value(usual: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    prop_oneof![12 => usual, 1 => "null|true|-?[0-9]{1,20}|\"[ -~]{0,4}\"|\\[\\]|\\{\\}|\"[a-z\\\\\"]{0,3}\""]
}

fn field(
    name: &'static str,
    usual: impl Strategy<Value = String> + 'static,
) -> impl Strategy<Value = String> {
    value(usual).prop_map(move |value| format!("\"{name}\":{value}"))
}

fn record() -> impl Strategy<Value = String> {
    let quoted = |text: String| Value::from(text).to_string();
    let data = vec(any::<u8>(), 0..40).prop_map(|data| format!("\"{}\"", STANDARD.encode_to_string(data)));
    let fields = (
        field("SequenceNumber", "\"[1-9][0-9]{0,70}\""),
        field("ApproximateArrivalTimestamp", "1[0-9]{9}(\\.[0-9]{1,7})?|1\\.[0-9]{1,13}E9"),
        field("Data", data),
        field("PartitionKey", any::<String>().prop_map(quoted)),
        field("EncryptionType", "\"(KMS|NONE|kms)\""),
    );
    (fields, any::<[bool; 5]>(), 0..24_usize, any::<bool>()).prop_map(|(fields, kept, turn, most)| {
        let (number, arrival, data, key, encryption) = fields;
        let mut all: Vec<String> = [number, arrival, data, key, encryption]
            .into_iter()
            .zip(kept)
            .filter_map(|(field, kept)| (most || kept).then_some(field))
            .collect();
        let len = all.len().max(1);
        all.rotate_left(turn % len);
        format!("{{{}}}", all.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn answers_of_all_kinds_are_read_as_the_sdk_reads_them(
        records in vec(record(), 0..5),
        next in field("NextShardIterator", "\"[A-Za-z0-9+/=]{1,40}\""),
        millis in field("MillisBehindLatest", "[0-9]{1,9}"),
        turn in 0..3_usize,
        pieces in vec(any::<prop::sample::Index>(), 0..4),
        cut in prop_oneof![20 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
    ) {
        thread_local!(static CANNED: Canned = Canned::new().unwrap());
        let mut fields = [format!("\"Records\":[{}]", records.join(",")), next, millis];
        fields.rotate_left(turn);
        let mut body = format!("{{{}}}", fields.join(",")).into_bytes();
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        CANNED.with(|canned| both(canned, &body));
        let mut from = 0;
        let pieces = pieces.iter().map(|piece| {
            let piece = &body[from..][..piece.index(body.len() - from + 1)];
            from += piece.len();
            piece
        });
        let mut pieces: Vec<&[u8]> = pieces.collect();
        pieces.push(&body[from..]);
        prop_assert_eq!(in_pieces(body.len(), pieces), decode::decode(&body));
    }
}
