//! One file a sub-command.

#[cfg(feature = "demo")]
pub mod demo;
