//! Who is told: the topic, as far as it can be looked at without a message, and CloudWatch.

use super::Checking;
use super::line::{Lines, Verdict};
use super::policy::is_of_aws;
use crate::aws::check::{RefusedKind, TopicFacts};

const ABOUT: &str = "notices";

/// Looks at the topic. Nothing is published: subscribers act on what they get.
pub(super) fn check(checking: &Checking<'_>, lines: &mut Lines) {
    if let Some(namespace) = &checking.config.metrics.cloudwatch_namespace {
        let said = format!(
            "not tried: only a number that is put would tell; cloudwatch:PutMetricData for {namespace} is needed"
        );
        lines.say("metrics", "PutMetricData", Verdict::Unknown, said);
    }
    let Some(topic) = &checking.config.notice.topic else { return };
    match checking.trial.topic(checking.clients, topic.as_str()) {
        Ok(facts) => found(&facts, topic.is_fifo(), lines),
        Err(refused) => match refused.kind {
            RefusedKind::Denied => {
                let said = "not looked at: only check would need sns:GetTopicAttributes";
                lines.say(ABOUT, "topic", Verdict::Unknown, said);
            }
            RefusedKind::NotFound => {
                let said = format!("there is no topic {topic}: check notice.topic_arn; {}", refused.said);
                lines.say(ABOUT, "topic", Verdict::Failed, said);
            }
            RefusedKind::Credentials | RefusedKind::Silent | RefusedKind::Stopped | RefusedKind::Other => {
                lines.say(ABOUT, "topic", Verdict::Failed, refused.said);
            }
        },
    }
    let said = format!("not tried: it would reach subscribers; sns:Publish on {topic} is needed");
    lines.say(ABOUT, "Publish", Verdict::Unknown, said);
}

fn found(facts: &TopicFacts, named_fifo: bool, lines: &mut Lines) {
    let kind = if facts.fifo { "a FIFO topic" } else { "a standard topic" };
    if facts.fifo == named_fifo {
        lines.say(ABOUT, "topic", Verdict::Ok, kind);
    } else {
        let said =
            format!("it is {kind}, which its name does not say: it is published to by its name's ending");
        lines.say(ABOUT, "topic", Verdict::Failed, said);
    }
    if let Some(key) = facts.kms_key.as_deref().filter(|key| !is_of_aws(key)) {
        let said = format!(
            "not tried: the topic is encrypted; kms:GenerateDataKey and kms:Decrypt on {key} are needed"
        );
        lines.say(ABOUT, "kms:GenerateDataKey", Verdict::Unknown, said);
    }
}
