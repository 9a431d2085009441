//! Why a turn of the delivery failed.

use std::io;

use crate::ledger::LedgerError;
use crate::ports::{StoreError, StreamError};

/// Why a turn failed; the state stays and is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Disk(#[from] io::Error),
    #[error("{0}")]
    Broken(String),
    /// As many others render as may at once.
    #[error("others render their batches")]
    NoTurn,
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Store(error),
            broken @ LedgerError::Broken { .. } => Self::Broken(broken.to_string()),
        }
    }
}
