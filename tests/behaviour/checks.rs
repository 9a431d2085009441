//! `check`, by the real binary: against services that let it, that do not, and that are not there.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::keeper::{LIMIT, Setting, binary};
use crate::support::proxy::{Action, Gate, Proxy, Request, kinesis_error, s3_error};
use crate::support::scene::Scene;
use crate::support::{aws, http, servers, topics};

fn run(setting: &Setting, more: &[&str]) -> Output {
    setting.write();
    let mut command = Command::new(binary());
    command.arg("check").arg(setting.file()).args(more).envs(setting.environment()).stdin(Stdio::null());
    command.env("AWS_ENDPOINT_URL_STS", servers::ministack().endpoint()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `--json`, with the exit code that it must have.
fn findings(setting: &Setting, code: i32) -> Vec<Value> {
    let output = run(setting, &["--json"]);
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], code == 0);
    report["checks"].as_array().unwrap().clone()
}

/// What became of a check, and what was said.
fn result<'a>(findings: &'a [Value], about: &str, what: &str) -> (&'a str, &'a str) {
    let found = findings.iter().find(|line| line["about"] == about && line["what"] == what);
    let line = found.unwrap_or_else(|| panic!("no {about} {what} in {findings:#?}"));
    (line["result"].as_str().unwrap(), line["said"].as_str().unwrap())
}

#[test]
fn a_good_configuration_passes_before_and_while_it_runs_and_nothing_is_stored() {
    let mut scene = Scene::new("check", 2);
    let topic = topics::fifo_topic("check");
    let setting = scene.setting().max_age("1s").text("notice", "topic_arn", &topic.arn);
    let (setting, _) = setting
        .text("metrics", "cloudwatch_namespace", "K")
        .text("metrics", "statsd", "127.0.0.1:8125")
        .with_http();
    let before = findings(&setting, 0);
    for (about, what) in [
        ("aws", "credentials"),
        ("aws", "clock"),
        ("stream", "DescribeStreamSummary"),
        ("stream", "ListShards"),
        ("stream", "GetShardIterator"),
        ("stream", "GetRecords"),
        ("bucket", "HeadBucket"),
        ("bucket", "ListBucket"),
        ("bucket", "GetObject"),
        ("bucket", "PutObject"),
        ("bucket", "lifecycle rules"),
        ("notices", "topic"),
        ("disk", "state_dir"),
        ("metrics", "metrics.http"),
        ("metrics", "statsd"),
    ] {
        let (became, said) = result(&before, about, what);
        assert_eq!(became, "ok", "{about} {what}: {said}");
    }
    assert!(result(&before, "bucket", "PutObject").1.contains("nothing was stored"));
    assert_eq!(result(&before, "notices", "Publish").0, "unknown");
    assert_eq!(result(&before, "metrics", "PutMetricData").0, "unknown");
    assert!(aws::keys(&scene.bucket, "").is_empty());
    assert!(!setting.state().exists(), "nothing is made on the disk");

    scene.put(20);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    let while_it_runs = findings(&setting, 0);
    assert!(result(&while_it_runs, "bucket", "PutObject").1.contains("If-None-Match is kept"));
    assert_eq!(result(&while_it_runs, "bucket", "archive").0, "ok");
    assert_eq!(result(&while_it_runs, "disk", "state").0, "ok");
    let keeper_is = format!("a keeper runs: process {} on ", keeper.id());
    assert!(result(&while_it_runs, "disk", "lock").1.starts_with(&keeper_is));
    assert!(
        result(&while_it_runs, "metrics", "metrics.http").1.contains("served by the keeper of this stream")
    );
    let screen = run(&setting, &[]);
    assert_eq!(screen.status.code(), Some(0));
    let screen = text(&screen.stdout);
    assert!(screen.contains("\nok       stream   GetRecords"), "{screen}");
    assert!(screen.ends_with("nothing stands in the way of run\n"), "{screen}");
    keeper.stop();
    scene.check();
}

