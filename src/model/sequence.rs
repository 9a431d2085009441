//! Sequence numbers, ordered as the integers that they are, and positions between them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest sequence number that Kinesis' API model allows, in digits.
const MAX_DIGITS: usize = 129;

/// A record's sequence number: a decimal integer of up to 129 digits, without leading zeros.
///
/// Increases within a shard, with holes; says nothing across shards. The 56 digits of today's Kinesis lie
/// in the value itself, so that a record's number costs no allocation, nor does a copy of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SequenceNumber(Digits);

/// Digits of which no more fit than in a cache line with what tells the two apart.
const INLINE: usize = 62;

/// Up to [`INLINE`] digits are always inline, with zero bytes behind them: equal numbers are equal values.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Digits {
    Inline(u8, [u8; INLINE]),
    Long(Box<str>),
}

/// The text was not a sequence number.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a sequence number: up to 129 digits without a leading zero")]
pub struct NotASequenceNumber(pub String);

impl SequenceNumber {
    /// Of these digits, if they are a sequence number.
    pub fn from_digits(digits: &[u8]) -> Option<Self> {
        let len = digits.len();
        // Without a way out in the middle, so that compilers make vector code of it.
        let other = digits.iter().fold(false, |other, byte| other | (byte.wrapping_sub(b'0') > 9));
        if other || len == 0 || len > MAX_DIGITS || (digits[0] == b'0' && len > 1) {
            return None;
        }
        if len > INLINE {
            return Some(Self(Digits::Long(std::str::from_utf8(digits).ok()?.into())));
        }
        let mut inline = [0; INLINE];
        inline[..len].copy_from_slice(digits);
        Some(Self(Digits::Inline(len as u8, inline)))
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        // Digits are ASCII: the other case cannot be.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Its digits, in ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Digits::Inline(len, digits) => &digits[..usize::from(*len)],
            Digits::Long(text) => text.as_bytes(),
        }
    }
}

impl FromStr for SequenceNumber {
    type Err = NotASequenceNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_digits(text.as_bytes()).ok_or_else(|| NotASequenceNumber(text.to_owned()))
    }
}

/// Without leading zeros, the longer number is the larger, and equal lengths compare as text.
impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (self.as_bytes(), other.as_bytes());
        own.len().cmp(&others.len()).then_with(|| own.cmp(others))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.as_str())
    }
}

impl Serialize for SequenceNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SequenceNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A place in a shard's log, between records.
///
/// Totally ordered: `Start` comes first, `End` last, and `Before(n) < After(n) < Before(n+1)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Where the shard's `begin` entry says: its trim horizon, or a time.
    Start,
    /// Just before this record: where a gap's `resumes_at` leaves the position.
    Before(SequenceNumber),
    /// This record and all before it are behind.
    After(SequenceNumber),
    /// The shard was read to its end.
    End,
}

impl Position {
    /// Whether the record `n` lies behind this position, that is, has been dealt with.
    pub fn covers(&self, n: &SequenceNumber) -> bool {
        match self {
            Self::Start => false,
            Self::Before(at) => n < at,
            Self::After(at) => n <= at,
            Self::End => true,
        }
    }

    fn key(&self) -> (u8, Option<&SequenceNumber>, u8) {
        match self {
            Self::Start => (0, None, 0),
            Self::Before(n) => (1, Some(n), 0),
            Self::After(n) => (1, Some(n), 1),
            Self::End => (2, None, 0),
        }
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("the shard's start"),
            Self::Before(n) => write!(f, "before {n}"),
            Self::After(n) => write!(f, "after {n}"),
            Self::End => f.write_str("the shard's end"),
        }
    }
}

/// An optional sequence number written as `""` where there is none, as the ledger's `gap` has it.
pub(crate) mod or_empty {
    use super::{Deserialize, Deserializer, SequenceNumber, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        number: &Option<SequenceNumber>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(number.as_ref().map_or("", SequenceNumber::as_str))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SequenceNumber>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> SequenceNumber {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_compare_as_integers_of_any_length() {
        assert!(number("9") < number("10"));
        assert!(
            number("99999999999999999999999999999999999999999")
                < number("100000000000000000000000000000000000000000")
        );
        assert!("007".parse::<SequenceNumber>().is_err());
        assert!("".parse::<SequenceNumber>().is_err());
        assert!("1".repeat(130).parse::<SequenceNumber>().is_err());
    }

    #[test]
    fn a_number_of_today_needs_no_allocation() {
        assert_eq!(size_of::<SequenceNumber>(), 64);
        assert_eq!(size_of::<Option<SequenceNumber>>(), 64);
        for len in [1, 56, INLINE, INLINE + 1, MAX_DIGITS] {
            let digits = "7".repeat(len);
            let number = number(&digits);
            assert_eq!(number.as_str(), digits);
            assert_eq!(matches!(number.0, Digits::Inline(..)), len <= INLINE);
        }
    }

    #[test]
    fn positions_lie_between_records() {
        let n = number("10");
        assert!(Position::Start < Position::Before(n.clone()));
        assert!(Position::Before(n.clone()) < Position::After(n.clone()));
        assert!(Position::After(n.clone()) < Position::Before(number("11")));
        assert!(Position::After(number("11")) < Position::End);
        assert!(!Position::Before(n.clone()).covers(&n));
        assert!(Position::After(n.clone()).covers(&n));
    }

    proptest::proptest! {
        #[test]
        fn numbers_of_any_length_order_as_integers(a in "0|[1-9][0-9]{0,128}", b in "0|[1-9][0-9]{0,128}", same: bool) {
            let b = if same { format!("{}{b}", &a[..a.len() / 2]) } else { b };
            let b = b.get(..MAX_DIGITS).unwrap_or(&b);
            // With zeros before them, texts of one length order as integers do.
            let padded = |text: &str| format!("{text:0>MAX_DIGITS$}");
            let order = padded(&a).cmp(&padded(b));
            proptest::prop_assume!(!b.starts_with('0') || b.len() == 1);
            let (a, b) = (number(&a), number(b));
            proptest::prop_assert_eq!(a.cmp(&b), order);
            proptest::prop_assert_eq!(b.cmp(&a), order.reverse());
            proptest::prop_assert_eq!(a == b, order.is_eq());
            let position = Position::After(a.clone());
            proptest::prop_assert_eq!(position.covers(&b), order.is_ge());
            proptest::prop_assert_eq!(position.cmp(&Position::After(b.clone())), order);
            proptest::prop_assert_eq!(serde_json::from_str::<SequenceNumber>(&format!("\"{a}\"")).unwrap(), a);
        }

        #[test]
        fn what_is_no_number_of_up_to_129_digits_is_refused(text in "0[0-9]{1,130}|[1-9][0-9]{129,200}|[0-9]{0,20}[^0-9][0-9]{0,20}") {
            proptest::prop_assert!(text.parse::<SequenceNumber>().is_err());
        }

        #[test]
        fn any_two_numbers_order_as_u128(a: u128, b: u128) {
            let order = number(&a.to_string()).cmp(&number(&b.to_string()));
            proptest::prop_assert_eq!(order, a.cmp(&b));
        }
    }
}
