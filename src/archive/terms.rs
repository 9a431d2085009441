//! What is the same for all that a run of `verify` looks at.
//!
//! Owns when an object that is not there may count as expired.

use std::time::Duration;

use super::Archive;
use super::report::Tally;
use crate::model::expiry::Expiry;
use crate::model::timestamp::Timestamp;
use crate::stop::Stop;

/// What is the same for all stretches of a run.
pub(super) struct Terms<'a> {
    pub(super) archive: &'a Archive,
    pub(super) stop: &'a Stop,
    /// The service's time when the run began.
    pub(super) now: Timestamp,
    /// What the bucket deletes by itself.
    pub(super) expiry: Expiry,
    /// So long an object may be on its way after its entry.
    pub(super) on_its_way: Duration,
    /// Called after each entry with what it added.
    pub(super) progress: &'a (dyn Fn(&Tally) + Sync),
}

/// The service's time is cut to whole seconds, and an entry's is by its writer's clock: what is missing so shortly
/// before its time is no fault.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

impl Terms<'_> {
    /// Whether the bucket has deleted what lay under the key since the entry was written.
    pub(super) fn has_expired(&self, key: &str, written_at: Timestamp) -> bool {
        self.expiry.has_taken(key, written_at, self.now + CLOCKS_DIFFER)
    }
}
