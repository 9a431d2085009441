//! `demo [DIR]`: the whole system on an embedded AWS.

use std::path::Path;

use crate::error::Failure;

/// Produces events, archives them, verifies the archive and shows where it is.
pub fn demo(_dir: Option<&Path>) -> Result<(), Failure> {
    Err(Failure::failed("demo: not wired yet"))
}
