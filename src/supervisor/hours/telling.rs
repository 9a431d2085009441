//! What follows once a manifest is in the bucket, and what people are told: notices, hint, log.
//!
//! Owns the pauses after failures. What is told when is `mod`'s business.

use std::io;
use std::time::Duration;

use super::compose::notice;
use super::hint::Hint;
use super::{HourTeller, LATE, Trouble, Turn};
use crate::ledger::LedgerError;
use crate::ledger::hours::StoredHour;
use crate::model::metric::Service;
use crate::model::timestamp::Hour;
use crate::ports::StoreErrorKind;
use crate::shard::board::Listing;

impl HourTeller {
    /// Announces a manifest that is in the bucket, and goes on from it. Cut anywhere, it is done again.
    pub(super) fn record(&mut self, stored: StoredHour) -> Result<Turn, Trouble> {
        if self.ports.notifier.is_some()
            && let Some(outbox) = &mut self.outbox
        {
            outbox.add(&notice(&stored))?;
        }
        self.seen.clear();
        self.reminder.forget();
        let (hour, key, totals) = (stored.manifest.hour, stored.manifest.key.clone(), stored.manifest.totals);
        self.go_on_from(stored);
        self.write_hint()?;
        tracing::info!(
            hour = %hour.start(),
            records = totals.records,
            objects = totals.objects,
            gaps = totals.gaps,
            key,
            "the hour is complete"
        );
        Ok(Turn::Again)
    }

    fn write_hint(&self) -> io::Result<()> {
        let Some(previous) = &self.previous else { return Ok(()) };
        Hint::new(&previous.manifest.key, &previous.sha256, &self.books.finished).write(&*self.ports.disk)
    }

    /// Says what holds an hour up, once it has for long.
    pub(super) fn remind(&mut self, hour: Hour, listing: &Listing, why: &str) {
        let late = listing.at.since(hour.end()) >= LATE;
        if late && self.reminder.is_due(why, self.ports.clock.monotonic()) {
            tracing::warn!(hour = %hour.start(), why, "the hour is over and cannot be told complete yet");
        }
    }

    pub(super) fn failed(&mut self, trouble: &Trouble) {
        let told = trouble.to_string();
        let now = self.now();
        match trouble {
            Trouble::Store(error) | Trouble::Ledger(LedgerError::Store(error)) => {
                if error.kind != StoreErrorKind::Stopped {
                    (self.ports.errors)(Service::S3, error.kind.as_str());
                    if self.reminder.is_due(&told, now) {
                        tracing::warn!("{told}; the hour is told later");
                    }
                }
            }
            Trouble::Ledger(LedgerError::Broken { .. }) => {
                (self.ports.errors)(Service::S3, "broken");
                if self.reminder.is_due(&told, now) {
                    tracing::error!("{told}; no hour is told complete until that is mended");
                }
            }
            Trouble::Disk(_) => {
                (self.ports.errors)(Service::Disk, "io");
                if self.reminder.is_due(&told, now) {
                    tracing::error!("writing down an hour failed on this disk: {told}; it goes on by itself");
                }
            }
        }
        self.due = now + self.backoff.next(&mut self.random).max(Duration::from_millis(1));
    }

    /// Sends the oldest notice; when the next is due (monotonic), if one waits.
    pub(super) fn announce(&mut self) -> Option<Duration> {
        let (Some(notifier), Some(outbox)) = (self.ports.notifier.clone(), &mut self.outbox) else {
            return None;
        };
        if outbox.is_empty() {
            return None;
        }
        let now = self.ports.clock.monotonic();
        if now < self.publish_due {
            return Some(self.publish_due);
        }
        let sent = match outbox.front() {
            Ok(None) => return None,
            Ok(Some(notice)) => match notifier.publish(&notice, &self.stop) {
                Ok(()) => {
                    outbox.sent(notice.serial()).map_err(|error| (Service::Disk, "io", error.to_string()))
                }
                Err(error) => Err((Service::Sns, error.kind, error.to_string())),
            },
            Err(error) => Err((Service::Disk, "io", error.to_string())),
        };
        match sent {
            Ok(()) => {
                self.publish_backoff.reset();
                self.publish_reminder.forget();
                if self.publish_trouble.take().is_some() {
                    tracing::info!("notices of hours go out again");
                }
                self.publish_due = now;
            }
            Err((service, kind, told)) => {
                (self.ports.errors)(service, kind);
                let wait = self.publish_backoff.next(&mut self.random);
                self.publish_due = now + wait.max(Duration::from_millis(1));
                if self.publish_reminder.is_due(&told, now) {
                    tracing::warn!("{told}; the hour's notice waits in the outbox");
                }
                self.publish_trouble = Some(told);
            }
        }
        Some(self.publish_due)
    }

    /// Says what waits on this disk, for the gauge and the status page. Nobody knows it before the outbox was opened.
    pub(super) fn tell_waiting(&self) {
        if let Some(outbox) = &self.outbox {
            let trouble = self.publish_trouble.as_deref().filter(|_| !outbox.is_empty());
            (self.ports.waiting)(outbox.len(), trouble);
        }
    }
}

#[cfg(test)]
mod tests;
