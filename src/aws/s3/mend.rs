//! What repairing needs of S3 beside archiving: a put over what was seen, and the versions of a key.

use std::io::Read;

use super::put::Condition;
use super::{S3Store, SMALL_DEADLINE, limits};
use crate::aws::blocking::Until;
use crate::ports::{Attributes, Body, MendableStore, Put, StoreError, Stored, Version};
use crate::stop::Stop;

impl MendableStore for S3Store {
    fn put_over(
        &self,
        seen: &Stored,
        key: &str,
        body: Body<'_>,
        attributes: &Attributes,
        stop: &Stop,
    ) -> Result<Put, StoreError> {
        self.put((key, Condition::Is(&seen.etag)), body, attributes, stop)
    }

    fn versions(&self, key: &str, stop: &Stop) -> Result<Vec<Version>, StoreError> {
        // Keys that begin with this one come after its own versions; a page holds a thousand.
        let request = self.client.list_object_versions().bucket(&self.settings.bucket).prefix(key);
        let request = request.set_expected_bucket_owner(self.owner());
        let sending = request.customize().config_override(limits(SMALL_DEADLINE)).send();
        let about = ("ListObjectVersions", key);
        let page = match self.call(about, (SMALL_DEADLINE, Until::Stopped), stop, sending) {
            Ok(page) => page,
            // A store that knows no versions keeps none.
            Err(failed) if failed.0.code == "NotImplemented" => return Ok(Vec::new()),
            Err(failed) => return Err(failed.1),
        };
        let own = page.versions.unwrap_or_default().into_iter().filter(|version| version.key() == Some(key));
        Ok(own
            .filter_map(|version| {
                Some(Version {
                    size: u64::try_from(version.size.unwrap_or(0)).unwrap_or(0),
                    is_latest: version.is_latest == Some(true),
                    id: version.version_id?,
                })
            })
            .collect())
    }

    fn open_version(
        &self,
        key: &str,
        version: &str,
        stop: &Stop,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.reader(key, Some(version), stop)
    }
}
