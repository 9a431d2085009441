//! The least that `run` must be allowed, made from one configuration.
//!
//! Owns the actions and the resources they are about; pure. deploy/aws/policy.json is what this gives for the
//! example there, which a test holds.

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{Config, Consumer};

/// Where ARNs that the configuration does not spell out belong; `*` where nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// The region of the credentials.
    pub region: String,
    /// The account of the credentials.
    pub account: String,
}

impl Home {
    /// In this region and account, as far as they are known.
    pub fn new(region: Option<&str>, account: Option<&str>) -> Self {
        let partition = match region {
            Some(region) if region.starts_with("cn-") => "aws-cn",
            Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let known = |text: Option<&str>| text.unwrap_or("*").to_owned();
        Self { partition: partition.to_owned(), region: known(region), account: known(account) }
    }
}

/// The ARNs of what a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// The stream.
    pub stream: String,
    /// The fan-out consumer, whenever it is registered.
    pub consumer: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// All objects of the archive.
    pub objects: String,
}

impl Resources {
    /// Of this configuration.
    pub fn new(config: &Config, home: &Home) -> Self {
        let Home { partition, region, account } = home;
        let name = &config.stream.name;
        let stream = config
            .stream
            .arn
            .clone()
            .unwrap_or_else(|| format!("arn:{partition}:kinesis:{region}:{account}:stream/{name}"));
        let consumer = match &config.stream.consumer {
            Consumer::Polling => None,
            // What follows the colon is when it was registered.
            Consumer::FanOut(consumer) => Some(format!("{stream}/consumer/{consumer}:*")),
        };
        let bucket = format!("arn:{partition}:s3:::{}", config.archive.bucket);
        let objects = format!("{bucket}/{}{name}/*", config.archive.prefix);
        Self { stream, consumer, bucket, objects }
    }
}

/// A policy document, in the order in which people write it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Value,
    resource: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

/// The policy document. `stream_key`: the KMS key of the stream, if it is known to have one.
pub fn policy(config: &Config, home: &Home, stream_key: Option<&str>) -> Policy {
    let of = Resources::new(config, home);
    let mut statements = vec![statement(
        "ReadTheStream",
        &["DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards"]
            .map(|a| format!("kinesis:{a}")),
        json!(of.stream),
    )];
    if let Some(consumer) = &of.consumer {
        let actions = ["DescribeStreamConsumer", "RegisterStreamConsumer", "SubscribeToShard"];
        let actions = actions.map(|action| format!("kinesis:{action}"));
        statements.push(statement("ReadByFanOut", &actions, json!([of.stream, consumer])));
    }
    let mut actions = vec!["s3:GetObject".to_owned(), "s3:PutObject".to_owned()];
    if config.archive.object_lock_days > 0 {
        actions.push("s3:PutObjectRetention".to_owned());
    }
    statements.push(statement("WriteTheArchiveAndReadItsLedger", &actions, json!(of.objects)));
    statements.push(statement("FindTheLedger", &["s3:ListBucket".to_owned()], json!(of.bucket)));
    let lifecycle = ["s3:GetLifecycleConfiguration".to_owned()];
    statements.push(statement("KnowWhenObjectsExpire", &lifecycle, json!(of.bucket)));
    if let Some(topic) = &config.notice.topic {
        statements.push(statement("AnnounceEachObject", &["sns:Publish".to_owned()], json!(topic.as_str())));
    }
    if let Some(namespace) = &config.metrics.cloudwatch_namespace {
        let put = statement("PublishMetrics", &["cloudwatch:PutMetricData".to_owned()], json!("*"));
        statements.push(on_condition(put, "StringEquals", "cloudwatch:namespace", namespace));
    }
    let decrypt = "kms:Decrypt".to_owned();
    if let Some(key) = stream_key.filter(|key| !is_of_aws(key)) {
        statements.push(of_key("DecryptTheStream", std::slice::from_ref(&decrypt), key, home));
    }
    if let Some(key) = config.archive.sse_kms_key_id.as_deref().filter(|key| !is_of_aws(key)) {
        let actions = [decrypt, "kms:GenerateDataKey".to_owned()];
        statements.push(of_key("EncryptTheArchive", &actions, key, home));
    }
    Policy { version: "2012-10-17", statement: statements }
}

/// As people write policies: one action stands alone, several are a list.
fn statement(sid: &'static str, actions: &[String], resource: Value) -> Statement {
    let action = if let [action] = actions { json!(action) } else { json!(actions) };
    Statement { sid, effect: "Allow", action, resource, condition: None }
}

