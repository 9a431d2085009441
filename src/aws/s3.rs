//! The archive's bucket, through the S3 API.
//!
//! Owns the calls and their deadlines; `put` owns what is sent with every put. Does not decide what a
//! taken key or a missing object means: the ledger does.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::{Client, config};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::checksum_config::ResponseChecksumValidation;
use aws_smithy_types::timeout::TimeoutConfig;

use super::answer::AnswerDate;
use super::blocking::{Blocking, Until};
use super::clients::Clients;
use super::errors::{Cause, Refusal, chain};
use super::lifecycle;
use crate::model::expiry::Expiry;
use crate::model::timestamp::Timestamp;
use crate::ports::{
    Attributes, Body, Clock, Disk, Head, ObjectStore, Put, StoreError, StoreErrorKind, Stored,
};
use crate::stop::Stop;
use patience::Patience;

mod body;
mod mend;
mod patience;
mod put;

/// HEAD, a page of a listing, a ledger entry: kilobytes, with the SDK's three tries.
const SMALL_DEADLINE: Duration = Duration::from_secs(15);

/// The most that [`ObjectStore::get`] holds in memory; entries and manifests are far smaller.
const SMALL_OBJECT: u64 = 16 << 20;

/// How the bucket is used.
#[derive(Clone, Debug, Default)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// The account that must own it, or every call is refused.
    pub expected_bucket_owner: Option<String>,
    /// The storage class of data objects; `None`: STANDARD.
    pub storage_class: Option<String>,
    /// The KMS key of every object; `None`: the bucket's default encryption.
    pub sse_kms_key_id: Option<String>,
    /// Days of compliance-mode retention on every object; 0: none.
    pub object_lock_days: u32,
}

/// One bucket.
pub struct S3Store {
    client: Client,
    blocking: Blocking,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    settings: S3Settings,
    patience: Patience,
}

/// A call that failed: in neutral terms, and as the port tells it.
type Failed = Box<(Refusal, StoreError)>;

impl S3Store {
    /// Connects to nothing yet. Bodies that are files lie on `disk`; `clock` dates object locks and
    /// stands in where an answer has no date.
    pub fn new(
        clients: &Clients,
        blocking: Blocking,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        mut settings: S3Settings,
    ) -> Self {
        for setting in
            [&mut settings.expected_bucket_owner, &mut settings.storage_class, &mut settings.sse_kms_key_id]
        {
            setting.take_if(|text| text.is_empty());
        }
        let patience = Patience::default();
        Self { client: clients.s3(), blocking, clock, disk, settings, patience }
    }

    fn owner(&self) -> Option<String> {
        self.settings.expected_bucket_owner.clone()
    }

    /// What IAM calls the action, and what else can be behind a refusal.
    fn action(&self, call: &str) -> String {
        let mut action = match call {
            "PutObject" => "s3:PutObject".to_owned(),
            "HeadObject" => {
                "s3:GetObject, and s3:ListBucket on the bucket so that a missing object is a 404".to_owned()
            }
            "GetObject" => {
                "s3:GetObject, and s3:ListBucket on the bucket so that a missing object is a 404".to_owned()
            }
            "ListObjectsV2" | "HeadBucket" => "s3:ListBucket".to_owned(),
            "ListObjectVersions" => "s3:ListBucketVersions".to_owned(),
            "GetBucketLifecycleConfiguration" => "s3:GetLifecycleConfiguration".to_owned(),
            other => format!("s3:{other}"),
        };
        if call == "PutObject" && self.settings.object_lock_days > 0 {
            action += ", s3:PutObjectRetention";
        }
        if self.settings.sse_kms_key_id.is_some() {
            action += ", kms:GenerateDataKey and kms:Decrypt on the key";
        }
        if let Some(owner) = &self.settings.expected_bucket_owner {
            action = format!("{action} (and the bucket must belong to account {owner})");
        }
        action
    }

    fn error(&self, call: &'static str, key: &str, refusal: &Refusal) -> StoreError {
        let mut kind = refusal.store_kind();
        // Only calls about one object can miss the object; a HEAD of the bucket has no body to say so.
        if refusal.status() == Some(404) && !matches!(call, "GetObject" | "HeadObject") {
            kind = StoreErrorKind::NoBucket;
        }
        let mut message = refusal.advice(&self.action(call));
        if kind == StoreErrorKind::NoBucket {
            message = format!("{message}; check archive.bucket ({}) and aws.region", self.settings.bucket);
        } else if refusal.status() == Some(400) && refusal.code.is_empty() {
            // A HEAD has no body that could say more.
            message += "; mostly the wrong region, or credentials that have expired";
        }
        StoreError { call, key: key.to_owned(), kind, message }
    }

