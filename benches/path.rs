//! The path of a shard's records, from the bytes of a reply to the sealed object, on one thread.
//!
//! Prints MB (10^6 bytes) of payload a second of CPU time, the best of several rounds. The reply's JSON is
//! decoded with `serde_json` and `base64-simd` here, which stands in for the AWS SDK's own parse. Input:
//! json1k, 10,000 records of about 900 bytes of clickstream JSON that gzip makes seven times smaller. Run it
//! with `cargo bench --bench path`.

#![allow(clippy::print_stdout, reason = "its table is its result")]

use std::borrow::Cow;
use std::error::Error;
use std::fs;
use std::hint::black_box;

use base64_simd::STANDARD;
use fastrand::Rng;
use kinesis_keeper::codec::{BatchWriter, Finished, for_each_user_record, inspect};
use kinesis_keeper::model::record::RawRecord;
use kinesis_keeper::model::sequence::SequenceNumber;
use kinesis_keeper::model::shard::HashKeyRange;
use kinesis_keeper::model::timestamp::Timestamp;
use serde::Deserialize;

type Outcome<T> = Result<T, Box<dyn Error>>;

const RECORDS: u64 = 10_000;
/// Replies of this many records: about 1 MB, as a shard gives them to a reader that keeps up.
const REPLY: u64 = 1_000;
const ROUNDS: u32 = 7;

/// A reply of GetRecords as AWS sends it, as far as it is needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply<'a> {
    #[serde(borrow)]
    records: Vec<ReplyRecord<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReplyRecord<'a> {
    approximate_arrival_timestamp: f64,
    #[serde(borrow)]
    data: Cow<'a, str>,
    partition_key: Option<String>,
    sequence_number: SequenceNumber,
}

fn decode(body: &[u8]) -> Outcome<Vec<RawRecord>> {
    let reply: Reply<'_> = serde_json::from_slice(body)?;
    let raw = |record: ReplyRecord<'_>| -> Outcome<RawRecord> {
        Ok(RawRecord {
            sequence_number: record.sequence_number,
            arrival: Timestamp::from_millis((record.approximate_arrival_timestamp * 1000.0).round() as i64),
            partition_key: record.partition_key.map(Into::into),
            data: STANDARD.decode_to_vec(record.data.as_bytes()).map_err(|cause| cause.to_string())?.into(),
        })
    };
    reply.records.into_iter().map(raw).collect()
}

fn append(records: &[RawRecord], writer: &mut BatchWriter) {
    for record in records {
        for_each_user_record(record, HashKeyRange::WHOLE, true, &mut |user| writer.append(user));
    }
}

fn seal(writer: &mut BatchWriter) -> Outcome<Finished> {
    writer.finish().ok_or_else(|| "the batch is empty".into())
}

