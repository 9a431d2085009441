//! `run CONFIG`: the archiver, in the foreground.

use std::path::Path;

use crate::config::Config;
use crate::error::Failure;
use crate::logging;

/// Archives the stream of a configuration file until a signal ends it.
pub fn run(config: &Path) -> Result<(), Failure> {
    let config = Config::load(config)?;
    logging::start(&config.log)?;
    Err(Failure::failed("run: not wired yet"))
}
