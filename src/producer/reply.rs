//! What becomes of a request that was answered, or was not: each of its records is through, tried again
//! or given up, by its own identity.

use std::time::Duration;

use super::core::Core;
use super::entry::{Entry, Undelivered, Why};
use super::report::Sent;
use super::request::{Flight, Request};
use super::shard_map::ShardMap;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::{HashKeyRange, ShardId};
use crate::ports::put::{Distribution, PutError, PutFault, PutOutcome};

/// Entries that failed with one of these are sent again.
const PASSING: [&str; 6] = [
    THROTTLED,
    "InternalFailure",
    "InternalFailureException",
    "KMSThrottlingException",
    "LimitExceededException",
    "ServiceUnavailable",
];
/// The shard takes no more at present.
const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// An aggregate in a shard that was not listed yet, or that does not fit the shards as they were listed: whether
/// its records belong there is not known.
#[derive(Debug)]
pub(super) struct Unsure {
    flight: Flight,
    shard: ShardId,
    sequence_number: SequenceNumber,
}

impl Unsure {
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.flight.into_entries()
    }
}

/// What is to be told of an answer.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The stream has it.
    Delivered { flight: Flight, shard: ShardId, sequence_number: SequenceNumber },
    /// It was given up.
    Undelivered(Undelivered),
}

/// An answer, taken apart.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) sent: Sent,
    /// All that follows from it waits for this one random number.
    jitter: f64,
}

impl Core {
    /// Takes the answer to a request.
    pub(super) fn answered(
        &mut self,
        request: Request,
        answer: Result<Vec<PutOutcome>, PutError>,
        now: Duration,
    ) -> Answered {
        self.in_flight -= 1;
        let silent = answer.as_ref().is_err_and(|error| error.fault == PutFault::Unknown);
        self.line.answered(&request, silent, now);
        let mut answered = Answered { jitter: self.random.f64(), ..Answered::default() };
        answered.sent.took = now.saturating_sub(request.sent);
        for flight in &request.flights {
            let place = self.map.place(flight.hash_key());
            if let Some(lane) = self.lanes.get_mut(place) {
                lane.in_flight = lane.in_flight.saturating_sub(1);
            }
            self.totals.aggregates += u64::from(matches!(flight, Flight::Many { .. }));
        }
        match answer {
            Ok(outcomes) if outcomes.len() == request.flights.len() => {
                self.backoff.reset();
                for (flight, outcome) in request.flights.into_iter().zip(outcomes) {
                    self.landed(flight, outcome, &mut answered, now);
                }
            }
            Ok(outcomes) => {
                let (got, sent) = (outcomes.len(), request.flights.len());
                let message = format!("answered for {got} records of {sent}");
                let error = PutError { call: "PutRecords", fault: PutFault::Unknown, message };
                self.failed(request, &error, &mut answered, now);
            }
            Err(error) => self.failed(request, &error, &mut answered, now),
        }
        if self.in_flight == 0 && self.barrier {
            self.barrier = false;
            self.lanes.iter_mut().for_each(|lane| lane.in_flight = 0);
        }
        self.totals.add(&answered.sent);
        answered
    }

    /// One entry of an answer.
    fn landed(&mut self, flight: Flight, outcome: PutOutcome, answered: &mut Answered, now: Duration) {
        match outcome {
            PutOutcome::Stored { shard, sequence_number } => {
                self.stored(Unsure { flight, shard, sequence_number }, false, answered, now);
            }
            PutOutcome::Refused { code, message } if PASSING.contains(&code.as_str()) => {
                if code == THROTTLED {
                    let place = self.map.place(flight.hash_key());
                    if let Some(lane) = self.lanes.get_mut(place) {
                        lane.pace.throttled(now);
                    }
                    self.refresh.suspect(now);
                    answered.sent.throttled += flight.entries().len() as u64;
                }
                self.again(flight, &code, &message, answered, now);
            }
            PutOutcome::Refused { code, message } => match flight {
                Flight::One(entry) => self.refused(entry, &code, &message, answered),
                // Which of them is to blame is not known: each goes alone.
                Flight::Many { users, .. } => self.apart(users, 0, answered),
            },
        }
    }

    /// An entry that the stream has. The records of an aggregate must belong to the shard that it came to:
    /// readers pass over an aggregate that a reshard sent astray.
    fn stored(&mut self, unsure: Unsure, listed_since: bool, answered: &mut Answered, now: Duration) {
        let range = self.map.range_of(&unsure.shard);
        if range.is_none() {
            self.refresh.want();
        }
        let belongs =
            |range: HashKeyRange| unsure.flight.entries().iter().all(|entry| range.contains(entry.hash_key));
        if matches!(unsure.flight, Flight::Many { .. }) && !range.is_some_and(belongs) {
            return self.misplaced(unsure, range.filter(|_| listed_since), answered, now);
        }
        let Unsure { flight, shard, sequence_number } = unsure;
        for entry in flight.entries() {
            self.leave(entry);
            answered.sent.delivered += 1;
            answered.sent.bytes += entry.record.size() as u64;
        }
        answered.outcomes.push(Outcome::Delivered { flight, shard, sequence_number });
    }

