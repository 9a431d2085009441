//! Says what lasts once a minute, not every time that it is seen.

use std::time::Duration;

use crate::ports::news::is_news;

/// How often the same thing is said.
const EVERY: Duration = Duration::from_secs(60);

/// What was said last, and when (monotonic).
#[derive(Clone, Debug, Default)]
pub(super) struct Reminder {
    said: Option<(String, Duration)>,
}

impl Reminder {
    /// Whether `what` is to be said now: it is new, or a minute has passed.
    pub(super) fn is_due(&mut self, what: &str, now: Duration) -> bool {
        let last = self.said.as_ref();
        let due = is_news(last.map(|(said, _)| said.as_str()), what)
            || last.is_some_and(|(_, at)| now >= *at + EVERY);
        if due {
            self.said = Some((what.to_owned(), now));
        }
        due
    }

    /// It is over: the next time it is new again.
    pub(super) fn forget(&mut self) {
        self.said = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::news::request_id;

    #[test]
    fn the_same_is_said_once_a_minute_and_news_at_once() {
        let mut reminder = Reminder::default();
        assert!(reminder.is_due("a", Duration::ZERO));
        assert!(!reminder.is_due("a", Duration::from_secs(59)));
        assert!(reminder.is_due("b", Duration::from_secs(59)));
        assert!(reminder.is_due("b", Duration::from_secs(119)));
        reminder.forget();
        assert!(reminder.is_due("b", Duration::from_secs(119)));
        let of = |id| format!("c{}", request_id(id));
        assert!(reminder.is_due(&of("1"), Duration::from_secs(200)));
        assert!(!reminder.is_due(&of("2"), Duration::from_secs(259)), "another request's is the same");
        assert!(reminder.is_due(&of("3"), Duration::from_secs(260)));
    }
}
