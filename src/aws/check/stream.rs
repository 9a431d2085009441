//! Every call by which a stream is read, tried once.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Builder, Config};
use aws_sdk_kinesis::types::{EncryptionType, ShardIteratorType, StartingPosition};

use super::{Refused, RefusedKind, Trial, limits};
use crate::aws::clients::Clients;
use crate::aws::kinesis::StreamName;
use crate::model::timestamp::Timestamp;

/// Tries the calls to one stream.
pub struct StreamTrial {
    trial: Trial,
    client: Client,
    stream: StreamName,
}

/// What the stream says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// Its ARN.
    pub arn: String,
    /// `ACTIVE`, or another state.
    pub status: String,
    /// Open shards.
    pub open_shards: i32,
    /// How long it keeps records, in hours.
    pub retention_hours: i32,
    /// When it was made.
    pub created: Timestamp,
    /// The KMS key that encrypts it: id, ARN or alias.
    pub kms_key: Option<String>,
}

/// What a fan-out consumer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerFacts {
    /// Its ARN.
    pub arn: String,
    /// `ACTIVE`, or another state.
    pub status: String,
}

fn config() -> Builder {
    Config::builder().timeout_config(limits())
}

impl StreamTrial {
    /// Connects to nothing yet.
    pub fn new(clients: &Clients, trial: Trial, stream: StreamName) -> Self {
        let client = match &stream {
            StreamName::Name(_) => clients.kinesis(None),
            StreamName::Arn(arn) => clients.kinesis(Some(arn)),
        };
        Self { trial, client, stream }
    }

    fn reference(&self) -> (Option<String>, Option<String>) {
        match &self.stream {
            StreamName::Name(name) => (Some(name.clone()), None),
            StreamName::Arn(arn) => (None, Some(arn.clone())),
        }
    }

    /// DescribeStreamSummary.
    pub fn describe(&self) -> Result<StreamFacts, Refused> {
        let (name, arn) = self.reference();
        let request = self.client.describe_stream_summary().set_stream_name(name).set_stream_arn(arn);
        let request = request.customize().config_override(config()).interceptor(self.trial.date.clone());
        let summary = self.trial.call(request.send())?.stream_description_summary;
        let summary = summary.ok_or_else(|| strange("the answer has no description"))?;
        let encrypted = summary.encryption_type == Some(EncryptionType::Kms);
        Ok(StreamFacts {
            arn: summary.stream_arn,
            status: summary.stream_status.as_str().to_owned(),
            open_shards: summary.open_shard_count,
            retention_hours: summary.retention_period_hours,
            created: Timestamp::from_seconds(summary.stream_creation_timestamp.secs()),
            kms_key: summary.key_id.filter(|key| encrypted && !key.is_empty()),
        })
    }

    /// ListShards: the id of a shard that can be read, an open one if the first page has one.
    pub fn a_shard(&self) -> Result<Option<String>, Refused> {
        let (name, arn) = self.reference();
        let request = self.client.list_shards().set_stream_name(name).set_stream_arn(arn);
        let shards = self.trial.call(request.customize().config_override(config()).send())?.shards;
        let shards = shards.unwrap_or_default();
        let is_open = |shard: &&aws_sdk_kinesis::types::Shard| {
            let numbers = shard.sequence_number_range.as_ref();
            numbers.is_none_or(|numbers| numbers.ending_sequence_number.is_none())
        };
        Ok(shards.iter().find(is_open).or(shards.first()).map(|shard| shard.shard_id.clone()))
    }

    /// GetShardIterator, at the oldest record: if there is any, it can be read.
    pub fn iterator(&self, shard: &str) -> Result<String, Refused> {
        let (name, arn) = self.reference();
        let request = self.client.get_shard_iterator().set_stream_name(name).set_stream_arn(arn);
        let request = request.shard_id(shard).shard_iterator_type(ShardIteratorType::TrimHorizon);
        let output = self.trial.call(request.customize().config_override(config()).send())?;
        output.shard_iterator.ok_or_else(|| strange("the answer has no iterator"))
    }

    /// GetRecords, one at most: how many came.
    pub fn records(&self, iterator: &str) -> Result<usize, Refused> {
        let (_, arn) = self.reference();
        let request = self.client.get_records().shard_iterator(iterator).set_stream_arn(arn).limit(1);
        let output = self.trial.call(request.customize().config_override(config()).send())?;
        Ok(output.records.len())
    }

    /// DescribeStreamConsumer.
    pub fn consumer(&self, stream_arn: &str, name: &str) -> Result<ConsumerFacts, Refused> {
        let request = self.client.describe_stream_consumer().stream_arn(stream_arn).consumer_name(name);
        let output = self.trial.call(request.customize().config_override(config()).send())?;
        let found = output.consumer_description.ok_or_else(|| strange("the answer has no description"))?;
        Ok(ConsumerFacts { arn: found.consumer_arn, status: found.consumer_status.as_str().to_owned() })
    }

    /// SubscribeToShard as AWS tries it without doing it: a real one would end a running keeper's.
    pub fn subscribe_dry(&self, consumer_arn: &str, shard: &str) -> Result<(), Refused> {
        let latest = StartingPosition::builder().r#type(ShardIteratorType::Latest).build();
        let latest = latest.map_err(|error| strange(&error.to_string()))?;
        let request = self.client.subscribe_to_shard().consumer_arn(consumer_arn).shard_id(shard);
        let request = request.starting_position(latest).dry_run(true);
        match self.trial.call(request.customize().config_override(config()).send()) {
            Ok(_) => Ok(()),
            Err(refused) if refused.code == "DryRunOperationException" => Ok(()),
            Err(refused) => Err(refused),
        }
    }
}

fn strange(said: &str) -> Refused {
    Refused { kind: RefusedKind::Other, code: String::new(), said: said.to_owned() }
}
