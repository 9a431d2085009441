//! Whether a failure is news: the same trouble comes back with another request id in each answer.
//!
//! Owns how a request id stands in a message, and what is left of the message without it. Whoever says in the log
//! what lasts compares what is left; the log itself keeps the ids.

/// What stands before the id.
const BEFORE: &str = " (request id ";

/// What stands after it.
const AFTER: char = ')';

/// The id of the answer that told of a failure, as it is added to the message.
pub fn request_id(id: &str) -> String {
    format!("{BEFORE}{id}{AFTER}")
}

/// Whether `told` says something else than what was said `before`, and not the same of another request.
pub fn is_news(before: Option<&str>, told: &str) -> bool {
    before.is_none_or(|before| without_ids(before) != without_ids(told))
}

fn without_ids(told: &str) -> String {
    let mut parts = told.split(BEFORE);
    let mut left = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        left.push_str(part.split_once(AFTER).map_or("", |(_, after)| after));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_of_another_request_is_no_news() {
        let told = |code: &str, id: &str| format!("PutObject: {code}{}; IAM must allow it", request_id(id));
        assert!(is_news(None, &told("SlowDown", "a")));
        assert!(!is_news(Some(&told("SlowDown", "a")), &told("SlowDown", "b/+=")));
        assert!(is_news(Some(&told("SlowDown", "a")), &told("AccessDenied", "a")));
        let twice = |first: &str, second: &str| told(&told("x", first), second);
        assert!(!is_news(Some(&twice("a", "b")), &twice("c", "d")));
        assert!(is_news(Some(&twice("a", "b")), &told("x", "a")));
        assert!(!is_news(Some("no answer (in time)"), "no answer (in time)"));
        assert!(is_news(Some("no answer (in time)"), "no answer (at all)"));
    }
}
