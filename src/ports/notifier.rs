//! Who tells subscribers.

use crate::model::manifest::Notice;
use crate::stop::Stop;

/// Tells subscribers.
pub trait Notifier: Send + Sync {
    /// Sends one notice; it may arrive more than once.
    fn publish(&self, notice: &Notice, stop: &Stop) -> Result<(), NotifyError>;
}

/// A notice could not be sent; it stays in the outbox.
#[derive(Clone, Debug, thiserror::Error)]
#[error("publishing the notice failed: {message}")]
pub struct NotifyError {
    /// What to do about it, as the label `kind` of `errors_total`.
    pub kind: &'static str,
    /// What the service said.
    pub message: String,
}
