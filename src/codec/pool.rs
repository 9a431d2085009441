//! The compressors that all batches of this process share.
//!
//! Owns how many work at once (one a core: more would only hold more memory) and which are kept for the
//! next text. Does not know what is compressed.

use std::num::NonZero;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The pool of a kind of compressors. What one gives does not depend on what it was used for before.
pub(super) struct Pool<T> {
    /// How many may work at once, and how many are kept.
    limit: LazyLock<usize>,
    state: Mutex<State<T>>,
    given_back: Condvar,
}

struct State<T> {
    /// With their levels, the one used last at the end.
    idle: Vec<(i32, T)>,
    working: usize,
}

impl<T> Pool<T> {
    /// As many as this process may use cores.
    pub(super) const fn new() -> Self {
        let limit = LazyLock::new(cores as fn() -> usize);
        let state = Mutex::new(State { idle: Vec::new(), working: 0 });
        Self { limit, state, given_back: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends a compressor of this level for the time of one text; waits while all cores compress.
    pub(super) fn with<R>(&self, level: i32, make: impl FnOnce() -> T, work: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.state();
        while state.working >= *self.limit {
            state = self.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.working += 1;
        let held = state.idle.iter().rposition(|(of, _)| *of == level).map(|at| state.idle.remove(at).1);
        drop(state);
        let mut lent = Lent { pool: self, level, held };
        work(lent.held.get_or_insert_with(make))
    }

    fn take_back(&self, level: i32, held: Option<T>) {
        let mut state = self.state();
        state.working -= 1;
        state.idle.extend(held.map(|held| (level, held)));
        // Of other levels, or of a peak that is over.
        let surplus = if state.idle.len() > *self.limit { Some(state.idle.remove(0)) } else { None };
        drop(state);
        self.given_back.notify_one();
        drop(surplus);
    }
}

/// Gives the compressor back, also when the work panics.
struct Lent<'a, T> {
    pool: &'a Pool<T>,
    level: i32,
    held: Option<T>,
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        // What panicked in the middle of a text is not used again.
        let held = self.held.take().filter(|_| !thread::panicking());
        self.pool.take_back(self.level, held);
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_a_core_works_and_is_used_again() {
        static POOL: Pool<usize> = Pool::new();
        let (made, working, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 * cores() {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let make = || made.fetch_add(1, Ordering::SeqCst);
                        POOL.with(6, make, |_| {
                            most.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            thread::yield_now();
                            working.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert!(most.into_inner() <= cores());
        assert!(made.into_inner() <= cores());
    }

    #[test]
    fn no_more_than_one_a_core_is_kept_whatever_the_levels() {
        static POOL: Pool<i32> = Pool::new();
        for level in 0..50 {
            assert_eq!(POOL.with(level, || level, |held| *held), level);
        }
        assert_eq!(POOL.state().idle.len(), cores());
        assert_eq!(POOL.with(49, || -1, |held| *held), 49, "the latest are kept");
    }

    #[test]
    fn one_that_panicked_is_not_used_again_and_holds_nobody_up() {
        static POOL: Pool<u32> = Pool::new();
        for _ in 0..2 * cores() {
            let panicking = || POOL.with(1, || 0, |_| panic!("on purpose"));
            assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        }
        assert_eq!(POOL.with(1, || 7, |held| *held), 7);
    }
}