    /// Runs one call and puts its failure into words.
    fn call<T, E>(
        &self,
        about: (&'static str, &str),
        limit: (Duration, Until),
        stop: &Stop,
        sending: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
    ) -> Result<T, Failed>
    where
        T: Send + 'static,
        E: ProvideErrorMetadata + std::error::Error + Send + 'static,
    {
        let refusal = match self.blocking.run(limit.0, stop, limit.1, sending) {
            Ok(Ok(output)) => return Ok(output),
            Ok(Err(error)) => Refusal::of(&error),
            Err(cut) => Refusal::cut(cut),
        };
        let error = self.error(about.0, about.1, &refusal);
        Err(Box::new((refusal, error)))
    }

    /// The request for an object, or for one version of it.
    fn request_of(&self, key: &str, version: Option<&str>) -> GetObjectFluentBuilder {
        let request = self.client.get_object().bucket(&self.settings.bucket).key(key);
        request.set_version_id(version.map(str::to_owned)).set_expected_bucket_owner(self.owner())
    }

    /// GET, up to the headers; `None` where nothing is.
    fn fetch(
        &self,
        (key, version): (&str, Option<&str>),
        config: config::Builder,
        until: Until,
        stop: &Stop,
    ) -> Result<Option<(ByteStream, Option<i64>)>, StoreError> {
        let sending = self.request_of(key, version).customize().config_override(config).send();
        match self.call(("GetObject", key), (SMALL_DEADLINE, until), stop, sending) {
            Ok(output) => Ok(Some((output.body, output.content_length))),
            Err(failed) if matches!(failed.0.code.as_str(), "NoSuchKey" | "NoSuchVersion") => Ok(None),
            Err(failed) => Err(failed.1),
        }
    }

    /// GET, of the newest or of one version; `None` where nothing is.
    fn reader(
        &self,
        key: &str,
        version: Option<&str>,
        stop: &Stop,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        // Who opens an object hashes it: the SDK's own check would do the same work twice.
        let config =
            limits(SMALL_DEADLINE).response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let content = self.fetch((key, version), config, Until::Stopped, stop)?;
        Ok(content.map(|(content, _)| {
            let request = self.request_of(key, version);
            let reader = body::Reader::new(content, request, self.blocking.clone(), stop.clone());
            Box::new(reader) as Box<dyn Read + Send>
        }))
    }

    /// Every page of a listing, handed to `take`.
    fn pages(
        &self,
        prefix: &str,
        (start_after, delimiter): (Option<&str>, Option<&str>),
        stop: &Stop,
        mut take: impl FnMut(aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output),
    ) -> Result<(), StoreError> {
        const CALL: &str = "ListObjectsV2";
        let mut token: Option<String> = None;
        loop {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.settings.bucket)
                .prefix(prefix)
                .set_start_after(start_after.map(str::to_owned))
                .set_delimiter(delimiter.map(str::to_owned))
                .set_continuation_token(token.clone())
                .set_expected_bucket_owner(self.owner());
            let sending = request.customize().config_override(limits(SMALL_DEADLINE)).send();
            let page = self
                .call((CALL, prefix), (SMALL_DEADLINE, Until::Stopped), stop, sending)
                .map_err(|failed| failed.1)?;
            let next = page.next_continuation_token.clone().filter(|_| page.is_truncated == Some(true));
            let broken = page.is_truncated == Some(true) && (next.is_none() || next == token);
            take(page);
            if broken {
                let message = "the listing is cut short and does not say how it goes on".to_owned();
                return Err(StoreError {
                    call: CALL,
                    key: prefix.to_owned(),
                    kind: StoreErrorKind::Other,
                    message,
                });
            }
            match next {
                Some(next) => token = Some(next),
                None => return Ok(()),
            }
        }
    }
}

impl ObjectStore for S3Store {
    fn longest_put(&self, bytes: u64) -> Duration {
        self.patience.give(bytes).deadline
    }

    fn put_if_absent(
        &self,
        key: &str,
        body: Body<'_>,
        attributes: &Attributes,
        stop: &Stop,
    ) -> Result<Put, StoreError> {
        self.put((key, put::Condition::Absent), body, attributes, stop)
    }

    fn head(&self, key: &str, stop: &Stop) -> Result<Option<Head>, StoreError> {
        let request = self.client.head_object().bucket(&self.settings.bucket).key(key);
        let request = request.set_expected_bucket_owner(self.owner());
        let sending = request.customize().config_override(limits(SMALL_DEADLINE)).send();
        match self.call(("HeadObject", key), (SMALL_DEADLINE, Until::Abandoned), stop, sending) {
            Ok(output) => Ok(Some(Head {
                stored: stored(output.e_tag, output.version_id),
                size: u64::try_from(output.content_length.unwrap_or(0)).unwrap_or(0),
                modified: output.last_modified.map(|time| Timestamp::from_seconds(time.secs())),
                metadata: sorted(output.metadata.unwrap_or_default()),
            })),
            Err(failed) if failed.0.status() == Some(404) && failed.0.code != "NoSuchBucket" => Ok(None),
            Err(failed) => Err(failed.1),
        }
    }

