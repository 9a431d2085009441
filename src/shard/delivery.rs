//! Delivery: how sealed items become entries and objects, one at a time.
//!
//! ```text
//!                    ┌───────────────── recorded ──────────────────┐
//!                    ▼                                              │
//! Locating ──▶ Walking ──no entry──▶ Ready ──item──▶ Claiming       │
//!                    │                 ▲                │ stored    │
//!                    │ an entry        │              ▼             │
//!                    └──▶ Settling ◀── taken ──┘   Placing ──▶ Recording
//!                          │  ▲                       ▲             ▲
//!             object seen ─┼──┼───────────────────────┼─────────────┘
//!                  missing ▼  │ void put              │ rendered
//!                       Rendering ────────────────────┘
//! ```
//!
//! `Stopped` can follow from anywhere that two things disagree: reading goes on into the spool.
//! Every state can be cut and is found again from the ledger and the spool.

use std::path::PathBuf;
use std::time::Duration;

use super::placing::LOOK_FOR_ROOM;
use super::position::Archived;
use super::setup::Mode;
pub(super) use super::trouble::Trouble;
use super::turns::LOOK_FOR_TURN;
use super::worker::{Activity, ShardWorker};
use crate::ledger::{ComposedEntry, Predecessor, StoredEntry};
use crate::model::batch::Content;
use crate::model::ledger::{BatchBody, Body};
use crate::model::metric::{Counter, Service};
use crate::model::rules::Rule;
use crate::ports::news::is_news;
use crate::ports::{CrashPoint, Put, StoreError, StoreErrorKind, Stored};

/// Where the delivery stands.
#[derive(Clone, Debug)]
pub(super) enum Delivery {
    /// The ledger's end is not known yet.
    Locating,
    /// Entries after the archived one may be there.
    Walking,
    /// The archived entry is the newest, as far as is known.
    Ready,
    /// An entry is being put; its bytes stay the same until it is stored or its serial is taken.
    Claiming(Claim),
    /// An entry is there; its object is looked for.
    Settling(Settling),
    /// The entry is ours, or we hold its lines: the object is being put.
    Placing(Settling, Lines),
    /// The entry's records are read again from the stream, or what is left of them is looked for.
    Rendering(Settling),
    /// The object was seen (or there is none to see): the entry is written down here and announced.
    Recording(Settling, Seen),
    /// Two things disagree; a person must look.
    Stopped,
}

/// An entry to be put.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) composed: ComposedEntry,
    /// The lines of a batch.
    pub(super) lines: Option<Lines>,
}

/// Lines ready to be put as an object.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    /// Where they lie, under the state directory.
    pub(super) path: PathBuf,
    /// What they hold.
    pub(super) content: Content,
    /// Those of their records that can't be lines of their form.
    pub(super) side: Option<SideLines>,
    /// The level at which they are compressed, and the side object's, where it is known.
    pub(super) level: Option<u32>,
    /// MillisBehindLatest when they were sealed.
    pub(super) millis_behind_latest: u64,
}

/// Lines ready to be put as a side object.
#[derive(Clone, Debug)]
pub(super) struct SideLines {
    /// Where they lie, under the state directory.
    pub(super) path: PathBuf,
    /// What they hold.
    pub(super) content: Content,
}

impl Lines {
    /// Whether they are what the entry claims.
    pub(super) fn are_of(&self, batch: &BatchBody) -> bool {
        batch.is(&self.content, self.side.as_ref().map(|side| &side.content))
    }

    /// Bytes of their files.
    pub(super) fn bytes(&self) -> u64 {
        self.content.size + self.side.as_ref().map_or(0, |side| side.content.size)
    }

    /// Sealed when reading was so far behind.
    pub(super) fn behind(self, millis_behind_latest: u64) -> Self {
        Self { millis_behind_latest, ..self }
    }
}

/// An entry that is in the ledger and not yet dealt with.
#[derive(Clone, Debug)]
pub(super) struct Settling {
    pub(super) stored: StoredEntry,
    /// When it was first seen, monotonic.
    pub(super) since: Duration,
}

/// What was seen of an entry's object.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// The entry has no object.
    Nothing,
    /// The object is there.
    Object(Box<SeenObject>),
    /// It was there, and its lifetime is over.
    Expired,
    /// A void lies in its place: its records are lost.
    Void,
}

/// An object as it lies in S3.
#[derive(Clone, Debug)]
pub(super) struct SeenObject {
    pub(super) stored: Stored,
    pub(super) sha256: String,
    pub(super) size: u64,
    /// Our own lines, if it was put from or compared with them.
    pub(super) lines: Option<Lines>,
}

/// What one turn of the delivery led to.
pub(super) enum Turn {
    To(Box<Delivery>),
    /// Nothing before this instant (monotonic).
    Wait(Duration),
    /// Nothing until something else changes.
    Idle,
}

