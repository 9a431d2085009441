//! One value at a time: its kind, its limits, and what is said when it keeps neither.
//!
//! Each function answers with the checked value or with a complaint that goes on after `[table] key `.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use toml_edit::Item;

use super::{Consumer, HostPort, Start, TopicArn};
use crate::model::batch::Level;
use crate::model::key::Prefix;
use crate::model::timestamp::Timestamp;

/// What a value is, with its article.
pub(super) fn kind(item: &Item) -> &'static str {
    match item.type_name() {
        "string" => "a string",
        "integer" => "an integer",
        "float" => "a float",
        "boolean" => "a boolean",
        "datetime" => "a date or time",
        "array" => "an array",
        "array of tables" => "an array of tables",
        _ => "a table",
    }
}

fn wrong_kind(item: &Item, wanted: &str) -> String {
    format!("must be {wanted}, not {}", kind(item))
}

/// Any string.
pub(super) fn text(item: &Item) -> Result<String, String> {
    item.as_str().map(str::to_owned).ok_or_else(|| wrong_kind(item, "a string"))
}

/// A boolean.
pub(super) fn boolean(item: &Item) -> Result<bool, String> {
    item.as_bool().ok_or_else(|| wrong_kind(item, "true or false"))
}

/// `""` is none; anything else must pass `check`, whose complaint goes on after `= "value" `.
pub(super) fn unless_empty<T>(
    check: impl Fn(&str) -> Result<T, String>,
) -> impl FnOnce(&Item) -> Result<Option<T>, String> {
    move |item| {
        let text = text(item)?;
        if text.is_empty() {
            Ok(None)
        } else {
            check(&text).map(Some).map_err(|no| format!("= {text:?} {no}"))
        }
    }
}

/// A string that passes `check`.
pub(super) fn checked<T>(
    check: impl Fn(&str) -> Result<T, String>,
) -> impl FnOnce(&Item) -> Result<T, String> {
    move |item| {
        let text = text(item)?;
        check(&text).map_err(|no| format!("= {text:?} {no}"))
    }
}

/// An integer within limits.
pub(super) fn integer(range: RangeInclusive<u64>) -> impl FnOnce(&Item) -> Result<u64, String> {
    move |item| {
        let number = item.as_integer().ok_or_else(|| wrong_kind(item, "an integer"))?;
        u64::try_from(number).ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            if *high >= i64::MAX as u64 {
                format!("= {number} is out of range; allowed: {low} or more")
            } else {
                format!("= {number} is out of range; allowed: {low} to {high}")
            }
        })
    }
}

/// [`integer`], where 32 bits are enough.
pub(super) fn small_integer(range: RangeInclusive<u32>) -> impl FnOnce(&Item) -> Result<u32, String> {
    let (low, high) = (*range.start(), *range.end());
    move |item| {
        let number = integer(u64::from(low)..=u64::from(high))(item)?;
        Ok(u32::try_from(number).unwrap_or(high))
    }
}

/// A level of the compressor, or the word that leaves it to the shard.
pub(super) fn level(range: RangeInclusive<u32>) -> impl FnOnce(&Item) -> Result<Level, String> {
    move |item| {
        let allowed = format!("allowed: {} to {}, or \"auto\"", range.start(), range.end());
        if let Some(text) = item.as_str() {
            return match text {
                "auto" => Ok(Level::Auto),
                _ => Err(format!("= {text:?} is not a level; {allowed}")),
            };
        }
        let wanted = || wrong_kind(item, "an integer or \"auto\"");
        let number = item.as_integer().ok_or_else(wanted)?;
        let level = u32::try_from(number).ok().filter(|level| range.contains(level));
        level.map(Level::Fixed).ok_or_else(|| format!("= {number} is out of range; {allowed}"))
    }
}

/// A duration between two others, each as it is written in the file.
pub(super) fn duration(
    low: &'static str,
    high: &'static str,
) -> impl FnOnce(&Item) -> Result<Duration, String> {
    move |item| {
        let text = item.as_str().ok_or_else(|| wrong_kind(item, "a duration such as \"5m\""))?;
        let no = |_| format!("= {text:?} is not a duration such as \"5m\"; allowed: {low} to {high}");
        let given = humantime::parse_duration(text).map_err(no)?;
        let (Ok(least), Ok(most)) = (humantime::parse_duration(low), humantime::parse_duration(high)) else {
            return Ok(given);
        };
        if (least..=most).contains(&given) {
            Ok(given)
        } else {
            Err(format!("= {text:?} is out of range; allowed: {low} to {high}"))
        }
    }
}

