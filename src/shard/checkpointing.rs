//! The checkpoint: what is saved of the archived position, and of an idle shard's completeness.

use std::time::Duration;

use super::position::Archived;
use super::worker::{Activity, ShardWorker};
use crate::model::checkpoint::Checkpoint;
use crate::model::rules::Rule;
use crate::model::sealed::KnownPosition;
use crate::spool::STATE_VERSION;

/// How far `complete_to` moves on an idle shard before it is saved: well under the hour after
/// which a start would have to ask, and seldom enough to cost nothing.
const SAVE_IDLE_EVERY: Duration = Duration::from_secs(600);

impl ShardWorker {
    /// Saves how far an idle shard is known to be complete, so that the next start need not ask.
    pub(super) fn save_idle_position(&mut self) -> Activity {
        let (Some(reading), Some(archived)) = (&self.reading, &self.archived) else { return Activity::Idle };
        if self.unsealed.is_some() || archived.void.is_some() || self.monotonic() < self.disk_due {
            return Activity::Idle;
        }
        let sealed = if self.writer.is_empty() {
            reading.at.clone()
        } else if self.setup.settings.rules.hold(Rule::CompleteToBelongsToItsPosition) {
            return Activity::Idle;
        } else {
            let follows = self.open.follows.clone().unwrap_or_else(|| reading.at.clone());
            KnownPosition { complete_to: reading.at.complete_to, ..follows }
        };
        let saved = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.sealed.as_ref());
        let saved_to =
            saved.filter(|saved| saved.position == sealed.position).and_then(|saved| saved.complete_to);
        let Some(complete_to) = sealed.complete_to else { return Activity::Idle };
        if saved_to.is_some_and(|saved| complete_to < saved + SAVE_IDLE_EVERY) {
            return Activity::Idle;
        }
        let checkpoint = Checkpoint { sealed: Some(sealed), ..self.checkpoint_of(archived) };
        match self.ports.checkpoints.save(&self.setup.folder, &checkpoint) {
            Ok(()) => {
                self.checkpoint = Some(checkpoint);
                self.disk_works();
                Activity::Acted
            }
            Err(error) => self.disk_failed("saving the checkpoint", &error),
        }
    }

    /// The checkpoint of the archived position.
    pub(super) fn checkpoint_of(&self, archived: &Archived) -> Checkpoint {
        let retention = self.shared.retention_known();
        Checkpoint {
            version: STATE_VERSION,
            stream_arn: self.setup.stream.arn.clone(),
            stream_created: self.setup.stream.created,
            shard: self.setup.shard.id.clone(),
            serial: archived.serial,
            entry_sha256: archived.entry_sha256.clone(),
            known: archived.known.clone(),
            sealed: None,
            saved_at: self.ports.clock.now(),
            retention_ms: u64::try_from(retention.now().as_millis()).ok(),
            trimmed_to: retention.trimmed_to(),
        }
    }
}
