//! The bucket of the archive: objects that are put once.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::model::expiry::Expiry;
use crate::model::metadata::VOID;
use crate::model::timestamp::Timestamp;
use crate::stop::Stop;

/// What a put may take before its size counts: S3's slowest answers, and a retry.
const PUT_BASE: Duration = Duration::from_secs(30);

/// What a put may count on of an uplink, in bytes a second; where that has shown to be too much, the store gives it
/// longer.
const PUT_RATE: u64 = 1 << 20;

/// How long a put of so many bytes takes at most on a usual line.
pub const fn longest_put(bytes: u64) -> Duration {
    PUT_BASE.saturating_add(Duration::from_secs(bytes / PUT_RATE))
}

/// The body of an object to be put.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// In memory: ledger entries, voids.
    Bytes(&'a [u8]),
    /// A file of the [`Disk`](super::Disk), streamed.
    File {
        /// Its place under the state directory.
        path: &'a Path,
        /// Its length in bytes.
        len: u64,
    },
}

/// What is stored beside a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The media type.
    pub content_type: &'static str,
    /// Hex SHA-256 of the body; sent as S3's own checksum, and so verified by S3.
    pub sha256: String,
    /// User metadata without the `x-amz-meta-` prefix; ASCII.
    pub metadata: Vec<(&'static str, String)>,
    /// Whether it is a data object, to which storage class and object lock apply.
    pub data: bool,
}

/// The outcome of a put that must not overwrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was stored.
    Stored(Stored),
    /// Something is there already (412): perhaps our own earlier try.
    Taken,
}

/// Where an object was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// ETag without quotes; never a hash.
    pub etag: String,
    /// The version, where the bucket keeps versions.
    pub version_id: Option<String>,
}

/// What HEAD tells of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Where it lies.
    pub stored: Stored,
    /// Its length in bytes.
    pub size: u64,
    /// When it came to lie there, by the store's clock; `None` if the store does not say.
    pub modified: Option<Timestamp>,
    /// Its user metadata, lower-case keys without prefix.
    pub metadata: Vec<(String, String)>,
}

impl Head {
    /// One value of the user metadata.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether its metadata say that it is a void.
    pub fn is_void(&self) -> bool {
        self.meta(VOID).is_some()
    }
}

/// The bucket of the archive. Nothing in it can be overwritten or deleted through this port.
pub trait ObjectStore: Send + Sync {
    /// Puts an object where none is, with `If-None-Match: *`.
    fn put_if_absent(
        &self,
        key: &str,
        body: Body<'_>,
        attributes: &Attributes,
        stop: &Stop,
    ) -> Result<Put, StoreError>;

    /// HEAD; `None` where nothing is.
    fn head(&self, key: &str, stop: &Stop) -> Result<Option<Head>, StoreError>;

    /// A small object (an entry, a manifest) whole; `None` where nothing is.
    fn get(&self, key: &str, stop: &Stop) -> Result<Option<Vec<u8>>, StoreError>;

    /// An object as a stream of bytes; `None` where nothing is.
    fn open(&self, key: &str, stop: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError>;

    /// Keys under `prefix` in order, those after `start_after` only; all pages.
    fn list(&self, prefix: &str, start_after: Option<&str>, stop: &Stop) -> Result<Vec<String>, StoreError>;

    /// The folders directly under `prefix`, each with its closing `/`; all pages.
    fn folders(&self, prefix: &str, stop: &Stop) -> Result<Vec<String>, StoreError>;

    /// What the bucket's lifecycle surely deletes.
    fn expiry(&self, stop: &Stop) -> Result<Expiry, StoreError>;

    /// The service's own time, from any answer.
    fn service_time(&self, stop: &Stop) -> Result<Timestamp, StoreError>;

    /// How long a put of so many bytes takes at most, as the line has shown to be: until then it is not stuck.
    fn longest_put(&self, bytes: u64) -> Duration {
        longest_put(bytes)
    }
}

/// A version of an object, in a bucket that keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub id: String,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it is what a plain GET gives.
    pub is_latest: bool,
}

/// What repairing may do besides: put over what is damaged, and read what was there before.
pub trait MendableStore: ObjectStore {
    /// Puts over the object that was seen, with `If-Match` and its ETag; taken if another lies there by now.
    fn put_over(
        &self,
        seen: &Stored,
        key: &str,
        body: Body<'_>,
        attributes: &Attributes,
        stop: &Stop,
    ) -> Result<Put, StoreError>;

    /// The versions of a key, newest first, without delete markers; one at most where the bucket keeps none.
    fn versions(&self, key: &str, stop: &Stop) -> Result<Vec<Version>, StoreError>;

    /// One version as a stream of bytes; `None` where it is not.
    fn open_version(
        &self,
        key: &str,
        version: &str,
        stop: &Stop,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError>;
}

/// Why a call to the object store failed, as far as the caller acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreErrorKind {
    /// 409 or SlowDown: try again.
    Busy,
    /// The body did not match its checksum.
    BadDigest,
    /// Credentials missing, expired or not allowed: for the operator to mend.
    AccessDenied,
    /// The bucket is missing or elsewhere: for the operator to mend.
    NoBucket,
    /// No answer within the deadline, or none at all.
    NoAnswer,
    /// The file to be put could not be read.
    LocalFile,
    /// A stop interrupted the call.
    Stopped,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// As the label `kind` of `errors_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::BadDigest => "bad_digest",
            Self::AccessDenied => "access_denied",
            Self::NoBucket => "no_bucket",
            Self::NoAnswer => "no_answer",
            Self::LocalFile => "local_file",
            Self::Stopped => "stopped",
            Self::Other => "other",
        }
    }
}

/// A call to the object store failed. A failed put may have been applied: it is repeated with
/// identical bytes until it is stored or taken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call}{} failed: {message}", of(.key))]
pub struct StoreError {
    /// Which call.
    pub call: &'static str,
    /// The key or prefix it was about; empty where it was the bucket itself.
    pub key: String,
    /// What to do about it.
    pub kind: StoreErrorKind,
    /// What the service said, and the IAM action if access was denied.
    pub message: String,
}

fn of(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(" of s3 key {key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_names_its_key_if_it_had_one() {
        let error = |call, key: &str| {
            let (key, message) = (key.to_owned(), "no answer in time".to_owned());
            StoreError { call, key, kind: StoreErrorKind::NoAnswer, message }.to_string()
        };
        assert_eq!(error("GetObject", "a/b"), "GetObject of s3 key a/b failed: no answer in time");
        assert_eq!(error("HeadBucket", ""), "HeadBucket failed: no answer in time");
    }
}
