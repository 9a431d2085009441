//! Signals, translated: what the operator asks for.
//!
//! Owns the handlers and the thread that waits for them. What is done about a signal is handed in.

use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::{SigId, flag, low_level};

use crate::error::Failure;
use crate::stop::{Stop, StopReason};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A graceful stop. A second SIGTERM or SIGINT ends the process at once, with exit code 1: what is sealed
    /// is on disk, and what is not is read again.
    Stop,
    /// Read the configuration file again.
    Reload,
    /// Seal now.
    Seal,
}

/// What signals ask a keeper for, which has no terminal.
pub const OF_A_KEEPER: &[(c_int, Asked)] =
    &[(SIGTERM, Asked::Stop), (SIGINT, Asked::Stop), (SIGHUP, Asked::Reload), (SIGUSR1, Asked::Seal)];
/// What signals ask a command for that ends by itself. SIGHUP comes when its terminal is closed.
const OF_A_COMMAND: &[(c_int, Asked)] =
    &[(SIGTERM, Asked::Stop), (SIGINT, Asked::Stop), (SIGHUP, Asked::Stop)];

/// Watches until it is dropped.
#[derive(Debug)]
pub struct SignalWatch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    hooks: Vec<SigId>,
}

/// Stops at SIGTERM, at SIGINT and when the terminal is closed; `nohup` is respected.
pub fn stop_at_signals(stop: &Stop) -> Result<SignalWatch, Failure> {
    let stop = stop.clone();
    let mut heeded = OF_A_COMMAND.to_vec();
    heeded.retain(|(signal, _)| *signal != SIGHUP || !is_ignored(SIGHUP));
    watch(&heeded, move |_| stop.stop(StopReason::Requested))
}

/// Calls `on`, on a thread of its own, for each of these signals that comes; others stay as they are.
pub fn watch(
    signals: &[(c_int, Asked)],
    mut on: impl FnMut(Asked) + Send + 'static,
) -> Result<SignalWatch, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot watch for signals: {error}"));
    let stopping = Arc::new(AtomicBool::new(false));
    let mut hooks = Vec::new();
    // Not SIGHUP: where a terminal is closed, the shell and the system each send one.
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag down and raises it, the second finds it up.
        hooks.push(flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping)).map_err(failed)?);
        hooks.push(flag::register(signal, Arc::clone(&stopping)).map_err(failed)?);
    }
    let meanings = signals.to_vec();
    let mut signals = Signals::new(meanings.iter().map(|(signal, _)| signal)).map_err(failed)?;
    let handle = signals.handle();
    let thread = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for came in signals.forever() {
                let meant = meanings.iter().find(|(signal, _)| *signal == came);
                meant.into_iter().for_each(|(_, asked)| on(*asked));
            }
        })
        .map_err(failed)?;
    Ok(SignalWatch { handle, thread: Some(thread), hooks })
}

/// Whether the process was started with this signal ignored, as `nohup` does it. Where the system does not
/// tell, it was not.
fn is_ignored(signal: c_int) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, signal))
}

fn ignores(status: &str, signal: c_int) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    (mask >> (signal - 1)) & 1 == 1
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
        let keeping = watch(OF_A_KEEPER, move |what| told.send(what).unwrap()).unwrap();
        for (signal, what) in [(SIGHUP, Asked::Reload), (SIGUSR1, Asked::Seal), (SIGTERM, Asked::Stop)] {
            low_level::raise(signal).unwrap();
            assert_eq!(asked.recv_timeout(Duration::from_secs(60)), Ok(what));
        }
        drop(keeping);
        assert!(asked.recv().is_err(), "the thread has ended");
    }

    #[test]
    fn ignored_signals_are_those_of_the_mask() {
        let status = "SigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\tffffffffffffffff\n";
        assert!(ignores(status, SIGHUP) && !ignores(status, SIGINT) && !ignores(status, SIGTERM));
        assert!(!ignores("", SIGHUP) && !ignores("SigIgn:\tno mask\n", SIGHUP));
    }
}