#[test]
fn a_denied_call_names_the_action_that_is_missing() {
    let scene = Scene::new("denied", 1);
    let (kinesis, s3) =
        (Proxy::new(servers::kinesis().endpoint()), Proxy::new(servers::ministack().endpoint()));
    kinesis.always(|request| request.operation == "GetRecords", kinesis_error("AccessDeniedException"));
    s3.always(|request| request.method == "PUT", s3_error(403, "AccessDenied"));
    s3.always(|request| request.path.contains("versioning"), s3_error(403, "AccessDenied"));
    let mut setting = scene.setting();
    (setting.kinesis, setting.s3) = (kinesis.endpoint().to_owned(), s3.endpoint().to_owned());
    let found = findings(&setting, 1);
    let missing: Vec<(&str, &str)> = found
        .iter()
        .filter(|line| line["result"] == "missing")
        .map(|line| (line["action"].as_str().unwrap(), line["resource"].as_str().unwrap()))
        .collect();
    let [(read, stream), (write, objects)] = missing[..] else { panic!("{missing:?} in {found:#?}") };
    assert_eq!((read, write), ("kinesis:GetRecords", "s3:PutObject"));
    assert!(stream.starts_with("arn:aws:kinesis:us-east-1:") && stream.ends_with(&scene.stream), "{stream}");
    assert_eq!(objects, format!("arn:aws:s3:::{}/{}/*", scene.bucket, scene.stream));
    assert_eq!(result(&found, "bucket", "versions").0, "unknown", "run does not need to know");
    let screen = run(&setting, &[]);
    let said = text(&screen.stdout);
    assert!(said.contains("MISSING  stream   GetRecords"), "{said}");
    assert!(said.contains("allow kinesis:GetRecords on arn:aws:kinesis:"), "{said}");
    assert!(
        text(&screen.stderr).contains("2 of the checks stand in the way of run"),
        "{}",
        text(&screen.stderr)
    );
}

#[test]
fn a_missing_bucket_and_credentials_that_have_expired_are_told() {
    let scene = Scene::new("nobucket", 1);
    let setting = Setting::new(&scene.stream, "there-is-no-such-bucket-here");
    let found = findings(&setting, 1);
    let (became, said) = result(&found, "bucket", "HeadBucket");
    assert_eq!(became, "failed");
    assert!(said.contains("there is no bucket there-is-no-such-bucket-here"), "{said}");
    assert_eq!(found.iter().filter(|line| line["about"] == "bucket").count(), 1, "{found:#?}");

    let kinesis = Proxy::new(servers::kinesis().endpoint());
    kinesis.always(|_| true, kinesis_error("ExpiredTokenException"));
    let mut setting = scene.setting();
    setting.kinesis = kinesis.endpoint().to_owned();
    let found = findings(&setting, 1);
    let (became, said) = result(&found, "stream", "DescribeStreamSummary");
    assert_eq!(became, "failed");
    assert!(said.contains("the credentials have expired"), "{said}");
}

#[test]
fn an_endpoint_that_is_dead_or_silent_ends_in_time() {
    let scene = Scene::new("dead", 1);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let s3 = Proxy::new(servers::ministack().endpoint());
    let gate = Gate::default();
    s3.always(|_| true, Action::Hold(gate.clone()));
    let mut setting = scene.setting();
    (setting.kinesis, setting.s3) = (format!("http://{free}"), s3.endpoint().to_owned());
    let found = findings(&setting, 1);
    assert_eq!(result(&found, "stream", "DescribeStreamSummary").0, "failed");
    let (became, said) = result(&found, "bucket", "HeadBucket");
    assert_eq!((became, said), ("failed", "no answer in time"));
    assert_eq!(
        found.iter().filter(|line| line["result"] == "failed").count(),
        2,
        "each is asked once: {found:#?}"
    );
    gate.open();
}

