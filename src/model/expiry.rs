//! What a bucket surely deletes by itself, and when.
//!
//! Owns whether an object that is not there can be one that has expired. What is only perhaps deleted (by tags,
//! by size, under a longer prefix than the key's) is not here: an object that never came must not pass for one
//! that is over.

use std::time::Duration;

use super::timestamp::Timestamp;

/// The rules by which a bucket surely deletes what lies under a prefix; none: it deletes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    rules: Vec<ExpiryRule>,
}

/// Whatever lies under a prefix goes in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiryRule {
    /// What its keys begin with; empty: all.
    pub prefix: String,
    /// When they go.
    pub due: Due,
}

/// When an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// So long after it was put.
    After(Duration),
    /// On a day, with all that was there before it.
    On(Timestamp),
}

impl Expiry {
    /// By these rules.
    pub const fn new(rules: Vec<ExpiryRule>) -> Self {
        Self { rules }
    }

    /// Whether an object that was put under `key` at `put` has been deleted by `now`.
    pub fn has_taken(&self, key: &str, put: Timestamp, now: Timestamp) -> bool {
        self.rules.iter().filter(|rule| key.starts_with(&rule.prefix)).any(|rule| match rule.due {
            Due::After(life) => now >= put + life,
            Due::On(day) => put < day && day <= now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_rule_covers_and_whose_time_has_come_has_expired() {
        let at = Timestamp::from_seconds;
        let rule = |prefix: &str, due| ExpiryRule { prefix: prefix.to_owned(), due };
        let expiry = Expiry::new(vec![
            rule("a/s/dt=2025", Due::After(Duration::from_secs(10))),
            rule("a/", Due::After(Duration::from_secs(100))),
            rule("b/", Due::On(at(500))),
        ]);
        assert!(expiry.has_taken("a/s/dt=2025-01-01/x", at(0), at(10)));
        assert!(!expiry.has_taken("a/s/dt=2026-01-01/x", at(0), at(99)), "the rule of a longer prefix");
        assert!(expiry.has_taken("a/s/dt=2026-01-01/x", at(0), at(100)), "the shortest that covers it");
        assert!(!expiry.has_taken("c/x", at(0), at(1_000_000)));
        assert!(expiry.has_taken("b/x", at(499), at(500)));
        assert!(!expiry.has_taken("b/x", at(499), at(499)), "a day that is to come");
        assert!(!expiry.has_taken("b/x", at(500), at(900)), "what came after the day");
        assert!(!Expiry::default().has_taken("a/x", at(0), at(1_000_000)));
    }
}
