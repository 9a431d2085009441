//! Announcing: notices leave the outbox in order, at least once; archiving never waits for them.

use super::worker::{Activity, ShardWorker};
use crate::model::metric::Service;
use crate::ports::CrashPoint;
use crate::ports::news::is_news;
use crate::spool::refusal::newer;

impl ShardWorker {
    /// Sends the oldest notice, if one is due.
    pub(super) fn announce(&mut self) -> Activity {
        let Some(notifier) = self.ports.notifier.clone() else { return Activity::Idle };
        if self.outbox.is_empty() {
            return Activity::Idle;
        }
        let due = self.publish_due.max(self.disk_due);
        if self.monotonic() < due {
            return Activity::NotBefore(due);
        }
        let notice = match self.outbox.front() {
            Ok(Some(notice)) => notice,
            Ok(None) => return Activity::Idle,
            // Nothing but a newer version can publish it; archiving goes on.
            Err(error) if newer(&error).is_some() => {
                self.publish_due = self.monotonic() + self.publish_backoff.next(&mut self.random);
                self.troubles.publishing = Some(error.to_string());
                return Activity::NotBefore(self.publish_due);
            }
            Err(error) => return self.disk_failed("reading the outbox", &error),
        };
        if let Err(error) = notifier.publish(&notice, &self.stop) {
            self.ports.meter.error(Service::Sns, error.kind);
            self.publish_due = self.monotonic() + self.publish_backoff.next(&mut self.random);
            let told = error.to_string();
            if is_news(self.troubles.publishing.as_deref(), &told) {
                tracing::warn!(
                    shard = %self.setup.shard.id,
                    waiting = self.outbox.len(),
                    "{told}; archiving goes on, the notice waits in the outbox"
                );
            }
            self.troubles.publishing = Some(told);
            return Activity::NotBefore(self.publish_due);
        }
        self.ports.probe.reached(CrashPoint::AfterPublish);
        self.publish_backoff.reset();
        if self.troubles.publishing.take().is_some() {
            tracing::info!(shard = %self.setup.shard.id, "notices go out again");
        }
        match self.outbox.sent(notice.serial()) {
            Ok(()) => Activity::Acted,
            Err(error) => self.disk_failed("removing a sent notice", &error),
        }
    }
}
