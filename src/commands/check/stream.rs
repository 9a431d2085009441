//! The stream: each call by which it is read, tried once.

use super::line::{Lines, Need, Verdict};
use super::policy::is_of_aws;
use super::{Checking, stream_name};
use crate::aws::check::{RefusedKind, StreamFacts, StreamTrial};
use crate::config::Consumer;

const ABOUT: &str = "stream";

/// Tries all calls; gives what the stream says of itself.
pub(super) fn check(checking: &Checking<'_>, lines: &mut Lines) -> Option<StreamFacts> {
    let stream = StreamTrial::new(checking.clients, checking.trial.clone(), stream_name(checking.config));
    let facts = match stream.describe() {
        Ok(facts) => {
            described(&facts, lines);
            Some(facts)
        }
        Err(mut told) => {
            if told.kind == RefusedKind::NotFound {
                told.said += "; check stream.name, aws.region and whose credentials these are (run waits for the stream)";
            }
            lines.refuse(ABOUT, "DescribeStreamSummary", need(checking, "DescribeStreamSummary"), &told);
            // Only a policy can let one call through and not the other.
            if told.kind != RefusedKind::Denied {
                return None;
            }
            None
        }
    };
    let shard = read(checking, &stream, facts.as_ref(), lines);
    if let Consumer::FanOut(name) = &checking.config.stream.consumer {
        let arn = facts.as_ref().map(|facts| facts.arn.as_str()).or(checking.config.stream.arn.as_deref());
        match arn {
            Some(arn) => fan_out(checking, &stream, (arn, name), shard.as_deref(), lines),
            None => {
                let said = "not tried: it needs the stream's ARN from DescribeStreamSummary";
                lines.say(ABOUT, "DescribeStreamConsumer", Verdict::Unknown, said);
            }
        }
    }
    facts
}

/// The need of a call that is about the stream.
fn need<'a>(checking: &'a Checking<'_>, call: &str) -> Need<'a> {
    let action = match call {
        "DescribeStreamSummary" => "kinesis:DescribeStreamSummary",
        "ListShards" => "kinesis:ListShards",
        "GetShardIterator" => "kinesis:GetShardIterator",
        "DescribeStreamConsumer" => "kinesis:DescribeStreamConsumer",
        "SubscribeToShard" => "kinesis:SubscribeToShard",
        _ => "kinesis:GetRecords",
    };
    Need { action, resource: &checking.of.stream }
}

fn described(facts: &StreamFacts, lines: &mut Lines) {
    let StreamFacts { status, open_shards, retention_hours, created, .. } = facts;
    let said =
        format!("{status}, {open_shards} open shards, keeps records {retention_hours} h, made {created}");
    match status.as_str() {
        "ACTIVE" | "UPDATING" => lines.say(ABOUT, "DescribeStreamSummary", Verdict::Ok, said),
        _ => lines.say(
            ABOUT,
            "DescribeStreamSummary",
            Verdict::Warning,
            format!("{said}; run waits until it is ACTIVE"),
        ),
    }
    if *retention_hours <= 24 {
        let said = format!(
            "{retention_hours} h are all the time there is to mend an outage before records are lost"
        );
        lines.say(ABOUT, "retention", Verdict::Warning, said);
    }
}