fn on_condition(statement: Statement, operator: &str, key: &str, value: &str) -> Statement {
    Statement { condition: Some(json!({operator: {key: value}})), ..statement }
}

/// The keys of AWS' own, whose policies let everybody in the account use them through their service.
pub fn is_of_aws(key: &str) -> bool {
    key.starts_with("alias/aws/") || key.contains(":alias/aws/")
}

/// An alias is no resource to IAM, but any key that bears it can be named by a condition.
fn of_key(sid: &'static str, actions: &[String], key: &str, home: &Home) -> Statement {
    let Home { partition, region, account } = home;
    let keys = |id: &str| format!("arn:{partition}:kms:{region}:{account}:key/{id}");
    let alias = key.find("alias/").map(|at| &key[at..]);
    match alias {
        Some(alias) => {
            let any = statement(sid, actions, json!(keys("*")));
            on_condition(any, "ForAnyValue:StringEquals", "kms:ResourceAliases", alias)
        }
        None if key.starts_with("arn:") => statement(sid, actions, json!(key)),
        None => statement(sid, actions, json!(keys(key))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("keeper.toml")).unwrap()
    }

    fn home() -> Home {
        Home::new(Some("eu-central-1"), Some("123456789012"))
    }

    #[test]
    fn the_policy_in_deploy_is_that_of_its_example() {
        let of = config(
            "[stream]\nname = \"clickstream\"\n[archive]\nbucket = \"my-archive\"\n[notice]\n\
             topic_arn = \"arn:aws:sns:eu-central-1:123456789012:clickstream-archive\"\n\
             [metrics]\ncloudwatch_namespace = \"KinesisKeeper\"\n",
        );
        let deployed: Value = serde_json::from_str(include_str!("../../../deploy/aws/policy.json")).unwrap();
        assert_eq!(json!(policy(&of, &home(), None)), deployed);
    }

    #[test]
    fn what_is_configured_is_allowed_and_no_more() {
        let of = config(
            "[stream]\narn = \"arn:aws:kinesis:us-west-2:999999999999:stream/s\"\nconsumer = { fan_out = \"c\" }\n\
             [archive]\nbucket = \"my-b1\"\nprefix = \"raw/\"\nobject_lock_days = 3\nsse_kms_key_id = \"alias/archive\"\n",
        );
        let found = json!(policy(&of, &home(), Some("1234-ab")));
        let of_sid = |sid: &str| {
            let statements = found["Statement"].as_array().unwrap();
            statements.iter().find(|statement| statement["Sid"] == sid).unwrap().clone()
        };
        let stream = "arn:aws:kinesis:us-west-2:999999999999:stream/s";
        assert_eq!(of_sid("ReadTheStream")["Resource"], stream);
        assert_eq!(of_sid("ReadByFanOut")["Resource"], json!([stream, format!("{stream}/consumer/c:*")]));
        let objects = of_sid("WriteTheArchiveAndReadItsLedger");
        assert_eq!(objects["Resource"], "arn:aws:s3:::my-b1/raw/s/*");
        assert_eq!(objects["Action"][2], "s3:PutObjectRetention");
        assert_eq!(
            of_sid("DecryptTheStream")["Resource"],
            "arn:aws:kms:eu-central-1:123456789012:key/1234-ab"
        );
        let archive = of_sid("EncryptTheArchive");
        assert_eq!(archive["Resource"], "arn:aws:kms:eu-central-1:123456789012:key/*");
        assert_eq!(archive["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"], "alias/archive");
        assert_eq!(found["Statement"].as_array().unwrap().len(), 7, "no topic, no metrics");
    }

    #[test]
    fn what_nobody_knows_is_a_star_and_partitions_are_known_by_their_regions() {
        let of = config("[stream]\nname = \"s\"\n[archive]\nbucket = \"my-b1\"\n");
        let found = json!(policy(&of, &Home::new(None, None), Some("alias/aws/kinesis")));
        assert_eq!(found["Statement"][0]["Resource"], "arn:aws:kinesis:*:*:stream/s");
        assert_eq!(found["Statement"].as_array().unwrap().len(), 4, "{found}");
        let china = Resources::new(&of, &Home::new(Some("cn-north-1"), Some("1")));
        assert_eq!(china.objects, "arn:aws-cn:s3:::my-b1/s/*");
        assert_eq!(Home::new(Some("us-gov-west-1"), None).partition, "aws-us-gov");
    }
}
