//! What the teller of the hours is handed.
//!
//! Owns no decision: whoever starts it says what it touches, and of which stream it tells.

use std::sync::Arc;

use crate::model::key::{Keys, Layout};
use crate::model::metric::Service;
use crate::model::rules::Rules;
use crate::model::shard::StreamIdentity;
use crate::ports::{Clock, Disk, Notifier, ObjectStore};

/// Counts a call that failed.
pub type CountError = Arc<dyn Fn(Service, &'static str) + Send + Sync>;

/// Hears how many notices of hours wait on this disk, and what keeps them from going out.
pub type TellWaiting = Arc<dyn Fn(usize, Option<&str>) + Send + Sync>;

/// What the teller touches.
#[derive(Clone)]
pub struct HourPorts {
    /// The time, for pauses alone.
    pub clock: Arc<dyn Clock>,
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The state directory.
    pub disk: Arc<dyn Disk>,
    /// Who tells subscribers; `None`: no notices.
    pub notifier: Option<Arc<dyn Notifier>>,
    /// Counts failed calls.
    pub errors: CountError,
    /// Hears after each step what waits.
    pub waiting: TellWaiting,
}

/// What is told of, and how.
#[derive(Clone, Debug)]
pub struct HourSettings {
    /// The stream, this creation of it.
    pub stream: StreamIdentity,
    /// The bucket, for manifests and notices.
    pub bucket: String,
    /// Where everything lies in it.
    pub keys: Keys,
    /// How keys are written.
    pub layout: Layout,
    /// The protocol's rules: all, outside of tests.
    pub rules: Rules,
}
