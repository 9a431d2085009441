//! The bytes of a GetRecords answer to records, without an allocation for each of them.
//!
//! Owns the one shape of an answer that Kinesis sends: JSON without spaces, each field at most once. All else
//! is [`NotRead`] and left to the SDK's parser; what is read here is what that parser would read.

use std::borrow::Cow;
use std::ops::Range;

use aws_smithy_types::DateTime;
use base64_simd::STANDARD;
use bytes::Bytes;
use memchr::memchr;

use super::buffer::Buffer;
use crate::model::record::RawRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::text::Text;
use crate::model::timestamp::Timestamp;

/// The most records that a reply has.
const MOST_RECORDS: usize = 10_000;

/// An answer of GetRecords.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The records; their payloads and keys lie in one buffer.
    pub records: Vec<RawRecord>,
    /// Bytes of payload and keys.
    pub bytes: u64,
    /// `NextShardIterator`, if it is there and not null.
    pub next_iterator: Option<String>,
    /// `MillisBehindLatest`, if it is there and not null.
    pub millis_behind_latest: Option<u64>,
}

/// The answer has a shape that is not read here; it may be a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// It names the shards that took over, as happens once in a shard's life.
    Children,
    /// It is unusual.
    Odd {
        /// At this byte.
        at: usize,
    },
}

/// Reads an answer.
pub fn decode(body: &[u8]) -> Result<Decoded, NotRead> {
    let mut cursor = Cursor { body, at: 0 };
    let mut records = Records::default();
    match cursor.answer(&mut records) {
        Some(answer) => Ok(records.into_decoded(answer)),
        None if body[..cursor.at].ends_with(CHILDREN) => Err(NotRead::Children),
        None => Err(NotRead::Odd { at: cursor.at }),
    }
}

const CHILDREN: &[u8] = b"\"ChildShards\":";

/// What an answer says besides its records.
#[derive(Default)]
struct Answer {
    next_iterator: Option<String>,
    millis_behind_latest: Option<u64>,
}

/// Records while they are read: what they share is cut up at the end.
#[derive(Default)]
struct Records {
    list: Vec<RawRecord>,
    /// Where the key and the payload of each lie in `shared`.
    spans: Vec<(Range<usize>, Range<usize>)>,
    /// Keys and payloads, one after the other.
    shared: Buffer,
    /// How long the last sequence number was.
    digits: usize,
}

impl Records {
    fn into_decoded(self, answer: Answer) -> Decoded {
        let bytes = self.shared.len() as u64;
        let shared = Bytes::from_owner(self.shared);
        let mut records = self.list;
        for (record, (key, data)) in records.iter_mut().zip(self.spans) {
            record.data = shared.slice(data);
            if !key.is_empty() {
                // Every key was looked at: none is lost here.
                record.partition_key = Text::try_from(shared.slice(key)).ok();
            }
        }
        let Answer { next_iterator, millis_behind_latest } = answer;
        Decoded { records, bytes, next_iterator, millis_behind_latest }
    }
}

/// A record while its fields are read.
#[derive(Default)]
struct Parts {
    sequence_number: Option<SequenceNumber>,
    arrival: Timestamp,
    key: Range<usize>,
    data: Range<usize>,
}

/// The fields of a record, as bits: each at most once, and three of them always.
mod field {
    pub(super) const ARRIVAL: u8 = 1;
    pub(super) const DATA: u8 = 2;
    pub(super) const NUMBER: u8 = 4;
    pub(super) const KEY: u8 = 8;
    pub(super) const ENCRYPTION: u8 = 16;
    pub(super) const ALWAYS: u8 = ARRIVAL | DATA | NUMBER;
}

