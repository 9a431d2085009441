//! The calls of `check`: each asks a service one thing, and says what it answered or why it did not.
//!
//! Owns what is sent and what a refusal means to whoever sets permissions. Changes nothing anywhere; what is
//! made of the answers is the command's business.

mod bucket;
mod identity;
mod stream;
mod topic;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::timeout::TimeoutConfig;

pub use bucket::{BucketTrial, Expiring};
pub use identity::Caller;
pub use stream::{ConsumerFacts, StreamFacts, StreamTrial};
pub use topic::TopicFacts;

use super::answer::AnswerDate;
use super::blocking::{Blocking, Until};
use super::errors::{Cause, Refusal};
use crate::ports::Clock;
use crate::stop::Stop;

/// Every call is small. With the SDK's tries and their pauses.
const DEADLINE: Duration = Duration::from_secs(10);

/// Makes the calls.
#[derive(Clone)]
pub struct Trial {
    blocking: Blocking,
    stop: Stop,
    clock: Arc<dyn Clock>,
    date: AnswerDate,
    /// Milliseconds that our clock is ahead of the services'; [`UNKNOWN`] before a dated answer.
    ahead: Arc<AtomicI64>,
}

const UNKNOWN: i64 = i64::MIN;

/// Why a call did not give what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedKind {
    /// Policies do not allow it.
    Denied,
    /// What it is about does not exist.
    NotFound,
    /// The credentials are missing, expired or unknown.
    Credentials,
    /// Nothing answered.
    Silent,
    /// A stop.
    Stopped,
    /// Anything else.
    Other,
}

/// A call did not give what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub kind: RefusedKind,
    /// The service's error code; empty where it gave none.
    pub code: String,
    /// What the service said, and what to do where that is known.
    pub said: String,
}

impl Trial {
    /// Makes its calls until `stop`.
    pub fn new(blocking: Blocking, stop: Stop, clock: Arc<dyn Clock>) -> Self {
        let ahead = Arc::new(AtomicI64::new(UNKNOWN));
        Self { blocking, stop, clock, date: AnswerDate::new(), ahead }
    }

    /// How many seconds our clock is ahead of the services', by the last answer that had a date.
    pub fn seconds_ahead(&self) -> Option<i64> {
        Some(self.ahead.load(Ordering::Acquire))
            .filter(|millis| *millis != UNKNOWN)
            .map(|millis| millis / 1000)
    }

    fn call<T, E>(
        &self,
        sending: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Refused>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let outcome = self.blocking.run_here(DEADLINE, &self.stop, Until::Stopped, sending);
        if let Some(theirs) = self.date.take() {
            let ahead = self.clock.now().as_millis() - theirs.as_millis();
            self.ahead.store(ahead, Ordering::Release);
        }
        let refusal = match outcome {
            Ok(Ok(output)) => return Ok(output),
            Ok(Err(error)) => Refusal::of(&error),
            Err(cut) => Refusal::cut(cut),
        };
        Err(refused(&refusal))
    }
}

fn refused(refusal: &Refusal) -> Refused {
    let missing = refusal.code.starts_with("NoSuch")
        || matches!(refusal.code.as_str(), "ResourceNotFoundException" | "NotFound" | "NotFoundException");
    let kind = match refusal.cause {
        Cause::Stopped => RefusedKind::Stopped,
        Cause::NoAnswer | Cause::NeverSent => RefusedKind::Silent,
        Cause::NoCredentials => RefusedKind::Credentials,
        _ if refusal.is_denied() => RefusedKind::Denied,
        // Any other refusal to which something about the credentials is to be said.
        _ if refusal.label() == "access_denied" => RefusedKind::Credentials,
        Cause::Answered(404) => RefusedKind::NotFound,
        Cause::Answered(_) if missing => RefusedKind::NotFound,
        Cause::Answered(_) | Cause::Unsendable => RefusedKind::Other,
    };
    let said = if kind == RefusedKind::Denied { refusal.message.clone() } else { refusal.advice("the call") };
    Refused { kind, code: refusal.code.clone(), said }
}

/// One operation with all its tries; one try gets half, so that a dead connection leaves time for another.
fn limits() -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(DEADLINE).operation_attempt_timeout(DEADLINE / 2).build()
}
