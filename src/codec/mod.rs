//! Bytes to records and back: envelope and payload lines, gzip members and zstd frames with their hashes,
//! KPL aggregates.
//!
//! Owns the form of an object's content (contract, section 3; `docs/FORMAT.md`). Does not know where
//! an object lies, when a batch is sealed, or what the ledger says of it.

pub mod aggregate;
mod escape;
pub mod hash;
mod line;
mod member;
mod members;
mod packer;
mod parse;
mod pool;
pub mod reader;
pub mod render;
mod row;
mod shelf;
mod text;
pub mod void;
pub mod writer;

pub use aggregate::for_each_user_record;
pub use parse::{NotALine, OwnedRecord, parse_data, parse_line};
pub use reader::{LineReader, LineRef, ReadError, inspect, recut};
pub use render::Renderer;
pub use text::TextLines;
pub use writer::{BatchWriter, Finished, Side};

#[cfg(test)]
mod tests;
