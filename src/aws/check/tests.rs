use std::sync::Arc;

use super::*;
use crate::aws::kinesis::StreamName;
use crate::aws::scripted::{Answer, Scripted, Still};

const DATE: (&str, &str) = ("date", "Thu, 01 Jan 1970 00:58:20 GMT");
const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/clickstream";

fn trial(server: &Scripted) -> Trial {
    Trial::new(server.blocking(), Stop::new(), Arc::new(Still))
}

fn stream(server: &Scripted) -> StreamTrial {
    StreamTrial::new(&server.clients, trial(server), StreamName::Arn(ARN.into()))
}

#[test]
fn who_is_not_let_in_and_whose_credentials_are_bad_are_told_apart() {
    let server = Scripted::new(vec![
        Answer(400, &[], r#"{"__type":"AccessDeniedException","message":"no"}"#),
        Answer(400, &[], r#"{"__type":"ExpiredTokenException","message":"old"}"#),
        Answer(400, &[], r#"{"__type":"ResourceNotFoundException","message":"none"}"#),
        Answer(400, &[], r#"{"__type":"KMSDisabledException","message":"off"}"#),
    ]);
    let stream = stream(&server);
    let denied = stream.describe().unwrap_err();
    assert_eq!((denied.kind, denied.said.as_str()), (RefusedKind::Denied, "AccessDeniedException: no"));
    let expired = stream.describe().unwrap_err();
    assert_eq!(expired.kind, RefusedKind::Credentials);
    assert!(expired.said.ends_with("the credentials have expired: renew them"), "{}", expired.said);
    assert_eq!(stream.describe().unwrap_err().kind, RefusedKind::NotFound);
    let kms = stream.records("it").unwrap_err();
    assert_eq!(kms.kind, RefusedKind::Other);
    assert!(kms.said.contains("aws kms enable-key"), "{}", kms.said);
    assert_eq!(stream.describe().unwrap_err().kind, RefusedKind::Silent, "nothing answers any more");
}

#[test]
fn a_dry_run_subscribes_to_nothing() {
    let answer = r#"{"__type":"DryRunOperationException","message":"it would succeed"}"#;
    let server = Scripted::new(vec![Answer(400, &[], answer)]);
    stream(&server).subscribe_dry("arn:c", "shardId-0").unwrap();
    let asked = server.asked();
    assert!(asked[0].body.contains("\"DryRun\":true"), "{}", asked[0].body);
}

#[test]
fn the_bucket_is_asked_as_its_owners() {
    let server = Scripted::new(vec![
        Answer(200, &[DATE, ("x-amz-bucket-region", "eu-west-1")], ""),
        Answer(404, &[], "<Error><Code>NoSuchKey</Code></Error>"),
        Answer(403, &[], "<Error><Code>AccessDenied</Code></Error>"),
        Answer(404, &[], "<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"),
        Answer(200, &[], "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
    ]);
    let trial = trial(&server);
    let bucket = BucketTrial::new(&server.clients, trial.clone(), "archive", Some("123456789012"));
    assert_eq!(trial.seconds_ahead(), None);
    assert_eq!(bucket.head().unwrap().as_deref(), Some("eu-west-1"));
    assert_eq!(trial.seconds_ahead(), Some(100), "an hour past the epoch, by the clock that stands still");
    assert!(!bucket.get("k").unwrap());
    assert_eq!(bucket.list("p/").unwrap_err().kind, RefusedKind::Denied);
    assert!(!bucket.locks_objects().unwrap());
    assert!(bucket.keeps_versions().unwrap());
    assert_eq!(trial.seconds_ahead(), Some(100), "answers without a date say nothing");
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.header("x-amz-expected-bucket-owner") == Some("123456789012")));
}