    fn get(&self, key: &str, stop: &Stop) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((content, len)) = self.fetch((key, None), limits(SMALL_DEADLINE), Until::Abandoned, stop)?
        else {
            return Ok(None);
        };
        let error = |kind, message| StoreError { call: "GetObject", key: key.to_owned(), kind, message };
        let too_large = || error(StoreErrorKind::Other, format!("it is larger than {SMALL_OBJECT} bytes"));
        if len.is_some_and(|len| u64::try_from(len).unwrap_or(u64::MAX) > SMALL_OBJECT) {
            return Err(too_large());
        }
        let whole = body::whole(content, SMALL_OBJECT);
        match self.blocking.run_here(SMALL_DEADLINE, stop, Until::Abandoned, whole) {
            Ok(Ok(Some(bytes))) => Ok(Some(bytes)),
            Ok(Ok(None)) => Err(too_large()),
            Ok(Err(broken)) => Err(error(StoreErrorKind::NoAnswer, chain(&broken))),
            Err(cut) => Err(self.error("GetObject", key, &Refusal::cut(cut))),
        }
    }

    fn open(&self, key: &str, stop: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.reader(key, None, stop)
    }

    fn list(&self, prefix: &str, start_after: Option<&str>, stop: &Stop) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        self.pages(prefix, (start_after, None), stop, |page| {
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
        })?;
        Ok(keys)
    }

    fn folders(&self, prefix: &str, stop: &Stop) -> Result<Vec<String>, StoreError> {
        let mut folders = Vec::new();
        self.pages(prefix, (None, Some("/")), stop, |page| {
            let common = page.common_prefixes.unwrap_or_default();
            folders.extend(common.into_iter().filter_map(|folder| folder.prefix));
        })?;
        Ok(folders)
    }

    fn expiry(&self, stop: &Stop) -> Result<Expiry, StoreError> {
        let request = self.client.get_bucket_lifecycle_configuration().bucket(&self.settings.bucket);
        let request = request.set_expected_bucket_owner(self.owner());
        let sending = request.customize().config_override(limits(SMALL_DEADLINE)).send();
        let about = ("GetBucketLifecycleConfiguration", "");
        match self.call(about, (SMALL_DEADLINE, Until::Stopped), stop, sending) {
            Ok(output) => Ok(lifecycle::surely(&output.rules.unwrap_or_default())),
            // No rules, or a store that knows none: nothing expires.
            Err(failed)
                if matches!(failed.0.code.as_str(), "NoSuchLifecycleConfiguration" | "NotImplemented") =>
            {
                Ok(Expiry::default())
            }
            Err(failed) => Err(failed.1),
        }
    }

    fn service_time(&self, stop: &Stop) -> Result<Timestamp, StoreError> {
        let date = AnswerDate::new();
        let request = self.client.head_bucket().bucket(&self.settings.bucket);
        let request = request.set_expected_bucket_owner(self.owner());
        let sending =
            request.customize().config_override(limits(SMALL_DEADLINE)).interceptor(date.clone()).send();
        match self.call(("HeadBucket", ""), (SMALL_DEADLINE, Until::Stopped), stop, sending) {
            Ok(_) => Ok(date.get().unwrap_or_else(|| self.clock.now())),
            // Who may not list the bucket is told the time all the same.
            Err(failed) => match date.get() {
                Some(time) if failed.0.cause == Cause::Answered(403) => Ok(time),
                _ => Err(failed.1),
            },
        }
    }
}

/// The deadline of one operation with all its tries. One try gets half of it, so that a dead
/// connection leaves time for another.
fn limits(deadline: Duration) -> config::Builder {
    let limits = TimeoutConfig::builder().operation_timeout(deadline).operation_attempt_timeout(deadline / 2);
    config::Config::builder().timeout_config(limits.build())
}

fn stored(etag: Option<String>, version_id: Option<String>) -> Stored {
    let etag = etag.unwrap_or_default();
    let etag = etag.trim_matches('"').to_owned();
    // "null" is the version of an object put before versions were kept.
    Stored { etag, version_id: version_id.filter(|version| !version.is_empty() && version != "null") }
}

fn sorted(metadata: std::collections::HashMap<String, String>) -> Vec<(String, String)> {
    let mut metadata: Vec<_> =
        metadata.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect();
    metadata.sort();
    metadata
}

#[cfg(test)]
mod tests;
