use aws_sdk_kinesis::error::{ConnectorError, ErrorMetadata};
use aws_sdk_kinesis::operation::get_records::GetRecordsError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use super::*;

type Failure = SdkError<GetRecordsError, HttpResponse>;

fn answer(status: u16) -> HttpResponse {
    let mut answer = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
    answer.headers_mut().insert("x-amzn-requestid", "req-1");
    answer
}

fn refused(status: u16, code: &str) -> Refusal {
    let mut said = ErrorMetadata::builder().message("because");
    if !code.is_empty() {
        said = said.code(code);
    }
    Refusal::of(&Failure::service_error(GetRecordsError::generic(said.build()), answer(status)))
}

#[test]
fn codes_of_the_stream_become_what_a_shard_acts_on() {
    use StreamErrorKind as Kind;
    for (status, code, kind) in [
        (400, "ProvisionedThroughputExceededException", Kind::Throttled),
        (400, "LimitExceededException", Kind::Throttled),
        (400, "ThrottlingException", Kind::Throttled),
        (400, "ExpiredIteratorException", Kind::ExpiredIterator),
        (400, "InvalidArgumentException", Kind::InvalidArgument),
        (400, "ValidationException", Kind::Other),
        (400, "ResourceNotFoundException", Kind::NotFound),
        (400, "KMSThrottlingException", Kind::KmsThrottled),
        (400, "KMSAccessDeniedException", Kind::Kms(KmsTrouble::AccessDenied)),
        (400, "KMSDisabledException", Kind::Kms(KmsTrouble::Disabled)),
        (400, "KMSInvalidStateException", Kind::Kms(KmsTrouble::InvalidState)),
        (400, "KMSNotFoundException", Kind::Kms(KmsTrouble::NotFound)),
        (400, "KMSOptInRequired", Kind::Kms(KmsTrouble::OptInRequired)),
        (400, "AccessDeniedException", Kind::AccessDenied),
        (400, "ExpiredTokenException", Kind::AccessDenied),
        (400, "UnrecognizedClientException", Kind::AccessDenied),
        (403, "InvalidSignatureException", Kind::AccessDenied),
        (403, "", Kind::AccessDenied),
        (500, "InternalFailure", Kind::Other),
        (503, "ServiceUnavailable", Kind::Throttled),
    ] {
        assert_eq!(refused(status, code).stream_kind(), kind, "{status} {code}");
    }
}

#[test]
fn codes_of_the_store_become_what_the_delivery_acts_on() {
    use StoreErrorKind as Kind;
    for (status, code, kind) in [
        (400, "BadDigest", Kind::BadDigest),
        (400, "XAmzContentSHA256Mismatch", Kind::BadDigest),
        (400, "InvalidDigest", Kind::BadDigest),
        (409, "ConditionalRequestConflict", Kind::Busy),
        (503, "SlowDown", Kind::Busy),
        (500, "InternalError", Kind::Busy),
        (404, "NoSuchBucket", Kind::NoBucket),
        (301, "PermanentRedirect", Kind::NoBucket),
        (301, "", Kind::NoBucket),
        (400, "AuthorizationHeaderMalformed", Kind::NoBucket),
        (403, "AccessDenied", Kind::AccessDenied),
        (403, "", Kind::AccessDenied),
        (403, "InvalidObjectState", Kind::Other),
        (403, "SignatureDoesNotMatch", Kind::AccessDenied),
        (400, "ExpiredToken", Kind::AccessDenied),
        (400, "RequestTimeout", Kind::NoAnswer),
        (400, "InvalidRequest", Kind::Other),
    ] {
        assert_eq!(refused(status, code).store_kind(), kind, "{status} {code}");
    }
}

#[test]
fn a_message_names_code_words_request_and_action() {
    let denied = refused(400, "AccessDeniedException").advice("kinesis:GetRecords");
    assert_eq!(
        denied,
        "AccessDeniedException: because (request id req-1); IAM must allow kinesis:GetRecords"
    );
    assert!(refused(400, "ExpiredTokenException").advice("x").contains("renew them"));
    assert!(!refused(400, "ValidationException").advice("x").contains("IAM"));
}

#[test]
fn silence_is_no_answer_and_missing_credentials_are_access_denied() {
    let io = std::io::Error::other("connection reset");
    let lost = Refusal::of(&Failure::dispatch_failure(ConnectorError::io(io.into())));
    assert_eq!(
        (lost.stream_kind(), lost.store_kind()),
        (StreamErrorKind::NoAnswer, StoreErrorKind::NoAnswer)
    );
    assert!(lost.message.contains("connection reset"), "{}", lost.message);
    let late = Refusal::of(&Failure::timeout_error("late"));
    assert_eq!(late.stream_kind(), StreamErrorKind::NoAnswer);
    let none = CredentialsError::not_loaded("no providers in chain");
    let none = Refusal::of(&Failure::dispatch_failure(ConnectorError::other(none.into(), None)));
    assert_eq!(none.stream_kind(), StreamErrorKind::AccessDenied);
    assert_eq!(none.store_kind(), StoreErrorKind::AccessDenied);
    assert_eq!(none.label(), "access_denied");
    assert!(none.message.contains("no usable credentials"), "{}", none.message);
    assert_eq!(Refusal::cut(Cut::Stopped).store_kind(), StoreErrorKind::Stopped);
}

#[test]
fn an_answer_that_broke_off_may_come_whole_the_next_time() {
    let broken = Refusal::of(&Failure::response_error("cut", answer(200)));
    assert_eq!(broken.stream_kind(), StreamErrorKind::NoAnswer);
    let broken = Refusal::of(&Failure::response_error("html", answer(403)));
    assert_eq!(broken.stream_kind(), StreamErrorKind::AccessDenied);
}
