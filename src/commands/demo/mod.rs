//! `demo [DIR]`: the whole keeper on an embedded AWS, then the proof that nothing is missing.
//!
//! Owns the order of things. The keeper is the real one; what is of the demo's own is what it
//! talks to (`embedded`), what fills the stream (`events`, `put`) and what checks it (`check`).

pub mod check;
pub mod embedded;
pub mod events;
pub mod notifier;
pub mod place;
pub mod put;
pub mod runs;
pub mod screen;
pub mod stream;
pub mod summary;