/// A size between two others, given in bytes.
pub(super) fn size(range: RangeInclusive<u64>) -> impl FnOnce(&Item) -> Result<u64, String> {
    move |item| {
        let allowed = || {
            let of = |bytes: &u64| ByteSize::b(*bytes).display().iec().to_string().replace(".0 ", " ");
            format!("allowed: {} to {}", of(range.start()), of(range.end()))
        };
        let (bytes, shown) = if let Some(number) = item.as_integer() {
            (u64::try_from(number).ok(), number.to_string())
        } else if let Some(text) = item.as_str() {
            let no = |_| format!("= {text:?} is not a size such as \"64 MiB\"; {}", allowed());
            (Some(text.trim().parse::<ByteSize>().map_err(no)?.as_u64()), format!("{text:?}"))
        } else {
            return Err(wrong_kind(item, "a size such as \"64 MiB\""));
        };
        bytes
            .filter(|bytes| range.contains(bytes))
            .ok_or_else(|| format!("= {shown} is out of range; {}", allowed()))
    }
}

/// One of a few words; those of `later` belong to a version to come.
pub(super) fn choice<T: Copy>(
    choices: &'static [(&'static str, T)],
    later: &'static [&'static str],
) -> impl Fn(&Item) -> Result<T, String> {
    move |item| {
        let text = text(item)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        if later.contains(&text.as_str()) {
            return Err(not_yet(&text));
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        Err(format!("= {text:?} is not one of the choices; allowed: {}", words.join(", ")))
    }
}

/// What is said of a value that a later version will understand.
pub(super) fn not_yet(text: &str) -> String {
    format!("= {text:?} is not available in this version")
}

/// `polling`, or `{ fan_out = "name" }` with a name by Kinesis' pattern.
pub(super) fn consumer(item: &Item) -> Result<Consumer, String> {
    const ALLOWED: &str = "allowed: polling, or { fan_out = \"name\" }";
    let Some(table) = item.as_table_like() else {
        return match item.as_str() {
            Some("polling") => Ok(Consumer::Polling),
            Some(text) => Err(format!("= {text:?} is not one of the choices; {ALLOWED}")),
            None => Err(wrong_kind(item, "a string or a table")),
        };
    };
    if let Some((other, _)) = table.iter().find(|(key, _)| *key != "fan_out") {
        return Err(format!("has the key {other}; {ALLOWED}"));
    }
    let Some(name) = table.get("fan_out") else {
        return Err(format!("is a table without fan_out; {ALLOWED}"));
    };
    let name = text(name).map_err(|complaint| format!("fan_out {complaint}"))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if (1..=128).contains(&name.len()) && name.chars().all(fits) {
        return Ok(Consumer::FanOut(name));
    }
    Err(format!("fan_out = {name:?} is not a consumer's name; allowed: 1 to 128 of a-z A-Z 0-9 _ . -"))
}

/// How far this machine's clock may be behind that of the service.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// Where a stream begins; a time may stand with or without quotes. One that is still to come is refused:
/// Kinesis knows no such place, and the first start is written down in the bucket for good.
pub(super) fn start(now: Timestamp) -> impl FnOnce(&Item) -> Result<Start, String> {
    const ALLOWED: &str = "allowed: trim_horizon, latest, or an RFC 3339 time such as 2026-11-22T05:11:00Z";
    move |item| {
        let text = match (item.as_str(), item.as_datetime()) {
            (Some("trim_horizon"), _) => return Ok(Start::TrimHorizon),
            (Some("latest"), _) => return Ok(Start::Latest),
            (Some(text), _) => text.to_owned(),
            (None, Some(time)) => time.to_string(),
            (None, None) => return Err(wrong_kind(item, "a string or a time")),
        };
        let at: Timestamp = text.parse().map_err(|_| format!("= {text:?} is not a start; {ALLOWED}"))?;
        if at > now + CLOCKS_APART {
            return Err(format!(
                "= {text:?} lies in the future: it is {now} now; allowed: trim_horizon, latest, or a time that has passed"
            ));
        }
        Ok(Start::At(at))
    }
}

/// A stream's name by Kinesis' pattern. `.` and `..` keep it too, but are no folders.
pub(super) fn stream_name(text: &str) -> Result<String, String> {
    let fits = (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if fits && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err("is not a stream's name; allowed: 1 to 128 of a-z A-Z 0-9 _ . -".to_owned())
    }
}

/// `(region, resource)` of an ARN of `service`.
fn arn<'t>(text: &'t str, service: &str) -> Option<(&'t str, &'t str)> {
    let mut parts = text.splitn(6, ':');
    let (arn, partition, of, region) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (account, resource) = (parts.next()?, parts.next()?);
    let is = arn == "arn" && partition.starts_with("aws") && of == service && is_account(account);
    is.then_some((region, resource))
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_region(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// `(arn, region, name)` of a stream.
pub(super) fn stream_arn(text: &str) -> Result<(String, String, String), String> {
    arn(text, "kinesis")
        .and_then(|(region, resource)| {
            let name = stream_name(resource.strip_prefix("stream/")?).ok()?;
            is_region(region).then(|| (text.to_owned(), region.to_owned(), name))
        })
        .ok_or_else(|| {
            "is not a stream's ARN; allowed: arn:aws:kinesis:REGION:ACCOUNT:stream/NAME".to_owned()
        })
}

/// The ARN of an SNS topic, FIFO or not.
pub(super) fn topic_arn(text: &str) -> Result<TopicArn, String> {
    arn(text, "sns")
        .filter(|(region, topic)| {
            let name = topic.strip_suffix(".fifo").unwrap_or(topic);
            is_region(region)
                && (1..=256).contains(&topic.len())
                && !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        })
        .map(|(region, _)| TopicArn { text: text.to_owned(), region: region.to_owned() })
        .ok_or_else(|| "is not an SNS topic's ARN; allowed: arn:aws:sns:REGION:ACCOUNT:TOPIC".to_owned())
}

/// The ARN of an IAM role.
pub(super) fn role_arn(text: &str) -> Result<String, String> {
    arn(text, "iam")
        .filter(|(region, role)| {
            region.is_empty()
                && role.len() > "role/".len()
                && role.starts_with("role/")
                && role.bytes().all(|b| b.is_ascii_graphic())
        })
        .map(|_| text.to_owned())
        .ok_or_else(|| "is not a role's ARN; allowed: arn:aws:iam::ACCOUNT:role/NAME".to_owned())
}

/// A region's name.
pub(super) fn region(text: &str) -> Result<String, String> {
    if is_region(text) {
        Ok(text.to_owned())
    } else {
        Err("is not a region's name; allowed: one such as eu-central-1".to_owned())
    }
}

/// An account's number.
pub(super) fn account(text: &str) -> Result<String, String> {
    if is_account(text) {
        Ok(text.to_owned())
    } else {
        Err("is not an account's number; allowed: 12 digits".to_owned())
    }
}

/// A bucket's name by S3's rules for general purpose buckets.
pub(super) fn bucket(text: &str) -> Result<String, String> {
    let refuse = |why: &str| Err(format!("is not a bucket's name: {why}"));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if !(3..=63).contains(&bytes.len()) {
        return refuse("it has 3 to 63 characters");
    }
    if !bytes.iter().all(|b| plain(*b) || *b == b'.' || *b == b'-') {
        return refuse("only lower-case letters, digits, dots and hyphens are allowed");
    }
    if !bytes.first().copied().is_some_and(plain) || !bytes.last().copied().is_some_and(plain) {
        return refuse("it begins and ends with a letter or a digit");
    }
    if text.contains("..") {
        return refuse("two dots may not stand side by side");
    }
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return refuse("it may not look like an IP address");
    }
    Ok(text.to_owned())
}

/// What keys begin with.
pub(super) fn prefix(text: &str) -> Result<Prefix, String> {
    Prefix::new(text).map_err(|no| format!("cannot be a prefix: {}", no.reason))
}

/// The id, alias or ARN of a KMS key: KMS itself knows whether there is one.
pub(super) fn kms_key(text: &str) -> Result<String, String> {
    if text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("is not a KMS key; allowed: its id, alias or ARN".to_owned())
    }
}

