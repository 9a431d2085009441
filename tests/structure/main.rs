//! Holds the shape of the house: who may import whom, how long a file may be, and that every promise
//! of docs/SEMANTICS.md names a test that exists. Reads the sources as text; needs nothing but std.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod imports;
mod operations;
mod promises;
mod source;

use imports::{ONLY_IN, ROWS, Row, imports_of};
use source::Source;

/// A file longer than this holds more than one thing; tests and their module's last lines not counted.
const LONGEST: usize = 400;

/// Files that may be longer, and why. Better: none.
const LONGER: [(&str, &str); 0] = [];

fn assert_none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}\n", wrong.join("\n  "));
}

fn row(module: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.module == module)
}

#[test]
fn the_rows_run_downward() {
    let place = |module: &str| ROWS.iter().position(|row| row.module == module);
    let mut wrong = Vec::new();
    for (at, row) in ROWS.iter().enumerate() {
        for below in row.may_import {
            if place(below).is_none_or(|place| place <= at) {
                wrong.push(format!("`{}` may not import `{below}`, which is not below it", row.module));
            }
        }
    }
    assert_none("the table of layers is not in order", &wrong);
}

#[test]
fn imports_run_downward() {
    let mut wrong = Vec::new();
    for source in Source::all() {
        let module = source.module();
        let Some(row) = row(module) else {
            wrong.push(format!("{}: `{module}` has no row in tests/structure/imports.rs", source.path));
            continue;
        };
        for import in imports_of(&source) {
            if import.module != module && !row.may_import.contains(&import.module.as_str()) {
                let line = import.line;
                wrong.push(format!("{}:{line}: `{module}` imports `{}`", source.path, import.module));
            }
        }
    }
    assert_none("imports that do not run downward", &wrong);
}

#[test]
fn foreign_crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for source in Source::all() {
        for (name, homes) in ONLY_IN {
            let at_home = homes.iter().any(|home| source.path.starts_with(home));
            let used = || source.code().find(|(_, line)| imports::names_crate(line, name));
            if let Some((line, _)) = (!at_home).then(used).flatten() {
                wrong.push(format!("{}:{line}: `{name}` belongs to {}", source.path, homes.join(", ")));
            }
        }
    }
    assert_none("crates outside of the room they belong to", &wrong);
}

#[test]
fn no_file_is_too_long() {
    let mut wrong = Vec::new();
    for source in Source::all() {
        let excused = LONGER.iter().any(|(path, _)| *path == source.path);
        let lines = source.length();
        if (lines > LONGEST) != excused {
            wrong.push(format!("{}: {lines} lines without tests, excused: {excused}", source.path));
        }
    }
    assert_none(&format!("files over {LONGEST} lines, or excused for nothing"), &wrong);
}

#[test]
fn every_file_says_what_it_owns() {
    let silent = |source: &Source| !source.text.starts_with("//!");
    let wrong: Vec<_> = Source::all().into_iter().filter(silent).map(|source| source.path).collect();
    assert_none("files that do not open with what they own", &wrong);
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let text = source::read("docs/SEMANTICS.md");
    let promises = promises::parse(&text);
    assert!(promises.len() > 20, "only {} promises were found", promises.len());
    let wrong: Vec<_> = promises.iter().flat_map(promises::faults).collect();
    assert_none("promises without a test", &wrong);
    let numbers: Vec<_> = promises.iter().map(|promise| promise.number).collect();
    let in_order: Vec<_> = (1..=promises.len()).collect();
    assert_eq!(numbers, in_order, "promises are numbered 1, 2, 3 …");
}
