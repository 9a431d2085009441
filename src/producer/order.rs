//! Order within a partition key: at most one record of a key is on its way, the others wait here.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};

use super::entry::Entry;

/// The keys of which a record is on its way, and the records that wait for it.
#[derive(Debug, Default)]
pub(super) struct Order {
    busy: HashMap<u128, VecDeque<Entry>>,
}

impl Order {
    /// Gives the record back if it may go; keeps it if one of its key is on its way.
    pub(super) fn enter(&mut self, entry: Entry) -> Option<Entry> {
        match self.busy.entry(entry.order_key()) {
            Slot::Occupied(mut waiting) => {
                waiting.get_mut().push_back(entry);
                None
            }
            Slot::Vacant(free) => {
                free.insert(VecDeque::new());
                Some(entry)
            }
        }
    }

    /// The record of this key is through (or given up): the next one may go.
    pub(super) fn leave(&mut self, order_key: u128) -> Option<Entry> {
        let waiting = self.busy.get_mut(&order_key)?;
        let next = waiting.pop_front();
        if next.is_none() {
            self.busy.remove(&order_key);
        }
        next
    }

    /// All that wait.
    pub(super) fn drain(&mut self) -> Vec<Entry> {
        self.busy.drain().flat_map(|(_, waiting)| waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::entry::tests::record;
    use super::*;

    #[test]
    fn later_records_of_a_key_wait_for_the_one_before() {
        let mut order = Order::default();
        let entry = |serial, key| Entry::new(record(serial, key, 10), serial, 0, Duration::ZERO);
        let first = order.enter(entry(0, "a")).unwrap();
        assert!(order.enter(entry(1, "a")).is_none());
        assert!(order.enter(entry(2, "b")).is_some());
        assert!(order.enter(entry(3, "a")).is_none());
        assert_eq!(order.leave(first.order_key()).unwrap().serial, 1);
        assert_eq!(order.leave(first.order_key()).unwrap().serial, 3);
        assert!(order.leave(first.order_key()).is_none());
        assert!(order.enter(entry(4, "a")).is_some());
        assert!(order.enter(entry(5, "a")).is_none());
        assert_eq!(order.drain().len(), 1);
    }
}
