//! Room on the line for the puts of all shards: of many objects that are due at once, some are put at a time.
//!
//! Owns how many bytes may be under way together, who waits for room and who is woken. A thousand batches that began
//! together end together: put all at once on a slow line, none would be there within its deadline, and all would be put
//! again, for ever. Who waits for room goes on reading.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::stop::Stop;

/// What is smaller waits for the service, and not for the line: it needs no room.
pub const SMALL_PUT: u64 = 64 << 10;

/// Sixteen objects of 20 MiB, an hour's batch of a busy shard: S3 takes some 50 MB/s by each connection, so that they fill
/// a line of 10 Gbit/s. On one that is slower it shrinks.
const MOST: u64 = 320 << 20;

/// It does not shrink below this; one object is put however large it is.
const LEAST: u64 = 1 << 20;

/// A put that took at most this part of its time says that the line takes twice as much.
const EASY: u32 = 4;

/// How many bytes are under way, and who waits, over all shards of a stream.
#[derive(Debug)]
pub struct PutRoom {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    under_way: u64,
    limit: u64,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Of the shard, and of its stream's creation: an earlier one may be delivered beside today's.
    folder: String,
    bytes: u64,
    stop: Stop,
}

/// Room for one put, given back when dropped.
#[derive(Debug)]
pub struct TakenRoom {
    room: Arc<PutRoom>,
    bytes: u64,
    /// What the limit was.
    limit: u64,
}

/// How a put went, as far as it says something of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// There was an answer.
    Answered,
    /// There was none, or none in time.
    NoAnswer,
}

impl Default for PutRoom {
    fn default() -> Self {
        Self { state: Mutex::new(State { under_way: 0, limit: MOST, waiting: VecDeque::new() }) }
    }
}

impl PutRoom {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for so many bytes, or `None`: then `stop` is nudged when there may be some. Nobody passes who came before
    /// and still waits, or a large object would never be put among many small ones.
    pub fn take(self: &Arc<Self>, folder: &str, bytes: u64, stop: &Stop) -> Option<TakenRoom> {
        let mut state = self.state();
        let place = state.waiting.iter().position(|waiting| waiting.folder == folder);
        let before = place.unwrap_or(state.waiting.len());
        if state.fits(before, bytes) {
            if let Some(place) = place {
                state.waiting.remove(place);
            }
            state.under_way += bytes;
            return Some(TakenRoom { room: Arc::clone(self), bytes, limit: state.limit });
        }
        match place.and_then(|place| state.waiting.get_mut(place)) {
            Some(waiting) => waiting.bytes = bytes,
            None => state.waiting.push_back(Waiting { folder: folder.to_owned(), bytes, stop: stop.clone() }),
        }
        None
    }

    /// Whoever has this folder needs no room any more.
    pub fn leave(&self, folder: &str) {
        let mut state = self.state();
        state.waiting.retain(|waiting| waiting.folder != folder);
        state.wake();
    }

    /// For tests: bytes that may be under way together.
    #[cfg(test)]
    fn limit(&self) -> u64 {
        self.state().limit
    }
}

impl State {
    /// Whether so many bytes have room once all have theirs who came before: the first so many of those who wait.
    fn fits(&self, before: usize, bytes: u64) -> bool {
        let taken: u64 =
            self.waiting.iter().take(before).map(|waiting| waiting.bytes).sum::<u64>() + self.under_way;
        taken == 0 || taken + bytes <= self.limit
    }

    /// Wakes all for whom there is room.
    fn wake(&self) {
        let fitting =
            self.waiting.iter().enumerate().take_while(|(place, waiting)| self.fits(*place, waiting.bytes));
        fitting.for_each(|(_, waiting)| waiting.stop.nudge());
    }
}