/// Lists, goes to a shard and reads; gives the shard.
fn read(
    checking: &Checking<'_>,
    stream: &StreamTrial,
    facts: Option<&StreamFacts>,
    lines: &mut Lines,
) -> Option<String> {
    let shard = match stream.a_shard() {
        Ok(Some(shard)) => shard,
        Ok(None) => {
            lines.say(ABOUT, "ListShards", Verdict::Warning, "allowed, and the stream lists no shard yet");
            return None;
        }
        Err(refused) => {
            lines.refuse(ABOUT, "ListShards", need(checking, "ListShards"), &refused);
            let said = "not tried: they need a shard's id from ListShards";
            lines.say(ABOUT, "GetShardIterator, GetRecords", Verdict::Unknown, said);
            return None;
        }
    };
    lines.say(ABOUT, "ListShards", Verdict::Ok, "allowed");
    let iterator = match stream.iterator(&shard) {
        Ok(iterator) => iterator,
        Err(refused) => {
            lines.refuse(ABOUT, "GetShardIterator", need(checking, "GetShardIterator"), &refused);
            lines.say(ABOUT, "GetRecords", Verdict::Unknown, "not tried: it needs an iterator");
            return Some(shard);
        }
    };
    lines.say(ABOUT, "GetShardIterator", Verdict::Ok, "allowed");
    let came = stream.records(&iterator);
    let throttled = |code: &str| code == "ProvisionedThroughputExceededException";
    match &came {
        Ok(_) => lines.say(ABOUT, "GetRecords", Verdict::Ok, format!("allowed, tried on {shard}")),
        Err(refused) if throttled(&refused.code) => {
            lines.say(
                ABOUT,
                "GetRecords",
                Verdict::Ok,
                "allowed (and throttled: somebody reads this shard now)",
            );
        }
        Err(refused) => lines.refuse(ABOUT, "GetRecords", need(checking, "GetRecords"), refused),
    }
    if let Some(key) = facts.and_then(|facts| facts.kms_key.as_deref()) {
        decryption(key, came.ok(), lines);
    }
    Some(shard)
}

/// `came`: how many records were read; `None` if that failed, and so was told already.
fn decryption(key: &str, came: Option<usize>, lines: &mut Lines) {
    const WHAT: &str = "kms:Decrypt";
    match came {
        Some(records @ 1..) => {
            lines.say(ABOUT, WHAT, Verdict::Ok, format!("{records} record was decrypted with {key}"));
        }
        Some(0) if is_of_aws(key) => {
            lines.say(ABOUT, WHAT, Verdict::Ok, format!("{key} is AWS' own key and needs no permission"));
        }
        Some(0) => {
            let said =
                format!("no record came that {key} would have to decrypt; kms:Decrypt on it is needed");
            lines.say(ABOUT, WHAT, Verdict::Unknown, said);
        }
        None => {}
    }
}

fn fan_out(
    checking: &Checking<'_>,
    stream: &StreamTrial,
    (stream_arn, name): (&str, &str),
    shard: Option<&str>,
    lines: &mut Lines,
) {
    const REGISTER: &str = "not tried: it would register the consumer, which AWS charges for";
    const CONSUMER: &str = "DescribeStreamConsumer";
    let resource = checking.of.consumer.as_deref().unwrap_or(&checking.of.stream);
    let needs = |call: &str| Need { resource, ..need(checking, call) };
    let consumer = match stream.consumer(stream_arn, name) {
        Ok(consumer) => consumer,
        Err(refused) if refused.kind == RefusedKind::NotFound => {
            lines.say(ABOUT, CONSUMER, Verdict::Ok, format!("{name} is not registered; run registers it"));
            lines.say(ABOUT, "RegisterStreamConsumer", Verdict::Unknown, REGISTER);
            lines.say(ABOUT, "SubscribeToShard", Verdict::Unknown, "not tried: there is no consumer yet");
            return;
        }
        Err(refused) => return lines.refuse(ABOUT, CONSUMER, needs(CONSUMER), &refused),
    };
    let status = &consumer.status;
    lines.say(ABOUT, CONSUMER, Verdict::Ok, format!("{name} is registered and {status}"));
    let (Some(shard), "ACTIVE") = (shard, status.as_str()) else {
        lines.say(
            ABOUT,
            "SubscribeToShard",
            Verdict::Unknown,
            "not tried: no shard, or the consumer is not ACTIVE",
        );
        return;
    };
    match stream.subscribe_dry(&consumer.arn, shard) {
        Ok(()) => lines.say(ABOUT, "SubscribeToShard", Verdict::Ok, "allowed, by a dry run"),
        // A keeper that reads by it now holds the shard.
        Err(refused) if refused.code == "ResourceInUseException" => {
            lines.say(ABOUT, "SubscribeToShard", Verdict::Ok, "allowed (and in use now)");
        }
        Err(refused) => lines.refuse(ABOUT, "SubscribeToShard", needs("SubscribeToShard"), &refused),
    }
}
