//! What is wrong with a configuration file, line by line.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::Failure;

/// A configuration file cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// It cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What it says is not a configuration.
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, by line; never empty.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line of the key, from 1; a missing key's is that of its table.
    pub line: usize,
    /// The table and key, and what is wrong with them.
    pub message: String,
}

/// One line a problem: `file:line: [table] key …`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "{}: cannot read the configuration file: {source}", path.display())
            }
            Self::Invalid { path, problems } => {
                for (nth, problem) in problems.iter().enumerate() {
                    let end = if nth == 0 { "" } else { "\n" };
                    write!(f, "{end}{}:{}: {}", path.display(), problem.line, problem.message)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Invalid { .. } => None,
        }
    }
}

/// The operator mends the file.
impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}