impl Turn {
    pub(super) fn to(next: Delivery) -> Self {
        Self::To(Box::new(next))
    }
}

impl Settling {
    pub(super) fn serial(&self) -> u64 {
        self.stored.entry.serial
    }

    pub(super) fn batch(&self) -> Option<&BatchBody> {
        match &self.stored.entry.body {
            Body::Batch(batch) => Some(batch),
            Body::Begin(_) | Body::Gap(_) | Body::End(_) => None,
        }
    }
}

impl ShardWorker {
    /// One turn of the delivery, if one is due.
    pub(super) fn deliver(&mut self) -> Activity {
        // Not held by `disk_due`: a disk that takes no batch more may still take a checkpoint, and has room again then.
        let due = self.delivery_due;
        if self.monotonic() < due {
            return Activity::NotBefore(due);
        }
        self.expect_calls();
        let reads_again = matches!(self.delivery, Delivery::Rendering(_));
        let turn = self.turn();
        if reads_again {
            self.tell_memory(0);
        }
        let needs_room = match &turn {
            Ok(Turn::To(next)) => matches!(**next, Delivery::Claiming(_) | Delivery::Placing(..)),
            Ok(Turn::Wait(_)) => self.put_place.asked(),
            // While it waits to try again, others may put.
            Ok(Turn::Idle) | Err(_) => false,
        };
        if !needs_room {
            self.put_place.let_go();
        }
        match turn {
            Ok(Turn::To(next)) => {
                self.delivery = *next;
                self.delivery_works();
                Activity::Acted
            }
            Ok(Turn::Wait(due)) => Activity::NotBefore(due),
            Ok(Turn::Idle) => Activity::Idle,
            Err(trouble) => self.delivery_failed(trouble),
        }
    }

    /// A turn of the delivery is one call, or a few small ones. While it only waits for something, none is made, and a
    /// shard that is not read meanwhile makes no progress.
    fn expect_calls(&mut self) {
        let longest = match &self.delivery {
            Delivery::Ready if self.put_place.waits() || !self.has_deliverable() => return,
            Delivery::Locating if self.shared.begin.get().is_none() => return,
            Delivery::Placing(..) | Delivery::Rendering(_) | Delivery::Stopped => return,
            Delivery::Locating
            | Delivery::Walking
            | Delivery::Ready
            | Delivery::Claiming(_)
            | Delivery::Settling(_)
            | Delivery::Recording(..) => self.ports.store.longest_put(0),
        };
        self.held_up_for(longest);
    }

    /// Whether the bucket gives no answer, or none that can be used: reading goes on without it.
    pub(super) fn ledger_is_away(&self) -> bool {
        self.delivery_backoff.failures() > 0
            || self.shared.begin.get().is_none()
            || matches!(self.delivery, Delivery::Stopped)
    }

    fn turn(&mut self) -> Result<Turn, Trouble> {
        match self.delivery.clone() {
            Delivery::Locating => self.locate(),
            Delivery::Walking => self.walk(),
            Delivery::Ready => self.claim_next(),
            Delivery::Claiming(claim) => self.put_entry(claim),
            Delivery::Settling(settling) => self.settle(settling),
            Delivery::Placing(settling, lines) => self.put_object(settling, lines),
            Delivery::Rendering(settling) => self.reread(settling),
            Delivery::Recording(settling, seen) => self.record(settling, seen),
            Delivery::Stopped => Ok(Turn::Idle),
        }
    }

    /// Looks for an entry after the archived one.
    fn walk(&mut self) -> Result<Turn, Trouble> {
        let Some(archived) = &self.archived else { return Ok(Turn::to(Delivery::Locating)) };
        let next = self.ledger.fetch(archived.serial + 1, &self.stop)?;
        Ok(Turn::to(match next {
            Some(stored) => Delivery::Settling(Settling { stored, since: self.monotonic() }),
            None => {
                self.looked_at = Some(self.monotonic());
                Delivery::Ready
            }
        }))
    }

    fn claim_next(&mut self) -> Result<Turn, Trouble> {
        let Some(archived) = self.archived.clone() else { return Ok(Turn::to(Delivery::Locating)) };
        if let Some(batch) = &archived.void {
            return self.begin_loss(&archived, batch);
        }
        self.drop_covered(&archived)?;
        if let Some(item) = self.spool.next_at(&archived.known.position).cloned() {
            // Only what can be put soon is claimed: others may take an entry without its object for a writer that died.
            if item.sealed.batch().is_some() && !self.put_place.may_put(item.bytes()) {
                return Ok(Turn::Wait(self.monotonic() + LOOK_FOR_ROOM));
            }
            return self.claim_item(&archived, &item);
        }
        let at_end = archived.known.position == crate::model::sequence::Position::End;
        let leaves_holes = matches!(self.setup.mode, Mode::Read | Mode::Deliver);
        if leaves_holes || at_end || self.unsealed.is_some() || self.is_stopping() {
            return Ok(Turn::Idle);
        }
        if !self.spool.items().is_empty() {
            self.close_hole_of_gone_shard(&archived);
            return Ok(Turn::Wait(self.delivery_due));
        }
        if self.setup.mode == Mode::Unlisted {
            self.close_unlisted();
            return Ok(Turn::Wait(self.delivery_due));
        }
        Ok(Turn::Idle)
    }

