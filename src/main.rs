//! Parses the command line, runs the command, and tells the outcome by the exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use kinesis_keeper::commands::{Cli, execute};

fn main() -> ExitCode {
    let Err(failure) = execute(Cli::parse()) else { return ExitCode::SUCCESS };
    let mut stderr = std::io::stderr().lock();
    for line in failure.message.lines() {
        // With standard error gone, the exit code is all that can be told.
        let _ = writeln!(stderr, "kinesis-keeper: {line}");
    }
    ExitCode::from(failure.exit_code())
}
