//! What the benchmarks read: records as answers of GetRecords hold them, the same at every run.

use std::error::Error;

use base64_simd::STANDARD;
use fastrand::Rng;

use super::events::event;

/// When the first record arrived, in milliseconds, where that makes no difference.
pub const ARRIVED: u64 = 1_795_324_260_123;

/// Records in replies, as a shard gives them.
pub struct Input {
    pub name: &'static str,
    /// Of each reply, what lies between the brackets of `Records`.
    pub replies: Vec<Vec<u8>>,
    /// In all replies.
    pub records: u64,
    /// Bytes of payload in all replies.
    pub payload: u64,
}

impl Input {
    /// The names that [`Input::named`] knows.
    pub const NAMES: [&str; 3] = ["json1k", "small100", "rand10k"];

    /// So many replies of this input, and records in each. The first record arrived at `arrived`, each later one a
    /// millisecond after that before it.
    pub fn named(name: &str, [replies, each]: [u64; 2], arrived: u64) -> Result<Self, Box<dyn Error>> {
        let size = [replies, each, arrived];
        let input = match name {
            "json1k" => Self::of("json1k", size, |rng, n| event(rng, n).into_bytes()),
            "small100" => Self::of("small100", size, hundred),
            "rand10k" => Self::of("rand10k", size, |rng, _| random_bytes(rng)),
            _ => return Err(format!("no input is called {name}").into()),
        };
        Ok(input)
    }

    fn of(
        name: &'static str,
        [replies, each, arrived]: [u64; 3],
        mut data: impl FnMut(&mut Rng, u64) -> Vec<u8>,
    ) -> Self {
        let mut random = Rng::with_seed(1);
        let mut input = Self { name, replies: Vec::new(), records: replies * each, payload: 0 };
        for reply in 0..replies {
            let mut listed = Vec::new();
            for number in reply * each..(reply + 1) * each {
                let data = data(&mut random, number);
                input.payload += data.len() as u64;
                if !listed.is_empty() {
                    listed.push(b',');
                }
                listed.extend(record(number, arrived + number, &data, random.u32(1..20_000)));
            }
            input.replies.push(listed);
        }
        input
    }
}

fn hundred(random: &mut Rng, number: u64) -> Vec<u8> {
    let event = event(random, number);
    let from = random.usize(..event.len() / 2);
    event.chars().filter(char::is_ascii).skip(from).take(100).collect::<String>().into_bytes()
}

fn random_bytes(random: &mut Rng) -> Vec<u8> {
    std::iter::repeat_with(|| random.u8(..)).take(10 << 10).collect()
}

/// As AWS writes it: fields in this order, seconds with an exponent, numbers of 56 digits.
pub fn record(number: u64, arrived: u64, data: &[u8], user: u32) -> Vec<u8> {
    let millis = arrived.to_string();
    format!(
        r#"{{"ApproximateArrivalTimestamp":{}.{}E9,"Data":"{}","PartitionKey":"user-{user}","SequenceNumber":"49660{:051}"}}"#,
        &millis[..1],
        &millis[1..],
        STANDARD.encode_to_string(data),
        sequence(number),
    )
    .into_bytes()
}

/// The last digits of a record's sequence number.
pub const fn sequence(number: u64) -> u64 {
    number * 7919 + 5_000_000_000_000
}

/// An answer with these records.
pub fn answer(records: &[u8]) -> Vec<u8> {
    [br#"{"MillisBehindLatest":0,"NextShardIterator":"AAAA","Records":["#, records, b"]}"].concat()
}
