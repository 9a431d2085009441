//! Every call to the bucket that changes nothing, tried once.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Config};

pub use crate::aws::lifecycle::Expiring;

use super::{Refused, Trial, limits};
use crate::aws::clients::Clients;
use crate::aws::lifecycle;
use crate::model::timestamp::Timestamp;

/// Tries the calls to one bucket.
pub struct BucketTrial {
    trial: Trial,
    client: Client,
    bucket: String,
    owner: Option<String>,
}

fn config() -> Builder {
    Config::builder().timeout_config(limits())
}

impl BucketTrial {
    /// Connects to nothing yet. `owner`: the account that must own the bucket.
    pub fn new(clients: &Clients, trial: Trial, bucket: &str, owner: Option<&str>) -> Self {
        let (bucket, owner) = (bucket.to_owned(), owner.map(str::to_owned));
        Self { trial, client: clients.s3(), bucket, owner }
    }

    /// HeadBucket: the bucket's region, if the service names it.
    pub fn head(&self) -> Result<Option<String>, Refused> {
        let request =
            self.client.head_bucket().bucket(&self.bucket).set_expected_bucket_owner(self.owner.clone());
        let request = request.customize().config_override(config()).interceptor(self.trial.date.clone());
        Ok(self.trial.call(request.send())?.bucket_region)
    }

    /// ListObjectsV2: keys under `prefix`, of one page.
    pub fn list(&self, prefix: &str) -> Result<Vec<String>, Refused> {
        self.list_of(prefix, self.owner.clone())
    }

    /// The same, whoever owns the bucket.
    pub fn list_whoever_owns_it(&self, prefix: &str) -> Result<Vec<String>, Refused> {
        self.list_of(prefix, None)
    }

    fn list_of(&self, prefix: &str, owner: Option<String>) -> Result<Vec<String>, Refused> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let request = request.max_keys(100).set_expected_bucket_owner(owner);
        let request = request.customize().config_override(config()).interceptor(self.trial.date.clone());
        let found = self.trial.call(request.send())?.contents.unwrap_or_default();
        Ok(found.into_iter().filter_map(|object| object.key).collect())
    }

    /// GetObject, without its body; `false`: the answer was that there is no such object.
    pub fn get(&self, key: &str) -> Result<bool, Refused> {
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let request = request.set_expected_bucket_owner(self.owner.clone());
        match self.trial.call(request.customize().config_override(config()).send()) {
            Ok(_) => Ok(true),
            Err(refused) if refused.code == "NoSuchKey" => Ok(false),
            Err(refused) => Err(refused),
        }
    }

    /// GetBucketVersioning: whether versions are kept.
    pub fn keeps_versions(&self) -> Result<bool, Refused> {
        let request = self.client.get_bucket_versioning().bucket(&self.bucket);
        let request = request.set_expected_bucket_owner(self.owner.clone());
        let output = self.trial.call(request.customize().config_override(config()).send())?;
        Ok(output.status == Some(aws_sdk_s3::types::BucketVersioningStatus::Enabled))
    }

    /// GetObjectLockConfiguration: whether objects can be locked.
    pub fn locks_objects(&self) -> Result<bool, Refused> {
        let request = self.client.get_object_lock_configuration().bucket(&self.bucket);
        let request = request.set_expected_bucket_owner(self.owner.clone());
        match self.trial.call(request.customize().config_override(config()).send()) {
            Ok(output) => Ok(output.object_lock_configuration.is_some_and(|lock| {
                lock.object_lock_enabled == Some(aws_sdk_s3::types::ObjectLockEnabled::Enabled)
            })),
            Err(refused) if refused.code == "ObjectLockConfigurationNotFoundError" => Ok(false),
            Err(refused) => Err(refused),
        }
    }

    /// GetBucketLifecycleConfiguration: the rules that may take away, or out of reach, objects under `prefix`.
    pub fn expiring(&self, prefix: &str, now: Timestamp) -> Result<Vec<Expiring>, Refused> {
        let request = self.client.get_bucket_lifecycle_configuration().bucket(&self.bucket);
        let request = request.set_expected_bucket_owner(self.owner.clone());
        match self.trial.call(request.customize().config_override(config()).send()) {
            Ok(output) => Ok(lifecycle::expiring(&output.rules.unwrap_or_default(), prefix, now)),
            Err(refused)
                if matches!(refused.code.as_str(), "NoSuchLifecycleConfiguration" | "NotImplemented") =>
            {
                Ok(Vec::new())
            }
            Err(refused) => Err(refused),
        }
    }
}