/// `None`, from any of its calls, is a shape that is not read here.
struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn answer(&mut self, records: &mut Records) -> Option<Answer> {
        let (mut seen_records, mut seen_next, mut seen_millis, mut seen_children) = Default::default();
        let once = |seen: &mut bool| (!std::mem::replace(seen, true)).then_some(());
        let mut answer = Answer::default();
        self.must(b"{")?;
        loop {
            if self.take(b"\"Records\":[") {
                once(&mut seen_records)?;
                self.records(records)?;
            } else if self.take(b"\"NextShardIterator\":") {
                once(&mut seen_next)?;
                if !self.take(b"null") {
                    self.must(b"\"")?;
                    answer.next_iterator = Some(String::from_utf8(self.string()?.into_owned()).ok()?);
                }
            } else if self.take(b"\"MillisBehindLatest\":") {
                once(&mut seen_millis)?;
                if !self.take(b"null") {
                    answer.millis_behind_latest = Some(integer(self.number())?);
                }
            } else if self.take(CHILDREN) {
                once(&mut seen_children)?;
                (self.take(b"null") || self.take(b"[]")).then_some(())?;
            } else {
                return None;
            }
            if !self.take(b",") {
                self.must(b"}")?;
                return (seen_records && self.at == self.body.len()).then_some(answer);
            }
        }
    }

    /// From behind the opening bracket to behind the closing one.
    fn records(&mut self, records: &mut Records) -> Option<()> {
        if self.take(b"]") {
            return Some(());
        }
        // Payloads are three quarters of their base64, and the names around a key longer than it is cut short.
        records.shared = Buffer::with_room(self.body.len() / 4 * 3);
        loop {
            let start = self.at;
            self.record(records)?;
            if records.list.len() == 1 {
                // Neighbours are alike, so most replies need no second room.
                let more = (self.body.len() - self.at) / (self.at - start) * 17 / 16 + 1;
                records.list.reserve(more.min(MOST_RECORDS));
                records.spans.reserve(more.min(MOST_RECORDS));
            }
            if !self.take(b",") {
                return self.must(b"]");
            }
        }
    }

    fn record(&mut self, records: &mut Records) -> Option<()> {
        let mut parts = Parts::default();
        let mut seen = 0;
        self.must(b"{\"")?;
        loop {
            let field = self.field(records, &mut parts)?;
            if seen & field != 0 {
                return None;
            }
            seen |= field;
            if !self.take(b",\"") {
                break;
            }
        }
        self.must(b"}")?;
        if seen & field::ALWAYS != field::ALWAYS {
            return None;
        }
        let Parts { sequence_number, arrival, key, data } = parts;
        let (sequence_number, later) = (sequence_number?, Bytes::new());
        records.list.push(RawRecord { sequence_number, arrival, partition_key: None, data: later });
        records.spans.push((key, data));
        Some(())
    }

    /// From behind the opening quote of a field's name to behind its value.
    #[inline]
    fn field(&mut self, records: &mut Records, parts: &mut Parts) -> Option<u8> {
        Some(match self.body.get(self.at)? {
            b'S' => {
                self.must(b"SequenceNumber\":\"")?;
                parts.sequence_number = Some(SequenceNumber::from_digits(self.digits(records)?)?);
                field::NUMBER
            }
            b'A' => {
                self.must(b"ApproximateArrivalTimestamp\":")?;
                parts.arrival = self.arrival()?;
                field::ARRIVAL
            }
            b'D' => {
                self.must(b"Data\":\"")?;
                let from = records.shared.len();
                STANDARD.decode_append(self.before_quote()?, &mut *records.shared).ok()?;
                parts.data = from..records.shared.len();
                field::DATA
            }
            b'P' => {
                self.must(b"PartitionKey\":\"")?;
                let from = records.shared.len();
                records.shared.extend_from_slice(&self.string()?);
                parts.key = from..records.shared.len();
                field::KEY
            }
            b'E' => {
                self.must(b"EncryptionType\":\"")?;
                (self.take(b"KMS\"") || self.take(b"NONE\"")).then_some(())?;
                field::ENCRYPTION
            }
            _ => return None,
        })
    }

    /// What may be digits before a quote, and goes behind the quote. Numbers of a shard have one length for years.
    #[inline]
    fn digits(&mut self, records: &mut Records) -> Option<&'a [u8]> {
        let rest = &self.body[self.at..];
        if rest.get(records.digits) == Some(&b'"') {
            self.at += records.digits + 1;
            return Some(&rest[..records.digits]);
        }
        let digits = self.before_quote()?;
        records.digits = digits.len();
        Some(digits)
    }

    /// What stands before the next quote, whatever it is; goes behind the quote.
    #[inline]
    fn before_quote(&mut self) -> Option<&'a [u8]> {
        let rest = &self.body[self.at..];
        let end = memchr(b'"', rest)?;
        self.at += end + 1;
        Some(&rest[..end])
    }

    /// The text of a string, from behind the opening quote to behind the closing one.
    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        let rest = &self.body[self.at..];
        let special = |byte: u8| byte == b'"' || byte == b'\\' || byte < b' ';
        let (mut end, mut all) = (0, 0);
        while !special(*rest.get(end)?) {
            all |= rest[end];
            end += 1;
        }
        if rest[end] == b'"' {
            self.at += end + 1;
            if !all.is_ascii() {
                std::str::from_utf8(&rest[..end]).ok()?;
            }
            return Some(Cow::Borrowed(&rest[..end]));
        }
        while rest[end] != b'"' {
            end += if rest[end] == b'\\' { 2 } else { 1 };
            end += rest.get(end..)?.iter().position(|byte| special(*byte))?;
        }
        let quoted = &self.body[self.at - 1..=self.at + end];
        let text = serde_json::from_slice::<String>(quoted).ok()?;
        self.at += end + 1;
        Some(Cow::Owned(text.into_bytes()))
    }

    /// A time in seconds: `1763787600.123` and `1.763787600123E9` in one go, what is rarer by [`arrival`].
    fn arrival(&mut self) -> Option<Timestamp> {
        let rest = &self.body[self.at..];
        let (mut digits, mut at, mut point) = (0_u64, 0, 0);
        while at < 18 {
            match *rest.get(at)? {
                digit @ b'0'..=b'9' => digits = digits * 10 + u64::from(digit - b'0'),
                b'.' if point == 0 => point = at,
                _ => break,
            }
            at += 1;
        }
        let shift = match &rest[at..] {
            [b',' | b'}', ..] => 3,
            [b'E', b'9', b',' | b'}', ..] => 12,
            _ => return arrival(self.number()),
        };
        let fraction = if point == 0 { 0 } else { at - point - 1 };
        if fraction == 0 || fraction > shift || rest[0] == b'0' {
            return arrival(self.number());
        }
        self.at += at + if shift == 12 { 2 } else { 0 };
        let millis = digits.saturating_mul(10_u64.pow((shift - fraction) as u32));
        Some(in_reach(Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))))
    }

    /// The text of a number, which may still be none.
    fn number(&mut self) -> &'a [u8] {
        let rest = &self.body[self.at..];
        let part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
        let len = rest.iter().position(|byte| !part(byte)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    #[inline]
    fn take(&mut self, expected: &[u8]) -> bool {
        let there = self.body[self.at..].starts_with(expected);
        if there {
            self.at += expected.len();
        }
        there
    }

    #[inline]
    fn must(&mut self, expected: &[u8]) -> Option<()> {
        self.take(expected).then_some(())
    }
}

