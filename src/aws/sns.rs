//! Notices, sent to a topic through the SNS API.
//!
//! Owns the message, its attributes and, for FIFO topics, its group and deduplication id. Does not
//! keep what could not be sent: the outbox does.

use std::time::Duration;

use aws_sdk_sns::types::MessageAttributeValue;
use aws_sdk_sns::{Client, config};
use aws_smithy_types::timeout::TimeoutConfig;
use sha2::{Digest, Sha256};

use super::blocking::{Blocking, Until};
use super::clients::Clients;
use super::errors::Refusal;
use crate::model::manifest::{About, Notice};
use crate::ports::{Notifier, NotifyError};
use crate::stop::Stop;

/// A message of a kilobyte, with the SDK's three tries.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(15);

/// What SNS takes: 256 KiB with the attributes. A notice has about one.
const MOST_BYTES: usize = 262_144;

/// The group of the hours' notices on a FIFO topic; no shard bears such a name.
const HOURS: &str = "hours";

/// Sends notices to one topic.
pub struct SnsNotifier {
    client: Client,
    blocking: Blocking,
    topic_arn: String,
}

impl SnsNotifier {
    /// Connects to nothing yet. The topic's ARN tells its region and whether it is a FIFO topic.
    pub fn new(clients: &Clients, blocking: Blocking, topic_arn: impl Into<String>) -> Self {
        let topic_arn = topic_arn.into();
        Self { client: clients.sns(&topic_arn), blocking, topic_arn }
    }

    fn is_fifo(&self) -> bool {
        self.topic_arn.ends_with(".fifo")
    }
}

impl Notifier for SnsNotifier {
    fn publish(&self, notice: &Notice, stop: &Stop) -> Result<(), NotifyError> {
        let message = serde_json::to_string(notice)
            .map_err(|error| NotifyError { kind: "other", message: error.to_string() })?;
        let mut attributes = vec![("type", notice.type_name()), ("stream", notice.stream())];
        attributes.extend(notice.origin().map(|origin| ("shard", origin.shard.as_str())));
        let size =
            message.len() + attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if size > MOST_BYTES {
            let message = format!("it has {size} bytes; SNS takes {MOST_BYTES}");
            return Err(NotifyError { kind: "too_large", message });
        }
        let mut request = self.client.publish().topic_arn(&self.topic_arn).message(message);
        for (name, value) in attributes {
            request = request.message_attributes(name, text(value)?);
        }
        if self.is_fifo() {
            request = request
                .message_group_id(notice.origin().map_or(HOURS, |origin| origin.shard.as_str()))
                .message_deduplication_id(deduplication_id(notice));
        }
        let limits = TimeoutConfig::builder()
            .operation_timeout(PUBLISH_DEADLINE)
            .operation_attempt_timeout(PUBLISH_DEADLINE / 2);
        let limits = config::Config::builder().timeout_config(limits.build());
        let sending = request.customize().config_override(limits).send();
        let refusal = match self.blocking.run(PUBLISH_DEADLINE, stop, Until::Abandoned, sending) {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => Refusal::of(&error),
            Err(cut) => Refusal::cut(cut),
        };
        let action = "sns:Publish (and kms:GenerateDataKey and kms:Decrypt on an encrypted topic's key)";
        Err(NotifyError { kind: refusal.label(), message: refusal.advice(action) })
    }
}

fn text(value: &str) -> Result<MessageAttributeValue, NotifyError> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
        .map_err(|error| NotifyError { kind: "other", message: error.to_string() })
}

/// Lower-case hex SHA-256 of `{shard}\n{stream creation, epoch seconds}\n{serial}\n{type}`, of an hour
/// `{manifest's key}\n{its SHA-256}\nhour`; all in ASCII, numbers decimal, without a newline at the end.
fn deduplication_id(notice: &Notice) -> String {
    let about = notice.type_name();
    let text = match (&notice.about, notice.origin()) {
        (About::Hour(hour), _) => format!("{}\n{}\n{about}", hour.key, hour.sha256),
        (_, Some(origin)) => {
            let created = origin.stream_created.as_seconds();
            format!("{}\n{created}\n{}\n{about}", origin.shard, origin.serial)
        }
        (_, None) => about.to_owned(),
    };
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hour::HourTotals;
    use crate::model::manifest::{EndNotice, HourNotice, Origin};
    use crate::model::shard::ShardId;
    use crate::model::timestamp::Timestamp;

    #[test]
    fn one_notice_has_one_deduplication_id() {
        let origin = Origin {
            stream: "clickstream".into(),
            stream_arn: "arn".into(),
            stream_created: Timestamp::from_millis(1_700_000_000_999),
            shard: ShardId::new("shardId-000000000000"),
            serial: 41,
            bucket: "b".into(),
        };
        let end = |origin: &Origin| Notice {
            version: 1,
            about: About::End(Box::new(EndNotice { origin: origin.clone(), children: vec![] })),
        };
        // printf 'shardId-000000000000\n1700000000\n41\nend' | sha256sum
        let id = deduplication_id(&end(&origin));
        assert_eq!(id, "1a9538560d4ac8903f586ae9b833734593c3b5ed41f98adc0c562c448b56ca04");
        assert_ne!(id, deduplication_id(&end(&Origin { serial: 42, ..origin.clone() })));
        let same_second = Origin { stream_created: Timestamp::from_seconds(1_700_000_000), ..origin };
        assert_eq!(id, deduplication_id(&end(&same_second)));
        let hour = About::Hour(Box::new(HourNotice {
            stream: "clickstream".into(),
            stream_arn: "arn".into(),
            stream_created: Timestamp::EPOCH,
            bucket: "b".into(),
            key: "k/_hour.json".into(),
            url: "s3://b/k/_hour.json".into(),
            hour: Timestamp::EPOCH.hour(),
            sha256: "ab".into(),
            size: 1,
            totals: HourTotals::default(),
        }));
        // printf 'k/_hour.json\nab\nhour' | sha256sum
        assert_eq!(
            deduplication_id(&Notice { version: 1, about: hour }),
            "d8b2ea242dfa27abc650753799de073b648168f0117b0648a10202935820149f"
        );
    }
}