impl TakenRoom {
    /// The put is over after so much time, of the longest that it may take. Puts that were under way together change the
    /// limit once.
    pub fn done(self, went: Went, took: Duration, longest: Duration) {
        let mut state = self.room.state();
        if state.limit != self.limit {
            return;
        }
        match went {
            Went::Answered if took <= longest / EASY => state.limit = (self.limit * 2).min(MOST),
            // What fails sooner (nobody there, a connection that was closed) says nothing of how fast the line is.
            Went::NoAnswer if took >= longest / 2 => state.limit = (self.limit / 2).max(LEAST),
            Went::Answered | Went::NoAnswer => {}
        }
    }
}

impl Drop for TakenRoom {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.under_way -= self.bytes;
        state.wake();
    }
}

/// What one shard has of the room: none, a place in the line, or room for its put, from before its claim until the put
/// is over. An entry whose object waits for others would look as if its writer had died.
#[derive(Debug)]
pub(super) struct PutPlace {
    room: Arc<PutRoom>,
    folder: String,
    stop: Stop,
    taken: Option<TakenRoom>,
    /// Whether it was asked for and not yet given.
    waits: bool,
    /// Whether it was asked for since [`Self::asked`].
    asked: bool,
}

impl PutPlace {
    pub(super) fn new(room: Arc<PutRoom>, folder: String, stop: Stop) -> Self {
        Self { room, folder, stop, taken: None, waits: false, asked: false }
    }

    /// Whether a put of so many bytes may go, now or when it is claimed; else the stop is nudged when there may be room.
    pub(super) fn may_put(&mut self, bytes: u64) -> bool {
        self.asked = true;
        if self.taken.is_some() {
            return true;
        }
        if bytes < SMALL_PUT {
            // What it waited with before may have been larger.
            self.let_go();
            return true;
        }
        self.taken = self.room.take(&self.folder, bytes, &self.stop);
        self.waits = self.taken.is_none();
        !self.waits
    }

    /// Whether it stands in the line.
    pub(super) const fn waits(&self) -> bool {
        self.waits
    }

    /// Whether room was asked for since this was last called.
    pub(super) fn asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }

    /// A put with this room is over.
    pub(super) fn done(&mut self, went: Option<Went>, took: Duration, longest: Duration) {
        if let (Some(taken), Some(went)) = (self.taken.take(), went) {
            taken.done(went, took, longest);
        }
    }

    /// Gives back what it has, and leaves the line.
    pub(super) fn let_go(&mut self) {
        self.taken = None;
        if std::mem::take(&mut self.waits) {
            self.room.leave(&self.folder);
        }
    }
}

impl Drop for PutPlace {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(50);
    const OBJECT: u64 = 20 << 20;

    fn shards() -> Vec<(String, Stop)> {
        (0..40).map(|n| (n.to_string(), Stop::new())).collect()
    }

    #[test]
    fn of_many_large_objects_some_are_put_at_once_and_the_others_are_woken_in_order() {
        let (room, shards) = (Arc::new(PutRoom::default()), shards());
        let seen: Vec<_> = shards.iter().map(|(_, stop)| stop.seen()).collect();
        let woken = || (0..40).filter(|n| shards[*n].1.seen() != seen[*n]).collect::<Vec<_>>();
        let ask = |n: usize, bytes| room.take(&shards[n].0, bytes, &shards[n].1);
        let mut held: Vec<_> = (0..40).filter_map(|n| ask(n, OBJECT)).collect();
        assert_eq!(held.len(), 16);
        assert!((16..40).all(|n| ask(n, OBJECT).is_none()), "who looks twice waits once");
        assert!(woken().is_empty());
        room.leave(&shards[17].0);
        held.truncate(14);
        assert_eq!(woken(), [16, 18], "there is room for two, and the second of those who waited has left");
        assert!(ask(19, OBJECT).is_none(), "the room is for those who came before");
        held.extend([ask(18, OBJECT), ask(16, OBJECT)].into_iter().flatten());
        assert_eq!(held.len(), 16);
        drop(held);
        assert!((19..35).all(|n| shards[n].1.seen() != seen[n]), "{:?}", woken());
    }

