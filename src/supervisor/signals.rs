//! Signals, translated: what the operator asks for.
//!
//! Owns the handlers and the thread that waits for them. What is done about a signal is handed in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::{SigId, flag, low_level};

use crate::error::Failure;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM, SIGINT: a graceful stop. The second one ends the process at once, with exit code 1:
    /// what is sealed is on disk, and what is not is read again.
    Stop,
    /// SIGHUP: read the configuration file again.
    Reload,
    /// SIGUSR1: seal now.
    Seal,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct SignalWatch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    hooks: Vec<SigId>,
}

/// Calls `on`, on a thread of its own, for each signal that comes.
pub fn watch(mut on: impl FnMut(Asked) + Send + 'static) -> Result<SignalWatch, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot watch for signals: {error}"));
    let stopping = Arc::new(AtomicBool::new(false));
    let mut hooks = Vec::new();
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag down and raises it, the second finds it up.
        hooks.push(flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping)).map_err(failed)?);
        hooks.push(flag::register(signal, Arc::clone(&stopping)).map_err(failed)?);
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(failed)?;
    let handle = signals.handle();
    let thread = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                on(match signal {
                    SIGHUP => Asked::Reload,
                    SIGUSR1 => Asked::Seal,
                    _ => Asked::Stop,
                });
            }
        })
        .map_err(failed)?;
    Ok(SignalWatch { handle, thread: Some(thread), hooks })
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed; nothing is left to be done about it.
            let _ = thread.join();
        }
        for hook in self.hooks.drain(..) {
            low_level::unregister(hook);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn signals_are_translated() {
        let (told, asked) = channel();
        let watch = watch(move |what| told.send(what).unwrap()).unwrap();
        for (signal, what) in [(SIGHUP, Asked::Reload), (SIGUSR1, Asked::Seal), (SIGTERM, Asked::Stop)] {
            low_level::raise(signal).unwrap();
            assert_eq!(asked.recv_timeout(Duration::from_secs(60)), Ok(what));
        }
        drop(watch);
        assert!(asked.recv().is_err(), "the thread has ended");
    }
}
