//! Putting an object where none is, or over one that was seen, with all that is sent along: condition, checksum, encryption, lock.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::config;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{ObjectLockMode, ServerSideEncryption, StorageClass};
use aws_smithy_types::DateTime;
use aws_smithy_types::timeout::TimeoutConfig;

use super::{S3Store, SMALL_DEADLINE, stored};
use crate::aws::blocking::Until;
use crate::aws::errors::{Refusal, chain};
use crate::ports::{Attributes, Body, Put, StoreError, StoreErrorKind, longest_put};
use crate::stop::Stop;

const SECONDS_PER_DAY: u64 = 86_400;

/// What must be true of a key for a put to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition<'a> {
    /// Nothing is there.
    Absent,
    /// What lies there has this ETag.
    Is(&'a str),
}

/// Whether a file can be read from its beginning to its end.
fn read_through(path: &Path) -> io::Result<()> {
    io::copy(&mut File::open(path)?, &mut io::sink()).map(drop)
}

impl S3Store {
    /// Puts an object where the condition holds.
    pub(super) fn put(
        &self,
        (key, condition): (&str, Condition<'_>),
        body: Body<'_>,
        attributes: &Attributes,
        stop: &Stop,
    ) -> Result<Put, StoreError> {
        const CALL: &str = "PutObject";
        let (content, len, path): (ByteStream, u64, Option<PathBuf>) = match body {
            Body::Bytes(bytes) => (ByteStream::from(bytes.to_vec()), bytes.len() as u64, None),
            Body::File { path, len } => {
                let path = self.disk.full_path(path);
                (self.file(key, &path, len, stop)?, len, Some(path))
            }
        };
        let given = self.patience.give(len);
        let deadline = given.deadline;
        let Some(request) = self.put_request(key, condition, attributes) else {
            let message = format!("`{}` is no hex SHA-256", attributes.sha256);
            return Err(StoreError { call: CALL, key: key.to_owned(), kind: StoreErrorKind::Other, message });
        };
        // One try gets less by half of what a put of nothing may take, so that a dead connection leaves time for another.
        let limits = TimeoutConfig::builder()
            .operation_timeout(deadline)
            .operation_attempt_timeout(deadline - longest_put(0) / 2);
        let config = config::Config::builder().timeout_config(limits.build());
        let sending = request.body(content).customize().config_override(config).send();
        let began = self.clock.monotonic();
        let outcome = self.call((CALL, key), (deadline, Until::Abandoned), stop, sending);
        let took = self.clock.monotonic().saturating_sub(began);
        match outcome {
            Ok(output) => {
                self.patience.stored(given, took);
                Ok(Put::Stored(stored(output.e_tag, output.version_id)))
            }
            Err(failed) if is_taken(&failed.0) => Ok(Put::Taken),
            Err(failed) => {
                if failed.1.kind == StoreErrorKind::NoAnswer {
                    self.patience.cut(given, took);
                }
                // The file may have gone while it was sent, or the disk may not give it back; both look like a broken
                // connection.
                let suspect = path.filter(|_| failed.1.kind == StoreErrorKind::NoAnswer);
                if let Some(path) = suspect
                    && let Err(error) = read_through(&path)
                {
                    return Err(Self::local(key, &path, &format!("it cannot be read: {error}")));
                }
                Err(failed.1)
            }
        }
    }

    fn local(key: &str, path: &Path, why: &str) -> StoreError {
        StoreError {
            call: "PutObject",
            key: key.to_owned(),
            kind: StoreErrorKind::LocalFile,
            message: format!("{}: {why}", path.display()),
        }
    }

    /// A file as a body that can be sent again, checked to be there and of its length.
    fn file(&self, key: &str, path: &Path, len: u64, stop: &Stop) -> Result<ByteStream, StoreError> {
        let open = async {
            let found = tokio::fs::File::open(path).await?.metadata().await?.len();
            if found != len {
                return Err(std::io::Error::other(format!("it has {found} bytes and not {len}")));
            }
            let file = ByteStream::read_from().path(path).length(Length::Exact(len)).buffer_size(256 << 10);
            file.build().await.map_err(std::io::Error::other)
        };
        match self.blocking.run_here(SMALL_DEADLINE, stop, Until::Abandoned, open) {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) => Err(Self::local(key, path, &chain(&error))),
            Err(cut) => Err(self.error("PutObject", key, &Refusal::cut(cut))),
        }
    }

    /// Everything of a put but its body.
    fn put_request(
        &self,
        key: &str,
        condition: Condition<'_>,
        attributes: &Attributes,
    ) -> Option<PutObjectFluentBuilder> {
        let settings = &self.settings;
        let request = self.client.put_object().bucket(&settings.bucket).key(key);
        let request = match condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Is(etag) => request.if_match(format!("\"{etag}\"")),
        };
        let mut request = request
            .checksum_sha256(base64_of_hex(&attributes.sha256)?)
            .set_expected_bucket_owner(self.owner())
            .set_content_type(Some(attributes.content_type.to_owned()).filter(|text| !text.is_empty()));
        for (name, value) in &attributes.metadata {
            request = request.metadata(*name, value);
        }
        if attributes.data {
            request = request.set_storage_class(settings.storage_class.as_deref().map(StorageClass::from));
        }
        if let Some(key) = &settings.sse_kms_key_id {
            request = request
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .ssekms_key_id(key)
                .bucket_key_enabled(true);
        }
        if settings.object_lock_days > 0 {
            let days = Duration::from_secs(u64::from(settings.object_lock_days) * SECONDS_PER_DAY);
            let until = (self.clock.now() + days).as_seconds();
            request = request
                .object_lock_mode(ObjectLockMode::Compliance)
                .object_lock_retain_until_date(DateTime::from_secs(until));
        }
        Some(request)
    }
}

/// Neither code nor status is modelled by the SDK.
fn is_taken(refusal: &Refusal) -> bool {
    refusal.code == "PreconditionFailed" || refusal.status() == Some(412)
}

/// Base64 of the bytes that 64 hex digits stand for, as S3 wants its checksum.
fn base64_of_hex(hex: &str) -> Option<String> {
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0_u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(base64_simd::STANDARD.encode_to_string(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_is_told_the_checksum_in_its_own_alphabet() {
        // printf '' | sha256sum, and the same through base64
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(base64_of_hex(empty).as_deref(), Some("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="));
        assert_eq!(base64_of_hex("e3b0"), None);
        assert_eq!(base64_of_hex(&"g".repeat(64)), None);
        assert_eq!(base64_of_hex(&"é".repeat(32)), None);
    }
}
