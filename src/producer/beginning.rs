//! What is asked of a stream before the first record: asked again while the stream is only busy.
//!
//! Owns how often. Once records are under way nothing here is used: they go on by the shards as last listed.

use fastrand::Rng;

use super::options::Options;
use crate::ports::put::{Answering, PutError, PutFault};
use crate::retry::Backoff;

/// How often it is asked. With the usual pace this takes six seconds: a limit of calls a second is over by then, and
/// mostly what a reshard keeps busy is, too.
const TRIES: u32 = 7;

/// Asks, and again where the answer is [`PutFault::Later`], at the pace of the options.
pub async fn ask<'a, T>(options: &Options, call: impl Fn() -> Answering<'a, T>) -> Result<T, PutError> {
    let mut random = Rng::with_seed(options.seed);
    let mut backoff = Backoff::new(options.pace);
    loop {
        match call().await {
            Err(error) if error.fault == PutFault::Later && backoff.failures() + 1 < TRIES => {
                tokio::time::sleep(backoff.next(&mut random)).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::retry::Pace;

    /// What comes of a call that fails so often, and how often it was made.
    fn asked(fault: PutFault, failing: u32) -> (Result<u32, PutError>, u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pace = Pace { first: Duration::from_millis(1), longest: Duration::from_millis(2) };
        let calls = AtomicU32::new(0);
        let call = || -> Answering<'_, u32> {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            let error = PutError { call: "ListShards", fault, message: "busy".into() };
            Box::pin(async move { if call < failing { Err(error) } else { Ok(call) } })
        };
        let outcome = runtime.block_on(ask(&Options { pace, ..Options::default() }, call));
        (outcome, calls.load(Ordering::SeqCst))
    }

    #[test]
    fn a_busy_stream_is_asked_again_and_not_for_ever_and_no_other_is() {
        assert_eq!(asked(PutFault::Later, 0), (Ok(0), 1));
        assert_eq!(asked(PutFault::Later, 6), (Ok(6), 7));
        let (outcome, calls) = asked(PutFault::Later, 7);
        assert_eq!((outcome.unwrap_err().to_string().as_str(), calls), ("ListShards failed: busy", 7));
        for fault in [PutFault::Unknown, PutFault::Invalid, PutFault::Fatal] {
            assert_eq!(asked(fault, 1).1, 1, "{fault:?}");
        }
    }
}
