//! What is known of the open batch beside its lines.

use std::time::Duration;

use crate::model::sealed::KnownPosition;
use crate::model::timestamp::{Hour, Timestamp};

/// The open batch; its lines are in the writer.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenBatch {
    /// The sealed position that it follows; `None` while it is empty.
    pub(super) follows: Option<KnownPosition>,
    /// When its first record was added, monotonic.
    pub(super) since: Option<Duration>,
    /// The hour that it may not run past.
    pub(super) hour: Option<Hour>,
    /// Bytes of its file that lie on the disk already, from the file's start.
    pub(super) spilled: u64,
    /// The earliest arrival in it.
    pub(super) oldest_arrival: Option<Timestamp>,
    /// What [`Level::Auto`](crate::model::batch::Level::Auto) chose for it.
    pub(super) chosen_level: Option<u32>,
}
