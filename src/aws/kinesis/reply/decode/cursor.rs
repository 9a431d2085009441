//! The JSON of an answer, value by value.
//!
//! Owns how a string and a number are read: as the SDK's parser reads them, or not at all.

use std::borrow::Cow;

use aws_smithy_types::DateTime;
use memchr::memchr;

use crate::model::timestamp::Timestamp;

/// A place in an answer. `None`, from any of its calls, is a shape that is not read here.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// All that lies ahead.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// What stands before the next quote, whatever it is; goes behind the quote.
    #[inline]
    pub(super) fn before_quote(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        let end = memchr(b'"', rest)?;
        self.at += end + 1;
        Some(&rest[..end])
    }

    /// The text of a string, from behind the opening quote to behind the closing one.
    pub(super) fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        let rest = self.rest();
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
        let quoted = &self.bytes[self.at - 1..=self.at + end];
        let text = serde_json::from_slice::<String>(quoted).ok()?;
        self.at += end + 1;
        Some(Cow::Owned(text.into_bytes()))
    }

    /// A time in seconds: `1763787600.123` and `1.763787600123E9` in one go, what is rarer by [`arrival`].
    pub(super) fn arrival(&mut self) -> Option<Timestamp> {
        let rest = self.rest();
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
    pub(super) fn number(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
        let len = rest.iter().position(|byte| !part(byte)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    #[inline]
    pub(super) fn take(&mut self, expected: &[u8]) -> bool {
        let there = self.rest().starts_with(expected);
        if there {
            self.at += expected.len();
        }
        there
    }

    #[inline]
    pub(super) fn must(&mut self, expected: &[u8]) -> Option<()> {
        self.take(expected).then_some(())
    }
}

/// An integer without sign, at most eighteen digits.
pub(super) fn integer(text: &[u8]) -> Option<u64> {
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
    (seconds < 1e12).then(|| super::super::super::timestamp(&DateTime::from_secs_f64(seconds)))
}

/// The epoch for what the archive's form of a time cannot hold.
fn in_reach(time: Timestamp) -> Timestamp {
    if (Timestamp::EPOCH..=Timestamp::LATEST).contains(&time) { time } else { Timestamp::EPOCH }
}