#[test]
fn a_lifecycle_rule_that_meets_the_ledger_is_named() {
    let scene = Scene::new("rules", 1);
    let rules = |prefix: &str| {
        let body = format!(
            "<LifecycleConfiguration><Rule><ID>tidy</ID><Status>Enabled</Status><Filter><Prefix>{prefix}</Prefix></Filter>\
             <Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>"
        );
        let place = format!("PUT /{}?lifecycle", scene.bucket);
        let endpoint = servers::ministack().endpoint();
        let answer = http::ask(endpoint, &place, &[], body.as_bytes(), Duration::from_secs(10)).unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text());
    };
    let setting = scene.setting();
    rules("");
    let found = findings(&setting, 1);
    let (became, said) = result(&found, "bucket", "lifecycle rules");
    assert_eq!(became, "failed");
    let ledger = format!("tidy deletes after 30 days also the ledger under {}/_ledger/", scene.stream);
    assert!(said.starts_with(&ledger), "{said}");
    rules(&format!("{}/dt=", scene.stream));
    let found = findings(&setting, 0);
    let (became, said) = result(&found, "bucket", "lifecycle rules");
    assert_eq!(
        (became, said),
        ("ok", format!("tidy deletes after 30 days objects under {}/dt=", scene.stream).as_str())
    );
}

#[test]
fn a_bucket_of_another_account_is_told_from_a_bucket_that_is_denied() {
    let scene = Scene::new("owner", 1);
    let s3 = Proxy::new(servers::ministack().endpoint());
    let named = |request: &Request| request.message.header("x-amz-expected-bucket-owner").is_some();
    s3.always(named, s3_error(403, "AccessDenied"));
    let mut setting = scene.setting().text("archive", "expected_bucket_owner", "123456789012");
    setting.s3 = s3.endpoint().to_owned();
    let found = findings(&setting, 1);
    let (became, said) = result(&found, "bucket", "owner");
    assert_eq!(became, "failed");
    assert!(said.contains("does not belong to account 123456789012"), "{said}");
    s3.always(|_| true, s3_error(403, "AccessDenied"));
    let found = findings(&setting, 1);
    assert_eq!(result(&found, "bucket", "ListBucket").0, "missing");
    assert_eq!(
        result(&found, "bucket", "GetObject").0,
        "unknown",
        "a missing object may be all that is behind it"
    );
}

#[test]
fn fan_out_is_looked_at_and_nothing_is_registered() {
    let endpoint = servers::ministack().endpoint();
    aws::use_kinesis(endpoint);
    let scene = Scene::new("check-fan-out", 1);
    let kinesis = Proxy::new(endpoint);
    let registered = kinesis.count(|request| request.operation == "RegisterStreamConsumer");
    let mut setting = scene.setting().value("stream", "consumer", "{ fan_out = \"keeper\" }");
    setting.kinesis = kinesis.endpoint().to_owned();
    let found = findings(&setting, 0);
    let (became, said) = result(&found, "stream", "DescribeStreamConsumer");
    assert_eq!((became, said), ("ok", "keeper is not registered; run registers it"));
    assert_eq!(result(&found, "stream", "RegisterStreamConsumer").0, "unknown");
    assert_eq!(registered.used(), 0);
    let denied = kinesis_error("AccessDeniedException");
    kinesis.always(|request| request.operation == "DescribeStreamConsumer", denied);
    let found = findings(&setting, 1);
    let line = found.iter().find(|line| line["what"] == "DescribeStreamConsumer").unwrap();
    assert_eq!(line["action"], "kinesis:DescribeStreamConsumer");
    assert!(line["resource"].as_str().unwrap().ends_with("/consumer/keeper:*"), "{line}");
}

#[test]
fn the_policy_is_json_for_this_very_stream() {
    let scene = Scene::new("policy", 1);
    let setting = scene.setting().text("archive", "prefix", "raw/").value("archive", "object_lock_days", "7");
    let output = run(&setting, &["--policy"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let policy: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    let statements = policy["Statement"].as_array().unwrap();
    let stream = statements[0]["Resource"].as_str().unwrap();
    assert!(
        stream.starts_with("arn:aws:kinesis:us-east-1:0000") && stream.ends_with(&scene.stream),
        "{stream}"
    );
    let objects = &statements[1];
    assert_eq!(objects["Resource"], format!("arn:aws:s3:::{}/raw/{}/*", scene.bucket, scene.stream));
    assert_eq!(
        objects["Action"],
        serde_json::json!(["s3:GetObject", "s3:PutObject", "s3:PutObjectRetention"])
    );
    assert!(!text(&output.stderr).contains("not known here"), "{}", text(&output.stderr));
}
