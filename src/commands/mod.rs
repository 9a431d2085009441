//! The command line, and one file a sub-command.
//!
//! Owns what can be typed and what `--help` says. What a command does is in its file.

pub mod check;
#[cfg(feature = "demo")]
pub mod demo;
mod opened;
mod pace;
pub mod put;
pub mod range;
pub mod read;
pub mod replay;
pub mod run;
mod service;
pub mod status;
pub mod verify;
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

const CHECK_HELP: &str = "Examples:
  kinesis-keeper check /etc/kinesis-keeper/clickstream.toml
  kinesis-keeper check clickstream.toml --policy > policy.json

Tries each call that run makes, read-only or so that nothing is stored, with the credentials it
finds: check as the user that run has. What cannot be tried is said. Exits 1 if something that run
needs is missing.";

const STATUS_HELP: &str = "Examples:
  kinesis-keeper status /etc/kinesis-keeper/clickstream.toml
  kinesis-keeper status clickstream.toml --watch 5s
  kinesis-keeper status clickstream.toml --json | jq .warnings

Reads the state directory, and asks the running keeper on the socket in it, else at metrics.http.
Takes no lock and writes nothing; a keeper need not run. Exits 1 if the state directory cannot be
looked at.";

const VERIFY_HELP: &str = "Examples:
  kinesis-keeper verify /etc/kinesis-keeper/clickstream.toml
  kinesis-keeper verify clickstream.toml --from 2026-11-22 --to 2026-11-23 --json
  kinesis-keeper verify clickstream.toml --dir /mnt/copy-of-my-archive

Reads every selected object whole and holds it against its metadata and the ledger. Recorded gaps are told,
and are no faults. Changes nothing. Exits 1 if there is any fault.";

const READ_HELP: &str = "Examples:
  kinesis-keeper read clickstream.toml --from 2026-11-22T05:00:00Z --to 2026-11-22T06:00:00Z
  kinesis-keeper read clickstream.toml --from 2h --partition-key user-17 --payload
  kinesis-keeper read clickstream.toml --merge | jq -r .data

Records come shard by shard, parents before their children, each shard in its order. Every object is held
against its ledger entry as it is read; one that does not fit ends the command with exit code 1. Recorded gaps
are told on standard error.";

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
    /// Check the file, then try each service with the credentials found; print an IAM policy
    #[command(after_help = CHECK_HELP)]
    Check(check::CheckArgs),
    /// Tell how the keeper stands: each shard's lag, batch, spool and last object
    #[command(after_help = STATUS_HELP)]
    Status(status::StatusArgs),
    /// Prove the archive: every object, every ledger entry, nothing missing, nothing more
    #[command(after_help = VERIFY_HELP)]
    Verify(verify::VerifyArgs),
    /// Write archived records to standard output
    #[command(after_help = READ_HELP)]
    Read(read::ReadArgs),
    /// Put archived records back into a stream
    #[command(after_help = replay::HELP)]
    Replay(Box<replay::ReplayArgs>),
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
        Command::Check(args) => check::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Read(args) => read::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Put(arguments) => put::put(&arguments),
        #[cfg(feature = "demo")]
        Command::Demo { dir } => demo::demo(dir.as_deref()),
    }
}