    #[test]
    fn one_object_is_put_however_large_it_is_and_no_small_ones_pass_it() {
        let (room, shards) = (Arc::new(PutRoom::default()), shards());
        let ask = |n: usize, bytes| room.take(&shards[n].0, bytes, &shards[n].1);
        let small = ask(0, SMALL_PUT).unwrap();
        assert!(ask(1, 2 * MOST).is_none());
        assert!(ask(2, SMALL_PUT).is_none(), "the large one would wait for ever");
        drop(small);
        let large = ask(1, 2 * MOST).unwrap();
        assert!(ask(2, SMALL_PUT).is_none());
        drop(large);
        assert!(ask(2, SMALL_PUT).is_some());
    }

    #[test]
    fn what_is_cut_makes_the_room_smaller_and_what_comes_easily_larger_again() {
        let (room, stop) = (Arc::new(PutRoom::default()), Stop::new());
        let put = |went, took| {
            room.take("a", OBJECT, &stop).unwrap().done(went, Duration::from_secs(took), LONGEST);
            room.limit()
        };
        assert_eq!(put(Went::NoAnswer, 1), MOST, "nobody there is no slow line");
        let (one, other) = (room.take("a", OBJECT, &stop).unwrap(), room.take("a", OBJECT, &stop).unwrap());
        one.done(Went::NoAnswer, LONGEST, LONGEST);
        other.done(Went::NoAnswer, LONGEST, LONGEST);
        assert_eq!(room.limit(), MOST / 2, "both were cut together");
        let mut limits = std::iter::repeat_with(|| put(Went::NoAnswer, 50));
        assert!(limits.by_ref().take(20).any(|limit| limit == LEAST));
        assert_eq!(limits.next(), Some(LEAST));
        assert_eq!(put(Went::Answered, 20), LEAST, "there was no time to spare");
        let mut limits = std::iter::repeat_with(|| put(Went::Answered, 5));
        assert!(limits.by_ref().take(20).any(|limit| limit == MOST));
        assert_eq!(limits.next(), Some(MOST));
    }

    /// As in `aws/s3/patience.rs`, whose doublings these puts are given: however slow the line, in the end they come.
    #[test]
    fn sixteen_objects_are_put_on_a_line_of_four_megabits() {
        const RATE: f64 = 500e3;
        let (room, shards) = (Arc::new(PutRoom::default()), shards());
        let (mut left, mut doublings): (Vec<usize>, u32) = ((0..16).collect(), 0);
        for _ in 0..60 {
            let longest = 30.0 + f64::from(1 << doublings) * 20.0;
            let held: Vec<_> = left
                .iter()
                .filter_map(|&n| Some((n, room.take(&shards[n].0, OBJECT, &shards[n].1)?)))
                .collect();
            let took = held.len() as f64 * OBJECT as f64 / RATE;
            let came = took < longest;
            doublings = if came { doublings } else { (doublings + 1).min(4) };
            for (n, taken) in held {
                let went = if came { Went::Answered } else { Went::NoAnswer };
                let spent = Duration::from_secs_f64(took.min(longest));
                taken.done(went, spent, Duration::from_secs_f64(longest));
                left.retain(|other| !came || *other != n);
            }
        }
        assert!(left.is_empty(), "{left:?} were never put");
    }

    #[test]
    fn a_shard_that_needs_its_place_no_more_lets_the_others_pass() {
        let room = Arc::new(PutRoom::default());
        let place = |n: usize| PutPlace::new(Arc::clone(&room), n.to_string(), Stop::new());
        let [mut first, mut second, mut third] = [0, 1, 2].map(place);
        assert!(first.may_put(MOST) && first.may_put(MOST), "it is taken once");
        assert!(!second.may_put(MOST) && second.waits() && second.asked() && !second.asked());
        assert!(third.may_put(SMALL_PUT - 1) && !third.may_put(SMALL_PUT));
        first.done(Some(Went::Answered), LONGEST, LONGEST);
        assert!(!third.may_put(SMALL_PUT), "the second came before");
        second.let_go();
        assert!(third.may_put(SMALL_PUT));
        drop(third);
        assert!(first.may_put(2 * MOST));
    }
}
