//! The command line, and one file a sub-command.
//!
//! Owns what can be typed and what `--help` says. What a command does is in its file.

#[cfg(feature = "demo")]
pub mod demo;
pub mod put;
pub mod run;
mod service;
mod wiring;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::error::Failure;

/// Keeps one Amazon Kinesis stream in S3: exactly once, provably, and readable by any tool.
#[derive(Debug, Parser)]
#[command(name = "kinesis-keeper", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 a failure, explained on standard error; \
2 a wrong command line or configuration file.";

const RUN_HELP: &str = "Example:
  kinesis-keeper run /etc/kinesis-keeper/clickstream.toml

The file needs a stream and a bucket; credentials and region are found as the AWS tools find them:
  [stream]
  name = \"clickstream\"
  [archive]
  bucket = \"my-archive\"

Signals: SIGTERM and SIGINT seal, put what can be put, and end; SIGHUP reads the file again;
SIGUSR1 seals now.";

#[cfg(feature = "demo")]
const DEMO_HELP: &str = "Example:
  kinesis-keeper demo /tmp/keeper-demo

Needs no AWS account and no network: Kinesis and S3 are embedded, on loopback ports.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Archive a stream, in the foreground, until a signal ends it
    #[command(after_help = RUN_HELP)]
    Run {
        /// The configuration file
        config: PathBuf,
    },
    /// Put lines of files or standard input into a stream
    #[command(after_help = put::HELP)]
    Put(Box<put::Arguments>),
    /// See the whole system at work on an embedded AWS
    #[cfg(feature = "demo")]
    #[command(after_help = DEMO_HELP)]
    Demo {
        /// Where the archive goes; a fresh folder under the current one by default
        dir: Option<PathBuf>,
    },
}

/// Runs a command to its end.
pub fn execute(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run { config } => run::run(&config),
        Command::Put(arguments) => put::put(&arguments),
        #[cfg(feature = "demo")]
        Command::Demo { dir } => demo::demo(dir.as_deref()),
    }
}
