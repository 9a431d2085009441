//! Which module may import which, and which crates belong to one room alone.

use super::source::Source;

/// A module and those below it that it may import; it may always import itself.
pub struct Row {
    pub module: &'static str,
    pub may_import: &'static [&'static str],
}

const fn row(module: &'static str, may_import: &'static [&'static str]) -> Row {
    Row { module, may_import }
}

/// From the top of the house down to the ground. `lib` declares modules and imports none.
#[rustfmt::skip]
pub const ROWS: [Row; 20] = [
    row("main", &["commands", "config", "logging", "error"]),
    row("lib", &[]),
    row("commands", &["archive", "aws", "config", "logging", "supervisor", "metrics", "producer", "shard", "ledger", "spool", "codec", "ports", "model", "stop", "retry", "error"]),
    // Reads what shards wrote; stands beside them.
    row("archive", &["codec", "ports", "model", "stop", "retry"]),
    // Fakes of the ports, and what the fuzzers call; the product is compiled without it.
    row("testing", &["aws", "supervisor", "metrics", "shard", "ledger", "spool", "codec", "ports", "model", "stop", "retry", "error"]),
    // Implements ports, and is known to the commands alone (and to the fuzzers, which feed it).
    row("aws", &["ports", "model", "stop", "retry", "error"]),
    row("logging", &["config", "model", "error"]),
    row("config", &["model", "error"]),
    row("supervisor", &["metrics", "shard", "ledger", "spool", "codec", "ports", "model", "stop", "retry", "error"]),
    // Stands beside the shard: neither knows the other, and the supervisor hands one the other's meter.
    row("metrics", &["ports", "model", "stop", "error"]),
    // Stands beside the shard, too: it fills streams, and keeps none.
    row("producer", &["codec", "ports", "model", "retry"]),
    row("shard", &["ledger", "spool", "codec", "ports", "model", "stop", "retry"]),
    row("ledger", &["codec", "ports", "model", "stop", "retry", "error"]),
    row("spool", &["ports", "model", "stop", "retry", "error"]),
    row("codec", &["model"]),
    row("ports", &["model", "stop"]),
    // The ground: what anybody may use, and what uses nothing of ours.
    row("model", &[]),
    row("stop", &[]),
    row("retry", &[]),
    row("error", &[]),
];

/// Crates (or the beginning of their names) and the only places that may name them.
pub const ONLY_IN: [(&str, &[&str]); 13] = [
    ("anyhow", &["src/main.rs"]),
    ("aws_sdk_", &["src/aws/", "src/commands/demo/"]),
    ("aws_smithy_", &["src/aws/", "src/commands/demo/"]),
    ("aws_config", &["src/aws/", "src/commands/demo/"]),
    ("axum", &["src/commands/demo/"]),
    ("cadence", &["src/metrics/"]),
    ("clap", &["src/main.rs", "src/commands/"]),
    ("ferrokinesis", &["src/commands/demo/"]),
    ("hyper", &["src/metrics/", "src/commands/demo/"]),
    ("libdeflater", &["src/codec/"]),
    ("s3s", &["src/commands/demo/"]),
    ("syslog", &["src/logging", "src/commands/"]),
    ("toml_edit", &["src/config"]),
];

/// An import of one of our own modules.
pub struct Import {
    pub line: usize,
    pub module: String,
}

/// Every module directly below the crate that the file names, by `crate::`, by enough `super::`, or, in
/// the binary, by the crate's name.
pub fn imports_of(source: &Source) -> Vec<Import> {
    let to_the_crate = "super::".repeat(source.place().len());
    let mut imports = Vec::new();
    let mut open_list = false;
    for (line, text) in source.code() {
        let mut rest = text;
        if open_list {
            // `use crate::{` was cut over several lines; only the list's own level names modules.
            let names = rest.trim();
            open_list = !names.starts_with('}');
            let modules = names.split(',').filter_map(|name| identifier(name.trim()));
            imports.extend(modules.map(|module| Import { line, module }));
        }
        for start in ["crate::", "kinesis_keeper::", to_the_crate.as_str()] {
            rest = text;
            while let Some((before, after)) = rest.split_once(start) {
                rest = after;
                let own_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
                if !own_word {
                    continue;
                }
                if let Some(list) = after.strip_prefix('{') {
                    open_list |= !list.contains('}');
                    imports.extend(listed(list).into_iter().map(|module| Import { line, module }));
                } else {
                    imports.extend(identifier(after).map(|module| Import { line, module }));
                }
            }
        }
    }
    imports
}

/// The modules in `a, b::{c, d}, e};`.
fn listed(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut modules = Vec::new();
    let mut item = String::new();
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => modules.extend(identifier(std::mem::take(&mut item).trim())),
            c if depth == 0 => item.push(c),
            _ => {}
        }
    }
    modules.extend(identifier(item.trim()));
    modules
}

fn identifier(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let name = &text[..end];
    // A capital is a re-exported type at the crate's root, `self` the root itself: no module.
    (name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "self").then(|| name.to_owned())
}

/// Whether a line names a crate by a path.
pub fn names_crate(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = &line[..at];
        let after = &line[at + name.len()..];
        let after = if name.ends_with('_') { after.trim_start_matches(is_word) } else { after };
        !before.ends_with(|c: char| is_word(c) || c == ':' || c == '.' || c == '"') && after.starts_with("::")
    })
}
