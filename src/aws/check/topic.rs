//! What can be asked of a topic without anybody being told anything.

use aws_sdk_sns::config::Config;

use super::{Refused, Trial, limits};
use crate::aws::clients::Clients;

/// What a topic says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// Whether it is a FIFO topic.
    pub fifo: bool,
    /// The KMS key that encrypts it.
    pub kms_key: Option<String>,
}

impl Trial {
    /// SNS GetTopicAttributes.
    pub fn topic(&self, clients: &Clients, arn: &str) -> Result<TopicFacts, Refused> {
        let request = clients.sns(arn).get_topic_attributes().topic_arn(arn).customize();
        let request = request.config_override(Config::builder().timeout_config(limits()));
        let attributes = self.call(request.send())?.attributes.unwrap_or_default();
        Ok(TopicFacts {
            fifo: attributes.get("FifoTopic").is_some_and(|value| value == "true"),
            kms_key: attributes.get("KmsMasterKeyId").filter(|key| !key.is_empty()).cloned(),
        })
    }
}
