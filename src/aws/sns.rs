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
use crate::model::manifest::{Notice, Origin};
use crate::ports::{Notifier, NotifyError};
use crate::stop::Stop;

/// A message of a kilobyte, with the SDK's three tries.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(15);

/// What SNS takes: 256 KiB with the attributes. A notice has about one.
const MOST_BYTES: usize = 262_144;

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
        let (origin, about) = (notice.origin(), notice.type_name());
        let attributes = [("type", about), ("stream", &origin.stream), ("shard", origin.shard.as_str())];
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
                .message_group_id(origin.shard.as_str())
                .message_deduplication_id(deduplication_id(origin, about));
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

/// Lower-case hex SHA-256 of `{shard}\n{stream creation, epoch seconds}\n{serial}\n{type}`, all in
/// ASCII, numbers decimal, without a newline at the end.
fn deduplication_id(origin: &Origin, about: &str) -> String {
    let created = origin.stream_created.as_seconds();
    let text = format!("{}\n{created}\n{}\n{about}", origin.shard, origin.serial);
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
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
        // printf 'shardId-000000000000\n1700000000\n41\nbatch' | sha256sum
        let id = deduplication_id(&origin, "batch");
        assert_eq!(id, "c749611a1863cfc5b92631971f2f01a92c031de7b37d46a2fab92f0465dafb61");
        assert_ne!(id, deduplication_id(&origin, "gap"));
        assert_ne!(id, deduplication_id(&Origin { serial: 42, ..origin.clone() }, "batch"));
        let same_second = Origin { stream_created: Timestamp::from_seconds(1_700_000_000), ..origin };
        assert_eq!(id, deduplication_id(&same_second, "batch"));
    }
}
