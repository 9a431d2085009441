//! What reads the archive: proof of it, its records, and where they lie.
//!
//! Works from the ledgers alone: no state directory and no running keeper is needed. Writes nothing
//! but what `repair` is told to put back.

pub mod against;
#[cfg(test)]
mod canned;
mod chain;
pub mod fault;
pub mod folder;
mod held;
mod hours;
mod ledgers;
mod object;
pub mod read;
pub mod repair;
pub mod report;
#[cfg(test)]
mod scribe;
mod side;
mod starts;
mod strays;
mod stretch;
mod terms;
pub mod verify;

use std::sync::Arc;

use crate::model::key::Keys;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::ObjectStore;

/// One stream's archive, in its bucket or as a copied folder.
#[derive(Clone)]
pub struct Archive {
    /// The bucket, or a [`folder::Folder`] in its place.
    pub store: Arc<dyn ObjectStore>,
    /// Where everything lies in it.
    pub keys: Keys,
    /// Whether objects have their metadata: a copied folder has none.
    pub has_metadata: bool,
}

/// Which part of an archive is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// From this arrival on; `None`: from the beginning.
    pub from: Option<Timestamp>,
    /// Before this arrival; `None`: to the end.
    pub to: Option<Timestamp>,
    /// One shard alone.
    pub shard: Option<ShardId>,
}

impl Selection {
    /// Whether something that arrived between these may be meant.
    pub(crate) fn meets(&self, first: Timestamp, last: Timestamp) -> bool {
        self.from.is_none_or(|from| last >= from) && self.to.is_none_or(|to| first < to)
    }
}
