//! Puts events into the stream through the producer, and notes down what was acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::embedded::{REGION, credentials};
use super::events::Clickstream;
use super::runs::{Fingerprint, fingerprint};
use super::screen::Screen;
use crate::aws::clients::{AwsSettings, Clients};
use crate::aws::kinesis::StreamName;
use crate::aws::put_records::KinesisSink;
use crate::error::Failure;
use crate::ports::Clock;
use crate::producer::{Options, Producer, Record, Sent, Stored, Undelivered, Watch};
use crate::stop::Stop;

/// Events share a request for so long: calls of a hundred or so, as a web server's log shipper makes.
const BUFFER_TIME: Duration = Duration::from_millis(50);
/// The embedded stream is on this machine: what it does not take by then it never will.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many events, and in how much time.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Events.
    pub events: u64,
    /// Spread evenly over this time.
    pub over: Duration,
}

/// Fills the demo's stream.
pub struct Filler<'a> {
    /// Where the embedded Kinesis answers.
    pub endpoint_url: String,
    /// Where the producer works.
    pub runtime: &'a Handle,
    /// The stream.
    pub stream: &'a str,
    /// Paces the events.
    pub clock: Arc<dyn Clock>,
    /// Ends the putting early.
    pub stop: &'a Stop,
    /// Shows how far it is.
    pub screen: &'a Arc<Screen>,
    /// Decides the producer's jitter.
    pub seed: u64,
}

/// The fingerprint of each acknowledged event by its number.
struct Noted {
    put: Mutex<BTreeMap<u64, Fingerprint>>,
    screen: Arc<Screen>,
}

impl Watch for Noted {
    fn delivered(&self, record: &Record, stored: &Stored<'_>) {
        let print = fingerprint(stored.shard, stored.sequence_number, &record.partition_key, &record.data);
        self.put.lock().unwrap_or_else(PoisonError::into_inner).insert(record.tag, print);
    }

    fn sent(&self, sent: &Sent) {
        self.screen.put(sent.delivered);
    }
}

impl Filler<'_> {
    /// Puts `amount` of `events`, and gives the fingerprint of each by its number; fewer after a stop.
    pub fn put(
        &self,
        events: &mut Clickstream,
        amount: Amount,
    ) -> Result<BTreeMap<u64, Fingerprint>, Failure> {
        let noted = Arc::new(Noted { put: Mutex::default(), screen: Arc::clone(self.screen) });
        let producer = self.start(&noted)?;
        let begun = self.clock.monotonic();
        let mut made = 0;
        while made < amount.events && self.stop.reason().is_none() {
            let due = self.due(begun, amount);
            while made < due {
                let Some(event) = events.next() else { break };
                let event = event.map_err(|error| Failure::failed(format!("no event was made: {error}")))?;
                let record = Record {
                    data: event.data.into(),
                    partition_key: event.partition_key,
                    explicit_hash_key: None,
                    tag: event.number,
                };
                self.runtime.block_on(producer.put(record)).map_err(|lost| failed(&lost))?;
                made += 1;
            }
            self.stop.wait(self.stop.seen(), BUFFER_TIME);
        }
        let interrupted = self.stop.reason().is_some();
        let lost = self
            .runtime
            .block_on(async { if interrupted { producer.give_up().await } else { producer.close().await } });
        if let (Some(lost), false) = (lost.first(), interrupted) {
            return Err(failed(lost));
        }
        if producer.totals().ambiguous > 0 && !interrupted {
            // The check would find events doubled that the archive is not to blame for.
            return Err(Failure::failed("the embedded stream did not answer a PutRecords"));
        }
        let put = std::mem::take(&mut *noted.put.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(put)
    }

    /// One request at a time on purpose: the embedded Kinesis loses records with two.
    fn start(&self, noted: &Arc<Noted>) -> Result<Producer, Failure> {
        let settings = AwsSettings {
            region: Some(REGION.to_owned()),
            credentials: Some(credentials()),
            ..AwsSettings::local(self.endpoint_url.as_str())
        };
        let clients =
            Clients::load(self.runtime, &settings).map_err(|error| Failure::failed(error.to_string()))?;
        let sink = Arc::new(KinesisSink::new(&clients, StreamName::Name(self.stream.to_owned())));
        let options = Options {
            in_flight: 1,
            buffer_time: BUFFER_TIME,
            patience: PATIENCE,
            seed: self.seed,
            ..Options::default()
        };
        let watch = Arc::clone(noted) as Arc<dyn Watch>;
        let started = self.runtime.block_on(Producer::start(sink, options, Arc::clone(&self.clock), watch));
        started.map_err(|error| Failure::failed(format!("the embedded stream can't be filled: {error}")))
    }

    /// How many events should have been put by now.
    fn due(&self, begun: Duration, amount: Amount) -> u64 {
        let passed = self.clock.monotonic().saturating_sub(begun).as_millis();
        let whole = amount.over.as_millis().max(1);
        let due = u128::from(amount.events) * passed / whole;
        u64::try_from(due).unwrap_or(u64::MAX).min(amount.events)
    }
}

fn failed(lost: &Undelivered) -> Failure {
    Failure::failed(format!("PutRecords to the embedded stream failed: {}", lost.why))
}
