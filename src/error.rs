//! What an operator should do about a failure that ends a command.

/// A command ended without success: what failed, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the operator should do.
    pub kind: ErrorKind,
    /// One or two lines.
    pub message: String,
}

/// What the operator should do, and so which exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Mend the command line or the configuration file: exit 2.
    Usage,
    /// Mend what the message names, then run it again: exit 1.
    Failed,
}

impl Failure {
    /// A failure of the command line or the configuration file.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Usage, message: message.into() }
    }

    /// Any other failure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed, message: message.into() }
    }

    /// The process's exit code.
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Usage => 2,
            ErrorKind::Failed => 1,
        }
    }
}
