//! Puts events into the stream: one PutRecords at a time, partial failures sent again by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::DisplayErrorContext;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use tokio::runtime::Handle;

use super::events::{Clickstream, Event};
use super::runs::{Fingerprint, fingerprint};
use super::screen::Screen;
use crate::error::Failure;
use crate::model::shard::ShardId;
use crate::ports::Clock;
use crate::stop::Stop;

/// Kinesis takes no more in one call.
const MAX_RECORDS: usize = 500;
/// After a partial failure.
const PAUSE: Duration = Duration::from_millis(200);

/// The one producer of the demo. One on purpose: the embedded Kinesis loses records with two.
pub struct Producer<'a> {
    /// Its SDK retries must be off: a call that is repeated doubles its records.
    pub kinesis: &'a Client,
    /// Where the SDK does its I/O.
    pub runtime: &'a Handle,
    /// The stream.
    pub stream: &'a str,
    /// Paces the events.
    pub clock: &'a dyn Clock,
    /// Ends the putting early.
    pub stop: &'a Stop,
    /// Shows how far it is.
    pub screen: &'a Screen,
}

/// How many events, and in how much time.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Events.
    pub events: u64,
    /// Spread evenly over this time.
    pub over: Duration,
}

impl Producer<'_> {
    /// Puts `amount` of `events`, and gives the fingerprint of each by its number; fewer after a stop.
    pub fn put(
        &self,
        events: &mut Clickstream,
        amount: Amount,
    ) -> Result<BTreeMap<u64, Fingerprint>, Failure> {
        let begun = self.clock.monotonic();
        let mut put = BTreeMap::new();
        let mut waiting: Vec<Event> = Vec::with_capacity(MAX_RECORDS);
        let mut made = 0;
        while (made < amount.events || !waiting.is_empty()) && self.stop.reason().is_none() {
            let due = self.due(begun, amount);
            while made < due && waiting.len() < MAX_RECORDS {
                let Some(event) = events.next() else { break };
                waiting.push(event.map_err(|error| Failure::failed(format!("no event was made: {error}")))?);
                made += 1;
            }
            if waiting.is_empty() {
                self.stop.wait(self.stop.seen(), Duration::from_millis(50));
                continue;
            }
            let before = put.len();
            waiting = self.put_once(waiting, &mut put)?;
            self.screen.put((put.len() - before) as u64);
            // A short pause makes calls of a hundred events or so, as a web server's log shipper does.
            let pause = if waiting.is_empty() { Duration::from_millis(50) } else { PAUSE };
            self.stop.wait(self.stop.seen(), pause);
        }
        Ok(put)
    }

    /// How many events should have been put by now.
    fn due(&self, begun: Duration, amount: Amount) -> u64 {
        let passed = self.clock.monotonic().saturating_sub(begun).as_millis();
        let whole = amount.over.as_millis().max(1);
        let due = u128::from(amount.events) * passed / whole;
        u64::try_from(due).unwrap_or(u64::MAX).min(amount.events)
    }

    /// One PutRecords; gives back what the stream refused.
    fn put_once(
        &self,
        events: Vec<Event>,
        put: &mut BTreeMap<u64, Fingerprint>,
    ) -> Result<Vec<Event>, Failure> {
        let entries: Result<Vec<_>, _> = events
            .iter()
            .map(|event| {
                PutRecordsRequestEntry::builder()
                    .partition_key(&event.partition_key)
                    .data(Blob::new(event.data.as_slice()))
                    .build()
            })
            .collect();
        let entries = entries.map_err(|error| Failure::failed(format!("PutRecords: {error}")))?;
        let call = self.kinesis.put_records().stream_name(self.stream).set_records(Some(entries));
        // An error says nothing of what was stored; repeating it could double events that the demo
        // then finds doubled. On loopback it does not happen unless something is really broken.
        let reply = self.runtime.block_on(call.send()).map_err(|error| {
            Failure::failed(format!(
                "PutRecords to the embedded stream failed: {}",
                DisplayErrorContext(&error)
            ))
        })?;
        sort_out(events, &reply, put)
    }
}

/// Notes what was stored, by its number; gives back the rest.
fn sort_out(
    events: Vec<Event>,
    reply: &PutRecordsOutput,
    put: &mut BTreeMap<u64, Fingerprint>,
) -> Result<Vec<Event>, Failure> {
    if reply.records().len() != events.len() {
        return Err(Failure::failed(format!(
            "PutRecords answered for {} records of {}",
            reply.records().len(),
            events.len()
        )));
    }
    let mut refused = Vec::new();
    for (event, result) in events.into_iter().zip(reply.records()) {
        let (Some(shard), Some(number)) = (result.shard_id(), result.sequence_number()) else {
            refused.push(event);
            continue;
        };
        let number = number.parse().map_err(|error| Failure::failed(format!("PutRecords: {error}")))?;
        put.insert(
            event.number,
            fingerprint(&ShardId::new(shard), &number, &event.partition_key, &event.data),
        );
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::types::PutRecordsResultEntry;

    use super::*;

    fn event(number: u64) -> Event {
        Event { number, partition_key: "user-1".into(), data: number.to_string().into_bytes() }
    }

    #[test]
    fn what_was_refused_is_sent_again_by_its_identity() {
        let stored = |n: &str| {
            PutRecordsResultEntry::builder().shard_id("shardId-000000000000").sequence_number(n).build()
        };
        let throttled =
            PutRecordsResultEntry::builder().error_code("ProvisionedThroughputExceededException").build();
        let reply = PutRecordsOutput::builder()
            .records(stored("10"))
            .records(throttled)
            .records(stored("11"))
            .build()
            .unwrap();
        let mut put = BTreeMap::new();
        let left = sort_out(vec![event(1), event(2), event(3)], &reply, &mut put).unwrap();
        assert_eq!(left, vec![event(2)]);
        assert_eq!(put.keys().copied().collect::<Vec<_>>(), [1, 3]);
        let shard = ShardId::new("shardId-000000000000");
        assert_eq!(put[&3], fingerprint(&shard, &"11".parse().unwrap(), "user-1", b"3"));
    }

    #[test]
    fn a_reply_for_other_records_is_refused() {
        let reply = PutRecordsOutput::builder().set_records(Some(vec![])).build().unwrap();
        assert!(sort_out(vec![event(1)], &reply, &mut BTreeMap::new()).is_err());
    }
}