    /// An aggregate that seems to be where not all of its records belong, in a shard of this range if the shards
    /// were listed since: then it is sent again. Nothing is taken for astray by a listing that may be out of date.
    fn misplaced(
        &mut self,
        mut unsure: Unsure,
        range: Option<HashKeyRange>,
        answered: &mut Answered,
        now: Duration,
    ) {
        // The stream has it in any case, and not every reader passes over it.
        unsure.flight.entries_mut().iter_mut().for_each(|entry| entry.unknown = true);
        let Some(range) = range else {
            self.refresh.want();
            self.unsure.push(unsure);
            return;
        };
        let Unsure { mut flight, shard, .. } = unsure;
        flight.entries_mut().iter_mut().for_each(|entry| entry.astray += 1);
        // However often it is resharded, an aggregate comes to the shard that has its hash key; but for a stream
        // that asks for no key. Every further aggregate would go astray there, too.
        if !range.contains(flight.hash_key()) && self.distribution == Distribution::ByKey {
            self.distribution = Distribution::Auto;
            tracing::warn!(%shard, "the stream distributes records by itself: no more aggregates are put");
        }
        let message = format!("the aggregate came to {shard}, where not all of its records belong");
        self.again(flight, "WrongShard", &message, answered, now);
    }

    /// The shards were listed, or could not be.
    pub(super) fn refreshed(&mut self, map: Option<ShardMap>, now: Duration) -> Answered {
        let mut answered = Answered { jitter: self.random.f64(), ..Answered::default() };
        self.refresh.ended(now);
        let Some(map) = map else {
            if !self.unsure.is_empty() {
                self.refresh.want();
            }
            return answered;
        };
        self.set_map(map, now);
        for unsure in std::mem::take(&mut self.unsure) {
            self.stored(unsure, true, &mut answered, now);
        }
        let sent = answered.sent;
        self.totals.add(&Sent { took: Duration::ZERO, ..sent });
        self.totals.requests -= 1;
        answered
    }

    /// A request failed as a whole.
    fn failed(&mut self, request: Request, error: &PutError, answered: &mut Answered, now: Duration) {
        let count = request.flights.len();
        match error.fault {
            PutFault::Later | PutFault::Unknown => {
                let unknown = error.fault == PutFault::Unknown;
                // The service is away or busy: nobody else need try either. What was sent before the pause
                // and fails in it says nothing new.
                if self.pause <= now {
                    self.pause = now + self.backoff.next(&mut self.random);
                }
                for mut flight in request.flights {
                    if unknown {
                        flight.entries_mut().iter_mut().for_each(|entry| entry.unknown = true);
                        answered.sent.ambiguous += flight.entries().len() as u64;
                    }
                    self.again(flight, error.call, &error.message, answered, now);
                }
            }
            PutFault::Invalid if count > 1 => {
                for flight in request.flights {
                    self.apart(flight.into_entries(), count / 2, answered);
                }
            }
            PutFault::Invalid => {
                for flight in request.flights {
                    match flight {
                        Flight::One(entry) => self.refused(entry, error.call, &error.message, answered),
                        Flight::Many { users, .. } => self.apart(users, 0, answered),
                    }
                }
            }
            PutFault::Fatal => {
                let entries: Vec<_> = request.flights.into_iter().flat_map(Flight::into_entries).collect();
                for entry in entries {
                    self.refused(entry, error.call, &error.message, answered);
                }
                let (code, message) = (error.call.to_owned(), error.message.clone());
                let given_up = self.end(Why::Refused { code, message, tries: 0, maybe_stored: false });
                answered.sent.undelivered += given_up.len() as u64;
                answered.outcomes.extend(given_up.into_iter().map(Outcome::Undelivered));
            }
        }
    }

    /// Back to their lanes at once, to go in smaller company.
    fn apart(&mut self, entries: Vec<Entry>, company: usize, answered: &mut Answered) {
        for mut entry in entries {
            if self.ended.is_some() {
                self.refused(entry, "", "", answered);
                continue;
            }
            answered.sent.retried += 1;
            entry.company = entry.company.min(company);
            self.put_back(entry, None);
        }
    }

    /// Tries the records of an entry again later, unless they were tried for too long.
    fn again(&mut self, flight: Flight, code: &str, message: &str, answered: &mut Answered, now: Duration) {
        let failures = flight.entries().iter().map(|entry| entry.failures).max().unwrap_or_default();
        let pace = self.options.pace;
        let doubled = pace.first.saturating_mul(1 << failures.min(20)).min(pace.longest);
        let at = now + doubled.mul_f64(0.5 + 0.5 * answered.jitter);
        for mut entry in flight.into_entries() {
            entry.failures += 1;
            let tried = now.saturating_sub(entry.first_try.unwrap_or(now));
            if tried >= self.options.patience || self.ended.is_some() {
                self.refused(entry, code, message, answered);
            } else {
                answered.sent.retried += 1;
                self.put_back(entry, Some(at));
            }
        }
    }

    /// Where a record waits for its next try.
    fn put_back(&mut self, entry: Entry, at: Option<Duration>) {
        match at {
            Some(at) if self.options.ordered && self.options.aggregate => {
                let place = self.map.place(entry.hash_key);
                if let Some(lane) = self.lanes.get_mut(place) {
                    lane.not_before = lane.not_before.max(at);
                }
                self.queue(entry);
            }
            Some(at) => {
                self.later.insert((at, entry.serial), entry);
            }
            None => self.queue(entry),
        }
    }

    fn refused(&mut self, entry: Entry, code: &str, message: &str, answered: &mut Answered) {
        let why = match &self.ended {
            Some(Why::Ended { .. }) => Why::Ended { maybe_stored: entry.unknown },
            Some(_) | None => Why::Refused {
                code: code.to_owned(),
                message: message.to_owned(),
                tries: entry.failures.max(1),
                maybe_stored: entry.unknown,
            },
        };
        answered.sent.undelivered += 1;
        let undelivered = self.give_up(entry, why);
        answered.outcomes.push(Outcome::Undelivered(undelivered));
    }
}
