//! The demo's subscriber: prints each notice as it is sent, and remembers what was announced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::screen::{Screen, count};
use crate::model::manifest::{About, BatchNotice, Notice};
use crate::model::timestamp::Timestamp;
use crate::ports::{Notifier, NotifyError};
use crate::stop::Stop;

/// Takes the place of the SNS topic.
pub struct PrintingNotifier {
    screen: Arc<Screen>,
    /// Nudged with every notice, so that whoever counts looks again.
    wake: Stop,
    batches: Mutex<BTreeMap<String, BatchNotice>>,
}

impl PrintingNotifier {
    /// Prints on `screen` and nudges `wake`.
    pub fn new(screen: Arc<Screen>, wake: Stop) -> Self {
        Self { screen, wake, batches: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BatchNotice>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records announced of the stream created then. A notice may come twice; it counts once.
    pub fn records(&self, created: Timestamp) -> u64 {
        let batches = self.lock();
        let created = created.as_seconds();
        let of_stream = batches.values().filter(|batch| batch.origin.stream_created.as_seconds() == created);
        of_stream.map(|batch| batch.records).sum()
    }

    /// Everything that was announced, by key.
    pub fn announced(&self) -> BTreeMap<String, BatchNotice> {
        self.lock().clone()
    }
}

impl Notifier for PrintingNotifier {
    fn publish(&self, notice: &Notice, _stop: &Stop) -> Result<(), NotifyError> {
        self.screen.line(describe(notice));
        if let About::Batch(batch) = &notice.about {
            self.lock().insert(batch.key.clone(), BatchNotice::clone(batch));
        }
        self.wake.nudge();
        Ok(())
    }
}

/// One line for one notice.
fn describe(notice: &Notice) -> String {
    let Some(origin) = notice.origin() else {
        return match &notice.about {
            About::Hour(hour) => format!(
                "notice: the hour {} is complete: {} records  {}",
                hour.hour.start(),
                count(hour.totals.records),
                hour.key
            ),
            About::Batch(_) | About::Gap(_) | About::End(_) => String::new(),
        };
    };
    let shard = origin.shard.as_str().trim_start_matches("shardId-").trim_start_matches('0');
    let shard = if shard.is_empty() { "0" } else { shard };
    let what = match &notice.about {
        About::Batch(batch) => {
            format!("{:>5} records  {}", count(batch.records), shorten(&batch.key))
        }
        About::Gap(gap) => format!("GAP ({}) after {:?}", gap.gap.why.as_str(), gap.gap.after),
        About::End(_) | About::Hour(_) => "end of the shard".to_owned(),
    };
    format!("notice: shard {shard} serial {:>2}  {what}", origin.serial)
}

/// A key without the middle of its sequence number, so that it fits a line.
fn shorten(key: &str) -> String {
    let Some((head, name)) = key.rsplit_once('-') else { return key.to_owned() };
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    if digits <= 12 {
        return key.to_owned();
    }
    format!("{head}-{}…{}", &name[..4], &name[digits - 6..])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::batch::SealReason;
    use crate::model::manifest::Origin;
    use crate::model::shard::ShardId;

    /// A notice of a batch.
    pub fn batch(key: &str, serial: u64, records: u64) -> BatchNotice {
        BatchNotice {
            origin: Origin {
                stream: "clickstream".into(),
                stream_arn: "arn".into(),
                stream_created: Timestamp::from_seconds(1_700_000_000),
                shard: ShardId::new("shardId-000000000002"),
                serial,
                bucket: "b".into(),
            },
            key: key.into(),
            url: format!("s3://b/{key}"),
            etag: "e".into(),
            version_id: None,
            sha256: "x".into(),
            size: 1,
            content_sha256: "y".into(),
            content_size: 2,
            records,
            first_sequence_number: "1".parse().unwrap(),
            last_sequence_number: "2".parse().unwrap(),
            first_arrival: Timestamp::from_seconds(0),
            last_arrival: Timestamp::from_seconds(0),
            parents: vec![],
            sealed_by: SealReason::Age,
            side: None,
            millis_behind_latest: 0,
        }
    }

    #[test]
    fn a_notice_that_comes_twice_counts_once() {
        let notifier = PrintingNotifier::new(Arc::new(Screen::new(1)), Stop::new());
        for batch in [batch("a", 1, 10), batch("a", 1, 10), batch("b", 2, 5)] {
            let notice = Notice { version: 1, about: About::Batch(Box::new(batch)) };
            notifier.publish(&notice, &Stop::new()).unwrap();
        }
        assert_eq!(notifier.records(Timestamp::from_seconds(1_700_000_000)), 15);
        assert_eq!(notifier.records(Timestamp::from_seconds(0)), 0);
        assert_eq!(notifier.announced().len(), 2);
    }

    #[test]
    fn a_notice_is_one_short_line() {
        let key =
            format!("clickstream/dt=2026-11-22/hour=05/shardId-000000000002-4{}7.ndjson.gz", "9".repeat(54));
        let about = About::Batch(Box::new(batch(&key, 3, 1234)));
        assert_eq!(
            describe(&Notice { version: 1, about }),
            "notice: shard 2 serial  3  1,234 records  \
             clickstream/dt=2026-11-22/hour=05/shardId-000000000002-4999…999997.ndjson.gz"
        );
    }
}
