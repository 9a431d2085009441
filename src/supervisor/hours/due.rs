//! Whether an hour is due to be told: pure, from what is known of the time, the shards and their ledgers.
//!
//! ```text
//! An hour is due when   the latest listing was made 60 s after its end, by the service's clock,
//!                 and   every shard of that listing has a ledger,
//!                 and   nothing of an earlier creation waits on this disk,
//!                 and   each ledger is past the hour: it has its end, or a batch of a later hour, or its
//!                       shard promises that all that follows the newest entry is of a later hour.
//! ```
//!
//! Hours never go back along a ledger, and a promise is about the stream, not about a keeper. So once an hour
//! is due no entry of it can come any more, whoever writes it; and it stays due.

use std::collections::{HashMap, HashSet};

use crate::model::shard::ShardId;
use crate::model::timestamp::Hour;
use crate::shard::board::{Listing, Promise};
use crate::shard::closing::GRACE;

/// What is known of one ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The shard.
    pub shard: ShardId,
    /// Which creation of the stream it is of.
    pub creation: Creation,
    /// Whether its last entry is the shard's end.
    pub ended: bool,
    /// The hour of the newest batch that was read of it.
    pub hour: Option<Hour>,
    /// The newest serial that was read of it.
    pub serial: Option<u64>,
}

/// Which creation of the stream something is of, seen from the one that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// Deleted since: nobody reads its shards any more.
    Earlier,
    /// The one that is kept.
    This,
    /// Made since: this keeper is about to look at the stream again.
    Later,
}

/// Why an hour is not due.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDue {
    /// Its end, or the latest listing, is not long enough ago.
    #[error("it is not over")]
    Time,
    /// A shard has no ledger yet.
    #[error("shard {0} has no ledger yet")]
    NoLedger(ShardId),
    /// A shard may still have records of the hour.
    #[error("shard {0} is not archived past it")]
    Shard(ShardId),
    /// Something of an earlier creation of the stream is still to be delivered.
    #[error("{0} of an earlier creation of the stream is still to be delivered")]
    Draining(String),
    /// The stream was made again.
    #[error("the stream was made again")]
    Replaced,
}

/// All that decides.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The latest complete listing.
    pub listing: &'a Listing,
    /// What shards promise.
    pub promises: &'a HashMap<ShardId, Promise>,
    /// A folder of an earlier creation on this disk.
    pub draining: Option<String>,
    /// Every ledger of every creation.
    pub ledgers: &'a [Standing],
}

/// Whether so much time has passed that the hour may be due.
pub fn is_over(hour: Hour, listing: &Listing) -> bool {
    listing.at >= hour.end() + GRACE
}

impl View<'_> {
    /// Whether the hour is due.
    pub fn judge(&self, hour: Hour) -> Result<(), NotDue> {
        if !is_over(hour, self.listing) {
            return Err(NotDue::Time);
        }
        if let Some(folder) = &self.draining {
            return Err(NotDue::Draining(folder.clone()));
        }
        let known: HashSet<&ShardId> =
            self.ledgers.iter().filter(|of| of.creation == Creation::This).map(|of| &of.shard).collect();
        if let Some(shard) = self.listing.shards.iter().find(|shard| !known.contains(shard)) {
            return Err(NotDue::NoLedger(shard.clone()));
        }
        match self.ledgers.iter().find(|ledger| !self.is_past(ledger, hour)) {
            None => Ok(()),
            Some(ledger) if ledger.creation == Creation::Later => Err(NotDue::Replaced),
            Some(ledger) => Err(NotDue::Shard(ledger.shard.clone())),
        }
    }

    fn is_past(&self, ledger: &Standing, hour: Hour) -> bool {
        match ledger.creation {
            Creation::Earlier => return true,
            Creation::Later => return false,
            Creation::This => {}
        }
        let promised = self.promises.get(&ledger.shard).is_some_and(|promise| {
            // An entry that was not read may be of any hour.
            promise.from > hour && ledger.serial.is_some_and(|serial| serial >= promise.serial)
        });
        ledger.ended || promised || ledger.hour.is_some_and(|newest| newest > hour)
    }
}

#[cfg(test)]
mod tests;
