//! Named points of the flow, at which the crash tests kill the process.

/// A named point of the flow at which the crash test kills the process.
pub trait Probe: Send + Sync {
    /// The flow has come to `point`.
    fn reached(&self, point: CrashPoint);
}

/// The named points, in the order of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashPoint {
    /// Members of the open batch were written to the disk; it is not sealed.
    AfterSpill,
    /// Records are in memory; the batch is about to be sealed.
    BeforeSeal,
    /// The spool file is written, its manifest is not.
    DuringSeal,
    /// The batch is sealed on disk.
    AfterSeal,
    /// The ledger entry is about to be put.
    BeforeEntry,
    /// The ledger entry was put, the object was not.
    AfterEntry,
    /// The side object was put, the object was not.
    AfterSide,
    /// The object was put.
    AfterPut,
    /// The outbox file is written.
    AfterOutbox,
    /// The checkpoint is saved.
    AfterCheckpoint,
    /// The notice was sent and still lies in the outbox.
    AfterPublish,
    /// The local copy is there; the spool file too.
    AfterLocalCopy,
    /// The spool file is gone.
    AfterSpoolRemoved,
}

impl CrashPoint {
    /// Every point.
    pub const ALL: [Self; 13] = [
        Self::AfterSpill,
        Self::BeforeSeal,
        Self::DuringSeal,
        Self::AfterSeal,
        Self::BeforeEntry,
        Self::AfterEntry,
        Self::AfterSide,
        Self::AfterPut,
        Self::AfterOutbox,
        Self::AfterCheckpoint,
        Self::AfterPublish,
        Self::AfterLocalCopy,
        Self::AfterSpoolRemoved,
    ];

    /// Its name in tests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AfterSpill => "after-spill",
            Self::BeforeSeal => "before-seal",
            Self::DuringSeal => "during-seal",
            Self::AfterSeal => "after-seal",
            Self::BeforeEntry => "before-entry",
            Self::AfterEntry => "after-entry",
            Self::AfterSide => "after-side",
            Self::AfterPut => "after-put",
            Self::AfterOutbox => "after-outbox",
            Self::AfterCheckpoint => "after-checkpoint",
            Self::AfterPublish => "after-publish",
            Self::AfterLocalCopy => "after-local-copy",
            Self::AfterSpoolRemoved => "after-spool-removed",
        }
    }
}

/// The probe of every real run: does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn reached(&self, _point: CrashPoint) {}
}
