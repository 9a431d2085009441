//! What a failed call to AWS means: the SDK's errors, put into the few kinds that callers act on.
//!
//! Owns the error codes and the words of the messages: the code, what the service said, the
//! request id, and what an operator has to mend. Does not decide whether to try again.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::blocking::Cut;
use crate::ports::news::request_id;
use crate::ports::{KmsTrouble, StoreErrorKind, StreamErrorKind};

/// A failed call in neutral terms, before a service's own codes are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What came back, if anything did.
    pub cause: Cause,
    /// The service's error code; empty where it gave none.
    pub code: String,
    /// The code, what the service said, and the request id.
    pub message: String,
}

/// What came back of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The service answered with this HTTP status.
    Answered(u16),
    /// No answer within the deadline, or none that could be read.
    NoAnswer,
    /// The connection was refused: nobody heard the call.
    NeverSent,
    /// There were no credentials to sign the call with.
    NoCredentials,
    /// A stop.
    Stopped,
    /// The call could not even be built.
    Unsendable,
}

/// Codes by which a service refuses who calls, whatever is asked.
const NOT_LET_IN: [&str; 20] = [
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "AuthFailure",
    "AuthorizationError",
    "AuthorizationErrorException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "TokenRefreshRequired",
];

/// Codes by which any service asks for patience.
const TOO_MUCH: [&str; 11] = [
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

impl Refusal {
    /// Of a failed call.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let request = |response: &HttpResponse| match response.headers().request_id() {
            Some(id) => request_id(id),
            None => String::new(),
        };
        // Signing happens on the way out, so missing credentials look like a failed connection.
        if has_source::<CredentialsError>(error) {
            let message = format!(
                "no usable credentials ({}): set them in the environment or a profile, or give this host a role",
                chain(error)
            );
            return Self::silent(Cause::NoCredentials, message);
        }
        match error {
            SdkError::ServiceError(refused) => {
                let (answer, said) = (refused.raw(), refused.err());
                let status = answer.status().as_u16();
                let code = said.code().unwrap_or_default().to_owned();
                let mut message = if code.is_empty() { format!("HTTP {status}") } else { code.clone() };
                if let Some(text) = said.message().filter(|text| !text.is_empty()) {
                    message = format!("{message}: {text}");
                }
                if let Some(region) = answer.headers().get("x-amz-bucket-region") {
                    message = format!("{message}; the bucket is in {region}");
                }
                message += &request(answer);
                Self { cause: Cause::Answered(status), code, message }
            }
            SdkError::ResponseError(unread) => {
                let status = unread.raw().status().as_u16();
                let message = format!(
                    "the answer (HTTP {status}) could not be read: {}{}",
                    chain(error),
                    request(unread.raw())
                );
                // A success that broke off on its way may come whole the next time.
                let cause = if status < 400 { Cause::NoAnswer } else { Cause::Answered(status) };
                Self { cause, code: String::new(), message }
            }
            SdkError::TimeoutError(_) => Self::silent(Cause::NoAnswer, "no answer in time".to_owned()),
            SdkError::ConstructionFailure(_) => Self::silent(Cause::Unsendable, chain(error)),
            SdkError::DispatchFailure(_) | _ => {
                let cause = if was_refused(error) { Cause::NeverSent } else { Cause::NoAnswer };
                Self::silent(cause, unreachable_host(&chain(error)))
            }
        }
    }

    /// Of a call that was cut short.
    pub(super) fn cut(cut: Cut) -> Self {
        let cause = match cut {
            Cut::Stopped => Cause::Stopped,
            Cut::Deadline(_) => Cause::NoAnswer,
        };
        Self::silent(cause, cut.to_string())
    }

    const fn silent(cause: Cause, message: String) -> Self {
        Self { cause, code: String::new(), message }
    }

    /// The HTTP status, if the service answered.
    pub(super) const fn status(&self) -> Option<u16> {
        match self.cause {
            Cause::Answered(status) => Some(status),
            Cause::NoAnswer
            | Cause::NeverSent
            | Cause::NoCredentials
            | Cause::Stopped
            | Cause::Unsendable => None,
        }
    }

    fn is_not_let_in(&self) -> bool {
        self.cause == Cause::NoCredentials
            || NOT_LET_IN.contains(&self.code.as_str())
            // Any other 403 too, but for an object that lies in an archive class.
            || (matches!(self.status(), Some(401 | 403)) && self.code != "InvalidObjectState")
    }

    fn asks_for_patience(&self) -> bool {
        TOO_MUCH.contains(&self.code.as_str()) || matches!(self.status(), Some(429 | 503))
    }

    /// The message, with what to mend where the caller was not let in. `action` is what IAM calls
    /// the call.
    pub(super) fn advice(&self, action: &str) -> String {
        if let Some(trouble) = self.kms_trouble() {
            return format!("{}; {}", self.message, trouble.advice());
        }
        if self.cause == Cause::NoCredentials || !self.is_not_let_in() {
            return self.message.clone();
        }
        match self.credentials_hint() {
            Some(hint) => format!("{}; {hint}", self.message),
            None => format!("{}; IAM must allow {action}", self.message),
        }
    }

    /// Whether AWS knows who calls, and says no: a policy is to be changed, not the credentials.
    pub(super) fn is_denied(&self) -> bool {
        self.is_not_let_in() && self.cause != Cause::NoCredentials && self.credentials_hint().is_none()
    }

    /// What is wrong with the credentials, if they are.
    fn credentials_hint(&self) -> Option<&'static str> {
        Some(match self.code.as_str() {
            "RequestTimeTooSkewed" => "set this host's clock",
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
                "the credentials have expired: renew them"
            }
            "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "InvalidToken"
            | "UnrecognizedClientException" => {
                "AWS does not know these credentials: check the access key, its account and the region"
            }
            "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature" => {
                "the secret access key is wrong, or this host's clock is"
            }
            _ => return None,
        })
    }

    /// What is wrong with the stream's encryption key, if that is it; throttling is not.
    fn kms_trouble(&self) -> Option<KmsTrouble> {
        Some(match self.code.as_str() {
            "KMSAccessDeniedException" => KmsTrouble::AccessDenied,
            "KMSDisabledException" => KmsTrouble::Disabled,
            "KMSInvalidStateException" => KmsTrouble::InvalidState,
            "KMSNotFoundException" => KmsTrouble::NotFound,
            "KMSOptInRequired" => KmsTrouble::OptInRequired,
            _ => return None,
        })
    }

    /// What it means to a reader of the stream.
    pub(super) fn stream_kind(&self) -> StreamErrorKind {
        if let Some(trouble) = self.kms_trouble() {
            return StreamErrorKind::Kms(trouble);
        }
        match self.code.as_str() {
            "ExpiredIteratorException" => return StreamErrorKind::ExpiredIterator,
            "InvalidArgumentException" => return StreamErrorKind::InvalidArgument,
            "ResourceNotFoundException" => return StreamErrorKind::NotFound,
            "KMSThrottlingException" => return StreamErrorKind::KmsThrottled,
            "RequestTimeout" | "RequestTimeoutException" => return StreamErrorKind::NoAnswer,
            _ if self.is_not_let_in() => return StreamErrorKind::AccessDenied,
            _ if self.asks_for_patience() => return StreamErrorKind::Throttled,
            _ => {}
        }
        match self.cause {
            Cause::NoAnswer | Cause::NeverSent => StreamErrorKind::NoAnswer,
            Cause::Stopped => StreamErrorKind::Stopped,
            Cause::NoCredentials => StreamErrorKind::AccessDenied,
            Cause::Answered(_) | Cause::Unsendable => StreamErrorKind::Other,
        }
    }

    /// Whether a listing of shards may begin anew: the stream was busy, or the token of a page has expired.
    pub(super) fn lets_list_anew(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ResourceInUseException" | "LimitExceededException" | "ExpiredNextTokenException"
        )
    }

    /// What it means to a user of the bucket.
    pub(super) fn store_kind(&self) -> StoreErrorKind {
        match self.code.as_str() {
            "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch" => {
                return StoreErrorKind::BadDigest;
            }
            "NoSuchBucket"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "InvalidBucketName" => return StoreErrorKind::NoBucket,
            "RequestTimeout" => return StoreErrorKind::NoAnswer,
            "ConditionalRequestConflict" | "OperationAborted" => return StoreErrorKind::Busy,
            _ if self.is_not_let_in() => return StoreErrorKind::AccessDenied,
            _ if self.asks_for_patience() => return StoreErrorKind::Busy,
            _ => {}
        }
        match self.cause {
            Cause::Answered(301 | 307) => StoreErrorKind::NoBucket,
            Cause::Answered(409 | 500 | 502 | 504) => StoreErrorKind::Busy,
            Cause::NoAnswer | Cause::NeverSent => StoreErrorKind::NoAnswer,
            Cause::Stopped => StoreErrorKind::Stopped,
            Cause::NoCredentials => StoreErrorKind::AccessDenied,
            Cause::Answered(_) | Cause::Unsendable => StoreErrorKind::Other,
        }
    }

    /// What it means to a sender of notices or metrics, as the label `kind` of `errors_total`.
    pub(super) fn label(&self) -> &'static str {
        if self.code.starts_with("KMS") {
            return "kms";
        }
        if self.is_not_let_in() {
            return "access_denied";
        }
        if self.asks_for_patience() {
            return "throttled";
        }
        match self.cause {
            Cause::Answered(404) => "not_found",
            Cause::NoAnswer | Cause::NeverSent => "no_answer",
            Cause::Stopped => "stopped",
            Cause::Answered(_) | Cause::NoCredentials | Cause::Unsendable => "other",
        }
    }
}

/// Every cause in a row, without those that only say again what follows.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// Whether no connection came about, so that nothing was sent.
fn was_refused(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        let io = cause.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        next = cause.source();
    }
    false
}

fn has_source<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<T>() {
            return true;
        }
        next = cause.source();
    }
    false
}

fn unreachable_host(text: &str) -> String {
    if text.contains("UnknownIssuer") {
        return format!("{text}; is the package ca-certificates installed?");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests;