/// An integer without sign, at most eighteen digits.
fn integer(text: &[u8]) -> Option<u64> {
    let leads = text.len() > 1 && text[0] == b'0';
    if text.is_empty() || text.len() > 18 || leads || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

/// The time that a number of seconds since 1970 means: `1763787600`, `1763787600.123` or `1.763787600123E9`.
fn arrival(text: &[u8]) -> Option<Timestamp> {
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let exponent = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let whole = integer(text.get(..point.min(exponent))?)?;
    let fraction = if point < text.len() { text.get(point + 1..exponent)? } else { b"" };
    if whole >= 1_000_000_000_000 || fraction.len() > 18 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if fraction.is_empty() && point < text.len() {
        return None;
    }
    let power = match text.get(exponent + 1..) {
        Some(power) => integer(power.strip_prefix(b"+").unwrap_or(power)).filter(|power| *power < 12)?,
        None => 0,
    };
    // Seconds have three more digits in milliseconds; those that the fraction has not are zeros.
    let shift = power as usize + 3;
    if fraction.len() <= shift && shift <= 14 {
        let digits = fraction
            .iter()
            .fold(whole, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        let zeros = 10_u64.pow((shift - fraction.len()) as u32);
        let millis = i64::try_from(digits.saturating_mul(zeros)).unwrap_or(i64::MAX);
        return Some(in_reach(Timestamp::from_millis(millis)));
    }
    // Less than a millisecond matters: rounded where the SDK and we round.
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (seconds < 1e12).then(|| super::super::timestamp(&DateTime::from_secs_f64(seconds)))
}

/// The epoch for what the archive's form of a time cannot hold.
fn in_reach(time: Timestamp) -> Timestamp {
    if (Timestamp::EPOCH..=Timestamp::LATEST).contains(&time) { time } else { Timestamp::EPOCH }
}
