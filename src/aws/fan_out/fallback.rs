//! What happens when fan-out does not work: errors are told, after a minute the shard is polled, and
//! every few minutes fan-out is tried again.
//!
//! Does not subscribe itself, and does not judge what AWS said: `fan_out` does.

use std::time::Duration;

use super::line::{Line, Way};
use super::{FanOut, Tried, position_refused, token};
use crate::ports::{Received, Stream, StreamError, StreamErrorKind};
use crate::stop::Stop;

impl FanOut {
    /// Nothing is wrong, but there is no subscription either.
    pub(super) fn not_yet(
        &self,
        line: &mut Line,
        wait: Duration,
        stop: &Stop,
    ) -> Result<Received, StreamError> {
        if line.fails(self.now()) {
            self.poll_from_now_on(line, "the consumer is not ACTIVE, or another reader uses it");
            return self.poll(line, stop);
        }
        Ok(Received::NothingYet(wait))
    }

    /// A subscription ended, or did not come about. After a minute of that the shard is polled.
    pub(super) fn failed(
        &self,
        line: &mut Line,
        error: StreamError,
        stop: &Stop,
    ) -> Result<Received, StreamError> {
        if let Way::Subscribed(subscription) = &mut line.way {
            *subscription = None;
        }
        if error.kind == StreamErrorKind::NoAnswer {
            self.leave_connection(line);
        }
        if error.kind == StreamErrorKind::Stopped || !line.fails(self.now()) {
            return Err(error);
        }
        self.poll_from_now_on(line, &error.message);
        // Of these the worker has to know before anything more is read.
        let for_the_worker = matches!(
            error.kind,
            StreamErrorKind::InvalidArgument
                | StreamErrorKind::PositionRefused
                | StreamErrorKind::ExpiredIterator
        );
        if for_the_worker { Err(error) } else { self.poll(line, stop) }
    }

    fn poll_from_now_on(&self, line: &mut Line, why: &str) {
        tracing::warn!(
            shard = %line.shard,
            "enhanced fan-out has failed for more than a minute ({why}); \
             the shard is polled, and fan-out is tried again every few minutes"
        );
        line.give_up(self.now(), why);
    }

    /// Tries fan-out again while polling; whether the shard is subscribed.
    pub(super) fn go_back(&self, line: &mut Line, stop: &Stop) -> Result<bool, StreamError> {
        line.tries_again(self.now());
        match self.try_subscribing(line, stop) {
            Ok(Tried::Subscribed) => {
                tracing::info!(shard = %line.shard, "enhanced fan-out again: the shard is subscribed");
                Ok(true)
            }
            Ok(Tried::NotYet(_)) => Ok(false),
            Err(error)
                if matches!(error.kind, StreamErrorKind::InvalidArgument | StreamErrorKind::Stopped) =>
            {
                Err(error)
            }
            Err(error) => {
                tracing::info!(shard = %line.shard, "enhanced fan-out still fails, polling goes on: {error}");
                Ok(false)
            }
        }
    }

    pub(super) fn poll(&self, line: &mut Line, stop: &Stop) -> Result<Received, StreamError> {
        let Way::Polled { iterator, .. } = &line.way else {
            return Ok(Received::NothingYet(Duration::ZERO));
        };
        let iterator = match iterator.clone() {
            Some(iterator) => iterator,
            None => match self.polling.iterator(&line.shard, &line.poll_from(), stop) {
                Ok(served) => served.value,
                Err(error) if error.kind == StreamErrorKind::InvalidArgument => {
                    let kind = position_refused(line.has_records());
                    return Err(StreamError { kind, ..error });
                }
                Err(error) => return Err(error),
            },
        };
        let mut reply = self.polling.records(&line.shard, &iterator, stop)?;
        line.take_polled(&reply);
        if reply.value.next_iterator.is_some() {
            reply.value.next_iterator = Some(token(line.generation));
        }
        Ok(Received::Reply(reply))
    }
}