fn pick(random: &mut Rng, choices: &[&'static str]) -> &'static str {
    choices[random.usize(..choices.len())]
}

/// One page view, with the values of a real site: some of few choices, some all but unique.
fn event(random: &mut Rng, number: u64) -> String {
    let head = format!(
        concat!(
            r#"{{"event_id":"{:016x}{:016x}","event_type":"{}","trace":"{:016x}","sent_at":"2026-11-22T05:{:02}:{:02}.{:03}Z","#,
            r#""session":{{"id":"{:016x}","started_at":"2026-11-22T04:{:02}:{:02}.000Z","page_views":{},"is_new":{}}},"#,
            r#""user":{{"id":"user-{}","segment":"{}","consent":["analytics","{}"],"signed_in":{}}},"#,
        ),
        random.u64(..),
        number,
        pick(random, &["page_view", "page_view", "click", "add_to_cart", "search", "purchase"]),
        random.u64(..),
        number / 600 % 60,
        number / 10 % 60,
        random.u16(..1000),
        random.u64(..),
        random.u8(..60),
        random.u8(..60),
        random.u8(1..40),
        random.bool(),
        random.u32(1..20_000),
        pick(random, &["returning", "new", "loyal", "at_risk"]),
        pick(random, &["ads", "email", "none"]),
        random.bool(),
    );
    let cart = format!(
        r#""cart":{{"items":{},"value_cents":{},"currency":"EUR"}},"experiments":{{"checkout_v4":"{}","search_rank":"{}"}}}}"#,
        random.u8(..6),
        random.u32(..40_000),
        pick(random, &["a", "b", "control"]),
        pick(random, &["a", "b"]),
    );
    head + &page_and_device(random) + &cart
}

fn page_and_device(random: &mut Rng) -> String {
    let section = pick(random, &["shoes", "garden", "books", "kitchen", "outdoor", "toys", "music", "sale"]);
    let item = random.u32(1_000..60_000);
    let (city, country, zone) = [
        ("Berlin", "DE", "Europe/Berlin"),
        ("São Paulo", "BR", "America/Sao_Paulo"),
        ("Osaka", "JP", "Asia/Tokyo"),
        ("Austin", "US", "America/Chicago"),
        ("Leeds", "GB", "Europe/London"),
    ][random.usize(..5)];
    format!(
        concat!(
            r#""page":{{"url":"https://www.example.com/{}/item-{}?ref={}","title":"{} – item {}","referrer":"https://{}/","load_ms":{},"scroll_depth":{}}},"#,
            r#""device":{{"type":"{}","user_agent":"Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) {}","viewport":"{}","language":"{}"}},"#,
            r#""geo":{{"city":"{}","country":"{}","timezone":"{}","lat":{:.6},"lon":{:.6}}},"#,
        ),
        section,
        item,
        pick(random, &["home", "search", "newsletter", "ad-17", "ad-23"]),
        section,
        item,
        pick(random, &["www.example.com", "www.google.com", "news.example.org"]),
        random.u16(80..3000),
        random.u8(..=100),
        pick(random, &["desktop", "mobile", "tablet"]),
        pick(
            random,
            &["Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64"]
        ),
        pick(random, &["Chrome/142.0.0.0 Safari/537.36", "Version/19.1 Safari/605.1.15", "Firefox/145.0"]),
        pick(random, &["1920x1080", "1440x900", "390x844", "1280x720"]),
        pick(random, &["de-DE", "pt-BR", "ja-JP", "en-US", "en-GB"]),
        city,
        country,
        zone,
        random.f64() * 120.0 - 60.0,
        random.f64() * 360.0 - 180.0,
    )
}

/// json1k as replies, and the bytes of payload in them.
fn replies() -> Outcome<(Vec<Vec<u8>>, u64)> {
    let mut random = Rng::with_seed(1);
    let mut payload = 0;
    let mut bodies = Vec::new();
    for from in (0..RECORDS).step_by(usize::try_from(REPLY)?) {
        let records: Vec<_> = (from..from + REPLY)
            .map(|number| {
                let data = event(&mut random, number);
                payload += data.len() as u64;
                serde_json::json!({
                    "ApproximateArrivalTimestamp": 1_795_324_260.123 + number as f64 / 997.0,
                    "Data": STANDARD.encode_to_string(&data),
                    "PartitionKey": format!("user-{}", random.u32(1..20_000)),
                    "SequenceNumber": format!("49660{:051}", number * 7919 + 5_000_000_000_000),
                })
            })
            .collect();
        let body = serde_json::json!({
            "MillisBehindLatest": 0, "NextShardIterator": "AAAA", "Records": records
        });
        bodies.push(serde_json::to_vec(&body)?);
    }
    Ok((bodies, payload))
}

/// CPU time of this thread in nanoseconds.
fn cpu_time() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().ok_or("no scheduler statistics")?.parse()?)
}

/// MB of payload a CPU second, the best of some rounds.
fn rate(payload: u64, mut work: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let mut best = u64::MAX;
    for _ in 0..ROUNDS {
        let before = cpu_time()?;
        work()?;
        best = best.min((cpu_time()? - before).max(1));
    }
    Ok(payload as f64 * 1000.0 / best as f64)
}

fn main() -> Outcome<()> {
    let (bodies, payload) = replies()?;
    let records = bodies.iter().map(|body| decode(body)).collect::<Outcome<Vec<_>>>()?;
    let mean = payload / RECORDS;
    println!(
        "json1k: {RECORDS} records of {mean} B; MB of payload a CPU second, one thread, best of {ROUNDS}\n"
    );
    println!("{:<44} {:>8} {:>8}", "", "MB/s", "ratio");

    let decoding = rate(payload, || {
        bodies.iter().try_for_each(|body| decode(body).map(|records| drop(black_box(records))))
    })?;
    println!("{:<44} {decoding:>8.0}", "decode replies (stand-in of the SDK's parse)");
    for level in [6, 1] {
        let mut writer = BatchWriter::new(level);
        let codec = rate(payload, || {
            records.iter().for_each(|reply| append(reply, &mut writer));
            seal(&mut writer).map(|finished| drop(black_box(finished)))
        })?;
        let path = rate(payload, || {
            for body in &bodies {
                append(&decode(body)?, &mut writer);
            }
            seal(&mut writer).map(|finished| drop(black_box(finished)))
        })?;
        records.iter().for_each(|reply| append(reply, &mut writer));
        let sealed = seal(&mut writer)?;
        let ratio = payload as f64 / sealed.content.size as f64;
        println!("{:<44} {codec:>8.0} {ratio:>8.2}", format!("codec alone, level {level}"));
        println!("{:<44} {path:>8.0} {ratio:>8.2}", format!("reply bytes to sealed object, level {level}"));
        if level == 6 {
            let file = sealed.parts.concat();
            let reading = rate(payload, || {
                black_box(inspect(file.as_slice())?);
                Ok(())
            })?;
            println!("{:<44} {reading:>8.0} {ratio:>8.2}", "read back and check, level 6");
        }
    }
    Ok(())
}
