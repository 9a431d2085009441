//! Which items of the input are done.
//!
//! Owns the count of items, from the first on, that are all done (delivered, passed over, or safe among the
//! dead letters), and the stretches of items behind it that are done, too.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A stretch of items: its first, and the one after its last.
pub(super) type Stretch = (u64, u64);

/// Items that are done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Items {
    /// All items before it are done.
    first: u64,
    /// Behind it: the first item of each stretch, and the one after its last. No two touch.
    beyond: BTreeMap<u64, u64>,
}

impl Items {
    /// All before `first`, and these stretches; `None` if they are not in order, or touch.
    pub(super) fn new(first: u64, beyond: &[Stretch]) -> Option<Self> {
        let ends = std::iter::once(first).chain(beyond.iter().map(|(_, end)| *end));
        let in_order = ends.zip(beyond).all(|(before, (from, end))| before < *from && from < end);
        in_order.then(|| Self { first, beyond: beyond.iter().copied().collect() })
    }

    /// All items before this one are done.
    pub(super) const fn first_open(&self) -> u64 {
        self.first
    }

    /// Whether this item is done.
    pub(super) fn contains(&self, item: u64) -> bool {
        let before = || self.beyond.range(..=item).next_back();
        item < self.first || before().is_some_and(|(_, end)| item < *end)
    }

    /// The stretches behind the first open item, as many as asked for.
    pub(super) fn beyond(&self, most: usize) -> Vec<Stretch> {
        self.beyond.iter().take(most).map(|(from, end)| (*from, *end)).collect()
    }

    /// How many are done behind the first open item.
    pub(super) fn done_behind(&self) -> u64 {
        self.beyond.iter().map(|(from, end)| end - from).sum()
    }

    fn add(&mut self, item: u64) {
        if self.contains(item) {
            return;
        }
        // It may close the hole between two stretches, of which the first may be that from the beginning.
        let end = self.beyond.remove(&(item + 1)).unwrap_or(item + 1);
        if item == self.first {
            self.first = end;
            return;
        }
        match self.beyond.range_mut(..item).next_back() {
            Some((_, before)) if *before == item => *before = end,
            Some(_) | None => {
                self.beyond.insert(item, end);
            }
        }
    }
}

/// The items that are done, as they become so.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    items: Mutex<Items>,
}

impl Tracker {
    /// These were done in an earlier run.
    pub(super) fn new(items: Items) -> Self {
        Self { items: Mutex::new(items) }
    }

    /// This item is done.
    pub(super) fn done(&self, item: u64) {
        self.with(|items| items.add(item));
    }

    /// All items before this one are done.
    pub(super) fn first_open(&self) -> u64 {
        self.with(|items| items.first_open())
    }

    /// Looks at all that are done.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Items) -> T) -> T {
        look(&mut self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_done_from_the_first_on_counts_and_the_rest_is_known() {
        let tracker = Tracker::new(Items::new(10, &[]).unwrap());
        let steps: [(u64, u64, &[Stretch]); 9] = [
            (12, 10, &[(12, 13)]),
            (10, 11, &[(12, 13)]),
            (13, 11, &[(12, 14)]),
            (16, 11, &[(12, 14), (16, 17)]),
            (10, 11, &[(12, 14), (16, 17)]),
            (3, 11, &[(12, 14), (16, 17)]),
            (15, 11, &[(12, 14), (15, 17)]),
            (14, 11, &[(12, 17)]),
            (11, 17, &[]),
        ];
        for (item, open, beyond) in steps {
            tracker.done(item);
            assert_eq!(tracker.first_open(), open, "after {item}");
            let items = tracker.with(|items| items.clone());
            assert_eq!(items.beyond(100), beyond, "after {item}");
            assert_eq!(Items::new(open, beyond), Some(items));
        }
    }

    #[test]
    fn any_order_comes_to_the_same() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut items = Items::default();
        let mut done = [false; 200];
        for _ in 0..500 {
            let item = random.usize(..done.len());
            done[item] = true;
            items.add(item as u64);
            for (at, is_done) in done.iter().enumerate() {
                assert_eq!(items.contains(at as u64), *is_done, "{at}");
            }
            let first = done.iter().position(|done| !done).unwrap_or(done.len()) as u64;
            assert_eq!(items.first_open(), first);
            assert_eq!(Items::new(first, &items.beyond(1_000)).unwrap(), items);
        }
        assert!(items.beyond(3).len() <= 3);
        for wrong in [&[(0, 2)][..], &[(3, 3)], &[(5, 7), (7, 8)], &[(5, 9), (2, 3)]] {
            assert_eq!(Items::new(0, wrong), None, "{wrong:?}");
        }
    }
}
