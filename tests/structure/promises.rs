//! The promises of docs/SEMANTICS.md: numbered lines, each followed by the tests that hold it.

use super::source::try_read;

/// One promise.
pub struct Promise {
    pub number: usize,
    /// `path::function`, as written.
    pub tests: Vec<String>,
}

/// A promise begins with `12. `; the lines `test: path::name` below it name its tests.
pub fn parse(text: &str) -> Vec<Promise> {
    let mut promises: Vec<Promise> = Vec::new();
    for line in text.lines() {
        let number = line.split_once(". ").and_then(|(number, _)| number.parse().ok());
        if let Some(number) = number {
            promises.push(Promise { number, tests: Vec::new() });
        } else if let Some(test) = line.trim().strip_prefix("test: ") {
            let promise = promises.last_mut().expect("a promise above its test");
            promise.tests.push(test.trim_matches('`').to_owned());
        }
    }
    promises
}

/// What is wrong with a promise.
pub fn faults(promise: &Promise) -> Vec<String> {
    let number = promise.number;
    if promise.tests.is_empty() {
        return vec![format!("promise {number} names no test")];
    }
    promise.tests.iter().filter_map(|test| fault(test)).map(|fault| format!("{number}. {fault}")).collect()
}

fn fault(test: &str) -> Option<String> {
    let Some((path, name)) = test.rsplit_once("::") else {
        return Some(format!("`{test}` is not path::name"));
    };
    let Some(text) = try_read(path) else { return Some(format!("{path} does not exist")) };
    let declared = text.match_indices("fn ").any(|(at, _)| {
        let rest = &text[at + 3..];
        rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(['(', '<']))
    });
    (!declared).then(|| format!("{path} has no function {name}"))
}