/// A CloudWatch namespace.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let fits = text.len() <= 255
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b" .-_/#:".contains(&b))
        && ![":", " ", "AWS/"].iter().any(|no| text.starts_with(no))
        && !text.ends_with(' ');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("is not a namespace; allowed: up to 255 of a-z A-Z 0-9 . - _ / # : and spaces inside, not beginning with AWS/"
            .to_owned())
    }
}

/// `host:port`.
pub(super) fn host_port(text: &str) -> Result<HostPort, String> {
    let refuse = || "is not an address; allowed: host:port such as 127.0.0.1:9464".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refuse)?;
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)),
    };
    if fits { Ok(HostPort { host: bracketed.unwrap_or(host).to_owned(), port }) } else { Err(refuse()) }
}

/// `host:port` to listen at; `:port` alone is this machine and nobody else.
pub(super) fn listen(text: &str) -> Result<HostPort, String> {
    if text.starts_with(':') { host_port(&format!("127.0.0.1{text}")) } else { host_port(text) }
}

/// An address of a service.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let names_a_host = |rest: &str| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // The colons of an IPv6 address stand in brackets.
        let port = if authority.rfind(':') > authority.rfind(']') { "" } else { ":80" };
        host_port(&format!("{authority}{port}")).is_ok()
    };
    if rest.is_some_and(names_a_host) && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("is not an address; allowed: http://HOST:PORT or https://HOST:PORT".to_owned())
    }
}

/// The name of a profile.
pub(super) fn profile(text: &str) -> Result<String, String> {
    if text.trim() == text && !text.contains(|c: char| c.is_control()) {
        Ok(text.to_owned())
    } else {
        Err("is not a profile's name".to_owned())
    }
}
