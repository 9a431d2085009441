//! How many bytes may be under way at once: as many as all requests hold, unless the line is too slow for them.
//!
//! Owns how that shrinks and grows. Where the machine's share of the network is small, eight requests of 10 MiB do
//! not arrive within the deadline of a call; sent again and again alike, they would keep the line busy for ever, and
//! what the stream did get of them would be doubled each time.

use std::time::Duration;

use super::options::MOST_BYTES;
use super::request::Request;
use crate::ports::put::DEADLINE;

/// Fewer bytes at once than this help no line: connections come to nothing before that.
const LEAST: usize = 64 << 10;

/// An answer that took at most this part of the deadline leaves time for twice as much, with as much again to spare.
const EASY: u32 = 4;

/// What is under way, and may be.
#[derive(Debug)]
pub(super) struct Line {
    most: usize,
    allowed: usize,
    under_way: usize,
    /// When the last change was made: what was sent before it says nothing about it.
    changed: Duration,
}

impl Line {
    /// For so many requests at once.
    pub(super) const fn new(requests: usize) -> Self {
        let most = requests.saturating_mul(MOST_BYTES);
        Self { most, allowed: most, under_way: 0, changed: Duration::ZERO }
    }

    /// The most that a request may hold.
    pub(super) fn portion(&self) -> usize {
        self.allowed.min(MOST_BYTES)
    }

    /// Whether a request of so many bytes (or a part of them, if they are too many for one) may be sent. A slow line has
    /// fewer requests, and once there is one, smaller ones.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.under_way == 0 || self.under_way + bytes.min(self.portion()) <= self.allowed
    }

    /// A request is sent.
    pub(super) const fn sent(&mut self, request: &mut Request) {
        self.under_way += request.bytes;
        request.shared = self.under_way;
    }

    /// A request was answered, or (`silent`) was not.
    pub(super) fn answered(&mut self, request: &Request, silent: bool, now: Duration) {
        // What came after it may have held it up, and what came before it may be gone by now.
        let shared = request.shared.max(self.under_way);
        self.under_way -= request.bytes;
        let took = now.saturating_sub(request.sent);
        if request.sent < self.changed {
            return;
        }
        // What fails sooner (nobody there, a connection that was closed) says nothing of how fast the line is.
        let allowed = if silent && took >= DEADLINE / 2 {
            (self.allowed.min(shared) / 2).max(LEAST)
        } else if !silent && took <= DEADLINE / EASY && shared >= self.allowed / 2 {
            self.allowed.saturating_mul(2).min(self.most)
        } else {
            self.allowed
        };
        if allowed < self.allowed {
            tracing::info!(
                bytes = allowed,
                "PutRecords is answered too slowly: fewer bytes are sent at once"
            );
        }
        if allowed != self.allowed {
            (self.allowed, self.changed) = (allowed, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const SECOND: Duration = Duration::from_secs(1);

    fn send(line: &mut Line, bytes: usize, now: Duration) -> Request {
        let mut request = Request::new(now, bytes);
        request.bytes = bytes;
        line.sent(&mut request);
        request
    }

    /// Sends full requests until the line takes no more.
    fn fill(line: &mut Line, now: Duration) -> Vec<Request> {
        let mut sent = Vec::new();
        while line.takes(MOST_BYTES) && sent.len() < 8 {
            sent.push(send(line, line.portion(), now));
        }
        sent
    }

    #[test]
    fn a_slow_line_gets_fewer_requests_and_then_smaller_ones_and_an_easy_one_all_again() {
        let mut line = Line::new(8);
        let mut now = SECOND;
        let mut seen = Vec::new();
        for _ in 0..5 {
            let sent = fill(&mut line, now);
            seen.push((sent.len(), sent[0].bytes / MIB));
            now += DEADLINE;
            sent.iter().for_each(|request| line.answered(request, true, now));
        }
        // Eight failures are one sign.
        assert_eq!(seen, [(8, 10), (4, 10), (2, 10), (1, 10), (1, 5)]);
        for _ in 0..20 {
            let sent = fill(&mut line, now);
            now += SECOND;
            sent.iter().for_each(|request| line.answered(request, false, now));
        }
        assert_eq!(fill(&mut line, now).len(), 8);
    }

    #[test]
    fn an_outage_is_no_slow_line_and_few_bytes_that_come_easily_say_nothing_of_many() {
        let mut line = Line::new(8);
        let mut now = SECOND;
        let mut flown = |line: &mut Line, bytes, silent, took| {
            let request = send(line, bytes, now);
            now += took;
            line.answered(&request, silent, now);
            line.portion()
        };
        assert_eq!(flown(&mut line, MOST_BYTES, true, SECOND), MOST_BYTES, "refused at once");
        assert_eq!(flown(&mut line, MOST_BYTES, true, DEADLINE), MOST_BYTES / 2);
        assert_eq!(flown(&mut line, 100, false, SECOND), MOST_BYTES / 2);
        let slow = DEADLINE / 3;
        assert_eq!(flown(&mut line, MOST_BYTES / 2, false, slow), MOST_BYTES / 2, "no time for more");
        for _ in 0..20 {
            flown(&mut line, 1, true, DEADLINE);
        }
        assert_eq!(line.portion(), LEAST);
    }
}