    pub(super) fn predecessor(archived: &Archived) -> Predecessor<'_> {
        Predecessor::Entry { serial: archived.serial, sha256: &archived.entry_sha256 }
    }

    /// Puts the entry: whoever stores it owns the serial.
    fn put_entry(&mut self, claim: Claim) -> Result<Turn, Trouble> {
        self.ports.probe.reached(CrashPoint::BeforeEntry);
        let serial = claim.composed.stored.entry.serial;
        let put = self.ledger.append(&claim.composed, &self.stop)?;
        let since = self.monotonic();
        let adopting = self.setup.settings.rules.hold(Rule::AdoptTakenSerial);
        if matches!(put, Put::Stored(_)) || !adopting {
            self.looked_at = Some(since);
            self.ports.probe.reached(CrashPoint::AfterEntry);
            let settling = Settling { stored: claim.composed.stored, since };
            return Ok(Turn::to(match claim.lines {
                Some(lines) => Delivery::Placing(settling, lines),
                None => Delivery::Recording(settling, Seen::Nothing),
            }));
        }
        let Some(stored) = self.ledger.fetch(serial, &self.stop)? else {
            return Err(self.busy("the entry is taken and cannot be read", self.ledger.key(serial)));
        };
        if !is_same_claim(&stored, &claim.composed.stored) {
            self.ports.meter.count(Counter::Conflicts, 1);
            tracing::warn!(
                shard = %self.setup.shard.id,
                serial,
                host = %stored.entry.host,
                "another keeper's entry was adopted; two keepers on one stream cost twice and archive once"
            );
        }
        Ok(Turn::to(Delivery::Settling(Settling { stored, since })))
    }

    pub(super) fn busy(&self, message: &str, key: String) -> Trouble {
        Trouble::Store(StoreError {
            call: "looking",
            key,
            kind: StoreErrorKind::Busy,
            message: message.to_owned(),
        })
    }

    fn delivery_works(&mut self) {
        self.delivery_backoff.reset();
        if self.troubles.delivery.take().is_some() {
            tracing::info!(shard = %self.setup.shard.id, "archiving goes on");
        }
    }

    fn delivery_failed(&mut self, trouble: Trouble) -> Activity {
        let (service, kind) = match &trouble {
            Trouble::Disk(error) => {
                let activity = self.disk_failed("archiving a batch", error);
                self.delivery_due = self.disk_due;
                return activity;
            }
            Trouble::NoTurn => {
                // Reading asks for a turn of the delivery far more often, and each may begin with calls.
                self.delivery_due = self.monotonic() + LOOK_FOR_TURN;
                return Activity::NotBefore(self.delivery_due);
            }
            Trouble::Broken(reason) => {
                tracing::error!(
                    shard = %self.setup.shard.id,
                    "archiving of this shard stops, reading goes on into the spool: {reason}"
                );
                self.ports.meter.error(Service::S3, "broken");
                self.troubles.delivery = Some(reason.clone());
                self.delivery = Delivery::Stopped;
                return Activity::Acted;
            }
            Trouble::Store(error) if error.kind == StoreErrorKind::Stopped => return Activity::Idle,
            Trouble::Store(error) => (Service::S3, error.kind.as_str()),
            Trouble::Stream(error) => (Service::Kinesis, error.kind.as_str()),
        };
        self.ports.meter.error(service, kind);
        let wait = self.delivery_backoff.next(&mut self.random);
        self.delivery_due = self.monotonic() + wait;
        let told = trouble.to_string();
        if is_news(self.troubles.delivery.as_deref(), &told) {
            tracing::warn!(shard = %self.setup.shard.id, "{told}; nothing is lost, it is tried again");
        }
        self.troubles.delivery = Some(told);
        Activity::NotBefore(self.delivery_due)
    }
}

/// Whether the stored entry is our own, perhaps from an earlier try.
fn is_same_claim(stored: &StoredEntry, ours: &StoredEntry) -> bool {
    match (&stored.entry.body, &ours.entry.body) {
        (Body::Batch(theirs), Body::Batch(own)) => theirs.claims_same_content(own),
        (theirs, own) => theirs == own,
    }
}
