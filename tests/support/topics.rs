//! Topics with queues that get all that is published to them.
//!
//! SQS is asked by hand, to spare a dependency.

use std::sync::OnceLock;

use super::aws::{LIMIT, shared, wait};
use super::{fresh, http, servers};

fn sns() -> &'static aws_sdk_sns::Client {
    static CLIENT: OnceLock<aws_sdk_sns::Client> = OnceLock::new();
    CLIENT.get_or_init(|| aws_sdk_sns::Client::new(&shared(servers::ministack().endpoint())))
}

/// A topic with a queue that gets all that is published to it.
pub struct Topic {
    /// The topic's ARN.
    pub arn: String,
    queue_url: String,
}

/// Makes a topic of a fresh name and a queue subscribed to it, raw: a message's body is what was published.
pub fn topic(word: &str) -> Topic {
    subscribed(&fresh(word), &[])
}

/// Makes a FIFO topic and a FIFO queue subscribed to it.
pub fn fifo_topic(word: &str) -> Topic {
    subscribed(&format!("{}.fifo", fresh(word)), &[("FifoTopic", "true")])
}

fn subscribed(name: &str, attributes: &[(&str, &str)]) -> Topic {
    let mut call = sns().create_topic().name(name);
    for (key, value) in attributes {
        call = call.attributes(*key, *value);
    }
    let arn = wait(call.send()).unwrap().topic_arn.unwrap();
    let queue_attributes =
        if attributes.is_empty() { serde_json::json!({}) } else { serde_json::json!({"FifoQueue": "true"}) };
    let made = sqs("CreateQueue", &serde_json::json!({"QueueName": name, "Attributes": queue_attributes}));
    let queue_url = made["QueueUrl"].as_str().unwrap().to_owned();
    let wanted = serde_json::json!({"QueueUrl": queue_url, "AttributeNames": ["QueueArn"]});
    let queue = sqs("GetQueueAttributes", &wanted)["Attributes"]["QueueArn"].as_str().unwrap().to_owned();
    let call = sns().subscribe().topic_arn(&arn).protocol("sqs").endpoint(queue);
    wait(call.attributes("RawMessageDelivery", "true").send()).unwrap();
    Topic { arn, queue_url }
}

/// A message as a subscriber got it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The notice.
    pub body: serde_json::Value,
    /// The message's attributes: name and value.
    pub attributes: std::collections::BTreeMap<String, String>,
}

impl Topic {
    /// Takes what is in the queue now, at most ten messages a call, until it is empty.
    pub fn take(&self) -> Vec<Message> {
        let mut taken = Vec::new();
        loop {
            let wanted = serde_json::json!({"QueueUrl": self.queue_url, "MaxNumberOfMessages": 10,
                "WaitTimeSeconds": 0, "MessageAttributeNames": ["All"]});
            let answer = sqs("ReceiveMessage", &wanted);
            let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return taken;
            }
            for message in messages {
                let gone = serde_json::json!({"QueueUrl": self.queue_url, "ReceiptHandle": message["ReceiptHandle"]});
                sqs("DeleteMessage", &gone);
                taken.push(Message::from_sqs(&message));
            }
        }
    }
}

impl Message {
    fn from_sqs(message: &serde_json::Value) -> Self {
        let text = message["Body"].as_str().unwrap();
        let body = serde_json::from_str(text).unwrap_or_else(|error| panic!("notice {text}: {error}"));
        let attributes = message["MessageAttributes"].as_object().cloned().unwrap_or_default();
        let value = |of: &serde_json::Value| of["StringValue"].as_str().unwrap_or("").to_owned();
        Self { body, attributes: attributes.iter().map(|(name, of)| (name.clone(), value(of))).collect() }
    }
}

fn sqs(action: &str, body: &serde_json::Value) -> serde_json::Value {
    let headers = [
        ("X-Amz-Target", format!("AmazonSQS.{action}")),
        ("Content-Type", "application/x-amz-json-1.0".to_owned()),
    ];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = body.to_string();
    let endpoint = servers::ministack().endpoint();
    let answer = http::ask(endpoint, "POST /", &headers, body.as_bytes(), LIMIT)
        .unwrap_or_else(|error| panic!("SQS {action}: {error}"));
    assert_eq!(answer.status(), 200, "SQS {action}: {}", answer.text());
    if answer.body.is_empty() {
        return serde_json::Value::Null;
    }
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("SQS {action}: {error}"))
}
