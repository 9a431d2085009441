//! Runs one remote call on the shared runtime from a thread of its own, with a deadline and a stop.
//!
//! Owns how a blocking port becomes an asynchronous call and how it is cut short. Does not try
//! again: the SDK and the callers do.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::stop::{Stop, StopReason};

/// What the wrapper's deadline has on top of the SDK's own: the SDK ends a call first and tells
/// why; this one holds even if the SDK does not.
const GRACE: Duration = Duration::from_secs(1);

/// Which stop interrupts a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Any stop: reading ends at once.
    Stopped,
    /// Only [`StopReason::Abandoned`]: draining needs the call.
    Abandoned,
}

/// A call was cut short; whether it was applied is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// By a stop.
    Stopped,
    /// By its deadline.
    Deadline(Duration),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("interrupted by a stop"),
            Self::Deadline(after) => write!(f, "no answer within {} s", after.as_secs()),
        }
    }
}

/// The shared runtime as blocking ports use it.
///
/// Calls must come from a thread outside of the runtime, which must be a multi-thread one (it
/// drives the sockets) and outlive every caller.
#[derive(Clone, Debug)]
pub struct Blocking {
    handle: Handle,
}

impl Blocking {
    /// On this runtime.
    pub const fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Polls `call` once and does not wait for it: its output if that is there. If not, `stop` is
    /// nudged as soon as another look may find more, also after `call` was dropped.
    pub fn look<F: Future>(&self, stop: &Stop, call: F) -> Option<F::Output> {
        let _runtime = self.handle.enter();
        let waker = Waker::from(Arc::new(Nudge(stop.clone())));
        match Box::pin(call).as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// Waits for `call`, at most `deadline` (and a second of grace for the SDK's own), or until the stop. The
    /// call is dropped, and so ended, when it is cut. It runs on the runtime's own threads: it is woken there for
    /// each of its steps, and this thread once at the end.
    pub fn run<F>(&self, deadline: Duration, stop: &Stop, until: Until, call: F) -> Result<F::Output, Cut>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if is_over(stop, until) {
            return Err(Cut::Stopped);
        }
        let call = limited(deadline, stop.clone(), until, Box::pin(call));
        match self.handle.block_on(self.handle.spawn(call)) {
            Ok(outcome) => outcome,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down.
                Err(_) => Err(Cut::Stopped),
            },
        }
    }

    /// The same on this thread, for a call that borrows what it needs.
    pub fn run_here<F: Future>(
        &self,
        deadline: Duration,
        stop: &Stop,
        until: Until,
        call: F,
    ) -> Result<F::Output, Cut> {
        if is_over(stop, until) {
            return Err(Cut::Stopped);
        }
        // On the heap: the SDK's futures are large and shards' stacks are small.
        self.handle.block_on(limited(deadline, stop.clone(), until, Box::pin(call)))
    }
}

fn is_over(stop: &Stop, until: Until) -> bool {
    match until {
        Until::Stopped => stop.reason().is_some(),
        Until::Abandoned => stop.reason() == Some(StopReason::Abandoned),
    }
}

/// The call's output, or what cut it.
async fn limited<F>(deadline: Duration, stop: Stop, until: Until, call: F) -> Result<F::Output, Cut>
where
    F: Future + Unpin,
{
    let stopped = async {
        match until {
            Until::Stopped => stop.stopped().await,
            Until::Abandoned => stop.abandoned().await,
        }
    };
    match timeout(deadline + GRACE, first(call, Box::pin(stopped))).await {
        Ok(Some(output)) => Ok(output),
        Ok(None) => Err(Cut::Stopped),
        Err(_) => Err(Cut::Deadline(deadline)),
    }
}

/// Wakes the thread that waits on a stop.
struct Nudge(Stop);

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.0.nudge();
    }
}

/// The call's output, or `None` if the stop came first; an answer that is there wins.
async fn first<F, S>(mut call: F, mut stopped: S) -> Option<F::Output>
where
    F: Future + Unpin,
    S: Future<Output = ()> + Unpin,
{
    poll_fn(|context| {
        if let Poll::Ready(output) = std::pin::Pin::new(&mut call).poll(context) {
            return Poll::Ready(Some(output));
        }
        std::pin::Pin::new(&mut stopped).poll(context).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn a_stop_interrupts_a_call_and_draining_calls_go_on_until_abandoned() {
        let runtime = runtime();
        let blocking = Blocking::new(runtime.handle().clone());
        let stop = Stop::new();
        stop.stop(StopReason::Requested);
        let hour = Duration::from_secs(3600);
        let reading = blocking.run_here(hour, &stop, Until::Stopped, std::future::pending::<()>());
        assert_eq!(reading, Err(Cut::Stopped));
        assert_eq!(blocking.run_here(hour, &stop, Until::Abandoned, async { 7 }), Ok(7));
        let (later, draining) = (stop.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            Blocking::new(runtime.handle().clone()).run_here(
                hour,
                &draining,
                Until::Abandoned,
                std::future::pending::<()>(),
            )
        });
        later.stop(StopReason::Abandoned);
        assert_eq!(thread.join().unwrap(), Err(Cut::Stopped));
    }

    #[test]
    fn a_call_on_the_runtime_ends_as_one_here_and_its_panic_is_the_callers() {
        let runtime = runtime();
        let (blocking, hour) = (Blocking::new(runtime.handle().clone()), Duration::from_secs(3600));
        assert_eq!(blocking.run(hour, &Stop::new(), Until::Stopped, async { 7 }), Ok(7));
        let none = Duration::ZERO;
        let cut = blocking.run(none, &Stop::new(), Until::Stopped, std::future::pending::<()>());
        assert_eq!(cut, Err(Cut::Deadline(none)));
        let panicking = std::panic::AssertUnwindSafe(|| {
            blocking.run(hour, &Stop::new(), Until::Stopped, async { panic!("on purpose") })
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        let stop = Stop::new();
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || stopping.stop(StopReason::Requested));
        let reading = blocking.run(hour, &stop, Until::Stopped, std::future::pending::<()>());
        assert_eq!(reading, Err(Cut::Stopped));
        thread.join().unwrap();
        assert_eq!(blocking.run(hour, &stop, Until::Stopped, async { 7 }), Err(Cut::Stopped));
        assert_eq!(blocking.run(hour, &stop, Until::Abandoned, async { 7 }), Ok(7));
    }

    #[test]
    fn a_look_does_not_wait_and_nudges_when_there_is_more() {
        let runtime = runtime();
        let blocking = Blocking::new(runtime.handle().clone());
        let (stop, notify) = (Stop::new(), tokio::sync::Notify::new());
        let mut notified = Box::pin(notify.notified());
        assert_eq!(blocking.look(&stop, notified.as_mut()), None);
        let seen = stop.seen();
        notify.notify_one();
        assert_ne!(stop.seen(), seen);
        assert_eq!(blocking.look(&stop, notified), Some(()));
    }

    #[test]
    fn a_deadline_ends_a_call_that_never_answers() {
        let runtime = runtime();
        let blocking = Blocking::new(runtime.handle().clone());
        let none = Duration::ZERO;
        let cut = blocking.run_here(none, &Stop::new(), Until::Stopped, std::future::pending::<()>());
        assert_eq!(cut, Err(Cut::Deadline(none)));
    }
}
