//! Where things lie in the bucket.

use std::fmt;

use super::batch::{Compression, Form, Format};
use super::sequence::SequenceNumber;
use super::shard::ShardId;
use super::timestamp::{Hour, Timestamp};

/// How an hour is written in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `dt=2026-11-22/hour=05/`
    Hive,
    /// `2026/11/22/05/`
    Firehose,
}

impl Layout {
    /// The other one: what an hour's manifest may lie under when the setting was changed.
    pub const fn other(self) -> Self {
        match self {
            Self::Hive => Self::Firehose,
            Self::Firehose => Self::Hive,
        }
    }
}

/// A key prefix that fits: ASCII without control characters, at most 500 bytes, so that keys and
/// metadata stay within S3's limits.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Prefix(String);

/// The text cannot be a prefix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` cannot be a prefix: {reason}")]
pub struct NotAPrefix {
    /// What was given.
    pub text: String,
    /// Why not.
    pub reason: &'static str,
}

/// The longest prefix, in bytes: keys end within S3's 1,024 and metadata within its 2 KB.
pub const MAX_PREFIX: usize = 500;

impl Prefix {
    /// Checks the text once; after that the type is the proof.
    pub fn new(text: &str) -> Result<Self, NotAPrefix> {
        let refuse = |reason| Err(NotAPrefix { text: text.to_owned(), reason });
        if text.len() > MAX_PREFIX {
            return refuse("it is longer than 500 bytes");
        }
        if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return refuse("only printable ASCII is allowed");
        }
        if text.starts_with('/') || text.contains("//") {
            return refuse("empty path segments confuse S3 tools");
        }
        if text.split('/').any(|segment| segment == "." || segment == "..") {
            return refuse("`.` and `..` are not segments of a key");
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All keys of one stream's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    root: String,
}

impl Keys {
    /// The keys under `{prefix}{stream}/`.
    pub fn new(prefix: &Prefix, stream: &str) -> Self {
        Self { root: format!("{prefix}{stream}/") }
    }

    /// `{prefix}{stream}/`, under which everything lies.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The key of a batch's object.
    pub fn object(
        &self,
        layout: Layout,
        hour: Hour,
        shard: &ShardId,
        first: &SequenceNumber,
        form: Form,
    ) -> String {
        let folder = hour_folder(layout, hour);
        let lines = match form.format {
            Format::Envelope => "ndjson",
            Format::Payload => "payload",
        };
        let packed = match form.compression {
            Compression::Gzip => "gz",
            Compression::Zstd => "zst",
        };
        format!("{}{folder}/{shard}-{first}.{lines}.{packed}", self.root)
    }

    /// The key of the side object of the object under `key`: beside it, and invisible to those who
    /// pass over names that begin with `_`.
    pub fn side(key: &str) -> String {
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
        let (stem, packed) = name.rsplit_once('.').unwrap_or((name, ""));
        let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
        format!("{folder}/_{stem}.side.ndjson.{packed}")
    }

    /// The manifest of an hour.
    pub fn hour(&self, layout: Layout, hour: Hour) -> String {
        format!("{}{}/_hour.json", self.root, hour_folder(layout, hour))
    }

    /// Where the chain of hour manifests begins.
    pub fn hours_start(&self) -> String {
        format!("{}_ledger/hours.json", self.root)
    }

    /// `_ledger/`, with all ledgers of all streams that bore the name.
    pub fn ledgers(&self) -> String {
        format!("{}_ledger/", self.root)
    }

    /// What every stream's start object begins with.
    pub fn stream_starts(&self) -> String {
        format!("{}_ledger/stream-", self.root)
    }

    /// The stream's start object.
    pub fn stream_start(&self, created: Timestamp) -> String {
        format!("{}{}.json", self.stream_starts(), created.as_seconds())
    }

    /// The folder of a shard's ledger.
    pub fn ledger(&self, shard: &ShardId, created: Timestamp) -> String {
        format!("{}_ledger/{shard}-{}/", self.root, created.as_seconds())
    }

    /// A ledger entry.
    pub fn entry(&self, shard: &ShardId, created: Timestamp, serial: u64) -> String {
        format!("{}{serial:012}.json", self.ledger(shard, created))
    }

    /// Where sealed records go that a gap already covers. Two keepers may hold different stretches
    /// that begin with the same record: the hash of the content tells them apart.
    pub fn repaired(
        &self,
        shard: &ShardId,
        created: Timestamp,
        (first, content_sha256): (&SequenceNumber, &str),
    ) -> String {
        let content: String = content_sha256.chars().take(16).collect();
        format!("{}_repaired/{shard}-{}/{first}-{content}.ndjson.gz", self.root, created.as_seconds())
    }
}

/// The folder of an hour, below the archive's root.
fn hour_folder(layout: Layout, hour: Hour) -> String {
    let instant = hour.start().to_string();
    let (year, month, day, of_day) = (&instant[..4], &instant[5..7], &instant[8..10], &instant[11..13]);
    match layout {
        Layout::Hive => format!("dt={year}-{month}-{day}/hour={of_day}"),
        Layout::Firehose => format!("{year}/{month}/{day}/{of_day}"),
    }
}

/// The serial in an entry's key, if it is one.
pub fn serial_of(key: &str) -> Option<u64> {
    let name = key.rsplit('/').next()?.strip_suffix(".json")?;
    if name.len() == 12 { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_contracts() {
        let keys = Keys::new(&Prefix::new("raw/").unwrap(), "clickstream");
        let shard = ShardId::new("shardId-000000000000");
        let hour = "2026-11-22T05:11:00Z".parse::<Timestamp>().unwrap().hour();
        let first = "4966".parse().unwrap();
        let form = Form::SPOOLED;
        assert_eq!(
            keys.object(Layout::Hive, hour, &shard, &first, form),
            "raw/clickstream/dt=2026-11-22/hour=05/shardId-000000000000-4966.ndjson.gz"
        );
        assert_eq!(
            keys.object(Layout::Firehose, hour, &shard, &first, form),
            "raw/clickstream/2026/11/22/05/shardId-000000000000-4966.ndjson.gz"
        );
        let form = Form { format: Format::Payload, compression: Compression::Zstd };
        let payload = keys.object(Layout::Hive, hour, &shard, &first, form);
        assert_eq!(payload, "raw/clickstream/dt=2026-11-22/hour=05/shardId-000000000000-4966.payload.zst");
        assert_eq!(
            Keys::side(&payload),
            "raw/clickstream/dt=2026-11-22/hour=05/_shardId-000000000000-4966.side.ndjson.zst"
        );
        assert_eq!(keys.hour(Layout::Hive, hour), "raw/clickstream/dt=2026-11-22/hour=05/_hour.json");
        assert_eq!(keys.hour(Layout::Firehose, hour), "raw/clickstream/2026/11/22/05/_hour.json");
        let created = Timestamp::from_millis(1_700_000_000_999);
        let entry = keys.entry(&shard, created, 41);
        assert_eq!(entry, "raw/clickstream/_ledger/shardId-000000000000-1700000000/000000000041.json");
        assert_eq!(serial_of(&entry), Some(41));
        assert_eq!(serial_of(&keys.stream_start(created)), None);
    }

    #[test]
    fn a_prefix_is_checked_once() {
        assert!(Prefix::new("a/b/").is_ok());
        assert!(Prefix::new("/a").is_err());
        assert!(Prefix::new("ä").is_err());
        assert!(Prefix::new(&"a".repeat(501)).is_err());
        assert!(Prefix::new("../x/").is_err());
    }
}
