//! The rules of the commit protocol, by name.
//!
//! Each closes a trace that lost, doubled, forked or wedged. Where the code keeps one it asks
//! [`Rules::hold`], which is always true; a test build can take one away and must see the
//! simulation fail.

/// A rule of the commit protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Entry n+1 is put only after entry n's object, or its void, was seen.
    ObjectSeenBeforeNextEntry,
    /// What another's entry covers is cut from our sealed records before they are put.
    TrimSpoolAsItIsPut,
    /// Covered sealed records are kept until the covering entry's object was seen.
    KeepCoveredUntilSeen,
    /// A keeper other than the writer waits before it completes or voids a missing object.
    WaitBeforeCompleting,
    /// Records that are gone are voided under the entry's key before the gap is put.
    VoidBeforeGap,
    /// Readable records that do not match the entry stop the shard and are never a gap.
    MismatchStops,
    /// A void found under an entry's key is the gap that it is.
    VoidIsGap,
    /// An object once seen and now missing has expired; it is never put again.
    SeenThenMissingHasExpired,
    /// The ledger is looked at again before a gap is decided.
    LookAgainBeforeGap,
    /// The trimmed test asks for the last *sealed* record.
    AskForLastSealed,
    /// An empty reply moves `complete_to` only together with the position it belongs to.
    CompleteToBelongsToItsPosition,
    /// A `complete_to` that is missing counts as too old.
    MissingCompleteToIsOld,
    /// What lies before spool that does not follow the position is read first.
    ReadHolesFirst,
    /// Sealed records that another's gap covers are kept under `_repaired/`.
    RepairGappedRecords,
    /// Every entry after the checkpoint is walked, and announced.
    WalkAndAnnounce,
    /// Adopt the entry that took the serial.
    AdoptTakenSerial,
    /// An hour is told only when every shard is archived past it.
    HourWaitsForEveryShard,
    /// A batch of an hour that is over looks whether the hour is closed, and takes the next open one.
    ClosedHourTakesNoBatch,
}

impl Rule {
    /// Every rule.
    #[cfg(any(test, feature = "testing"))]
    pub const ALL: [Self; 18] = [
        Self::ObjectSeenBeforeNextEntry,
        Self::TrimSpoolAsItIsPut,
        Self::KeepCoveredUntilSeen,
        Self::WaitBeforeCompleting,
        Self::VoidBeforeGap,
        Self::MismatchStops,
        Self::VoidIsGap,
        Self::SeenThenMissingHasExpired,
        Self::LookAgainBeforeGap,
        Self::AskForLastSealed,
        Self::CompleteToBelongsToItsPosition,
        Self::MissingCompleteToIsOld,
        Self::ReadHolesFirst,
        Self::RepairGappedRecords,
        Self::WalkAndAnnounce,
        Self::AdoptTakenSerial,
        Self::HourWaitsForEveryShard,
        Self::ClosedHourTakesNoBatch,
    ];
}

/// The rules in force: all of them, outside of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    #[cfg(any(test, feature = "testing"))]
    without: Option<Rule>,
}

impl Rules {
    /// Whether `rule` is in force.
    #[cfg(any(test, feature = "testing"))]
    pub fn hold(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Whether `rule` is in force.
    #[cfg(not(any(test, feature = "testing")))]
    pub const fn hold(self, _rule: Rule) -> bool {
        true
    }

    /// All rules but one, to see the simulation fail.
    #[cfg(any(test, feature = "testing"))]
    pub const fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }
}
