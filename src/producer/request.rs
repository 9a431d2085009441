//! One request: what goes into it, and how much still fits.

use std::time::Duration;

use super::entry::Entry;
use super::options::MOST_RECORDS;
use crate::ports::put::Record;

/// What one entry of a request holds.
#[derive(Debug)]
pub(super) enum Flight {
    /// A record as it is.
    One(Entry),
    /// A KPL aggregate of records.
    Many {
        /// What is sent.
        outer: Record,
        /// What it holds, in order.
        users: Vec<Entry>,
        /// Its hash key, which all its records share a shard with.
        hash_key: u128,
    },
}

impl Flight {
    /// What is sent.
    pub(super) const fn outer(&self) -> &Record {
        match self {
            Self::One(entry) => &entry.record,
            Self::Many { outer, .. } => outer,
        }
    }

    pub(super) const fn hash_key(&self) -> u128 {
        match self {
            Self::One(entry) => entry.hash_key,
            Self::Many { hash_key, .. } => *hash_key,
        }
    }

    /// The records in it.
    pub(super) fn entries(&self) -> &[Entry] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many { users, .. } => users,
        }
    }

    /// The records in it.
    pub(super) fn entries_mut(&mut self) -> &mut [Entry] {
        match self {
            Self::One(entry) => std::slice::from_mut(entry),
            Self::Many { users, .. } => users,
        }
    }

    /// The records in it.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        match self {
            Self::One(entry) => vec![entry],
            Self::Many { users, .. } => users,
        }
    }
}

/// A request that is being made, or is under way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) flights: Vec<Flight>,
    pub(super) bytes: usize,
    pub(super) sent: Duration,
    /// What shared the line with it when it was sent, its own bytes included.
    pub(super) shared: usize,
    most: usize,
    limit: usize,
}

impl Request {
    /// To be sent now, of so many bytes at most.
    pub(super) const fn new(now: Duration, most: usize) -> Self {
        Self { flights: Vec::new(), bytes: 0, sent: now, shared: 0, most, limit: MOST_RECORDS }
    }

    /// The bytes that still fit.
    pub(super) const fn room(&self) -> usize {
        self.most.saturating_sub(self.bytes)
    }

    /// Whether one more fits, which shares its request with at most `company` records, itself included.
    pub(super) fn has_room(&self, bytes: usize, company: usize) -> bool {
        // A record larger than any request goes alone, for the service to judge.
        let fits = bytes <= self.room() || self.flights.is_empty();
        fits && self.flights.len() < self.limit.min(company.max(1))
    }

    pub(super) fn add(&mut self, flight: Flight, company: usize) {
        self.bytes += flight.outer().size();
        self.limit = self.limit.min(company.max(1));
        self.flights.push(flight);
    }

    /// What is sent, in order.
    pub(super) fn records(&self) -> Vec<&Record> {
        self.flights.iter().map(Flight::outer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::record;
    use super::super::options::MOST_BYTES;
    use super::*;

    fn add(request: &mut Request, size: usize, company: usize) -> bool {
        let room = request.has_room(size, company);
        if room {
            let entry = Entry::new(record(0, "key", size), 0, 0, Duration::ZERO);
            request.add(Flight::One(entry), company);
        }
        room
    }

    #[test]
    fn five_hundred_records_fit_and_no_more() {
        let mut request = Request::new(Duration::ZERO, MOST_BYTES);
        assert_eq!((0..501).filter(|_| add(&mut request, 10, MOST_RECORDS)).count(), 500);
    }

    #[test]
    fn exactly_ten_mebibytes_fit_keys_included_and_not_one_byte_more() {
        let mut request = Request::new(Duration::ZERO, MOST_BYTES);
        assert!((0..9).all(|_| add(&mut request, 1 << 20, MOST_RECORDS)));
        assert!(!add(&mut request, (1 << 20) + 1, MOST_RECORDS));
        assert!(add(&mut request, 1 << 20, MOST_RECORDS));
        assert_eq!(request.bytes, MOST_BYTES);
        assert!(!add(&mut request, 1, MOST_RECORDS));
    }

    #[test]
    fn a_suspect_goes_in_small_company() {
        let mut request = Request::new(Duration::ZERO, MOST_BYTES);
        assert!(add(&mut request, 10, 2) && add(&mut request, 10, MOST_RECORDS));
        assert!(!add(&mut request, 10, MOST_RECORDS));
        assert!(!request.has_room(10, 1));
    }
}
