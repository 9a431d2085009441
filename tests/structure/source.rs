//! The product's source files, as text without comments and tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file under `src/` that is not a test.
pub struct Source {
    /// From the project's folder, with `/`.
    pub path: String,
    pub text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the project.
pub fn read(path: &str) -> String {
    try_read(path).unwrap_or_else(|| panic!("{path} cannot be read"))
}

/// A file of the project, if it is there.
pub fn try_read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the sources") {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

impl Source {
    /// Every file of the product, in order.
    pub fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        walk(&root().join("src"), &mut paths);
        paths.sort();
        let read = |path: PathBuf| {
            let relative = path.strip_prefix(root()).expect("a path in the project");
            let names: Vec<_> = relative.iter().map(|name| name.to_string_lossy()).collect();
            Self { path: names.join("/"), text: fs::read_to_string(&path).expect("a source file") }
        };
        let mut sources: Vec<_> = paths.into_iter().map(read).collect();
        let tests: BTreeSet<_> = sources.iter().flat_map(Self::test_modules).collect();
        let is_test = |source: &Self| {
            let place = source.place();
            (1..=place.len()).any(|len| tests.contains(&place[..len]))
        };
        sources.retain(|source| !is_test(source));
        sources
    }

    /// The path of its module below the crate: `src/shard/budget.rs` is `shard`, `budget`.
    pub fn place(&self) -> Vec<String> {
        let names = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut place: Vec<_> = names.split('/').map(str::to_owned).collect();
        place.pop_if(|last| last == "mod");
        place
    }

    /// The module directly below the crate that it belongs to.
    pub fn module(&self) -> &str {
        let name = self.path.trim_start_matches("src/").split('/').next().unwrap_or_default();
        name.trim_end_matches(".rs")
    }

    /// The modules that it declares for tests alone.
    fn test_modules(&self) -> Vec<Vec<String>> {
        let lines: Vec<_> = self.text.lines().map(str::trim).collect();
        let after_test = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").map(|pair| pair[1]);
        let names = after_test.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        names.map(|name| [self.place(), vec![name.to_owned()]].concat()).collect()
    }

    /// Its lines with their numbers, without comments and without what is compiled for tests alone.
    /// (Every file is formatted, so an item ends at the first `}` that stands as far in as it began.)
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut kept = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            if matches!(line.trim(), "#[cfg(test)]" | "#[cfg(any(test, feature = \"testing\"))]") {
                skip_item(&mut lines);
            } else if !line.trim_start().starts_with("//") {
                kept.push((at + 1, line.split(" // ").next().unwrap_or_default()));
            }
        }
        kept.into_iter()
    }

    /// Its lines up to its test module.
    pub fn length(&self) -> usize {
        let lines: Vec<_> = self.text.lines().collect();
        let starts_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests");
        lines.windows(2).position(starts_tests).unwrap_or(lines.len())
    }
}

fn skip_item<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) {
    let Some((_, mut line)) = lines.next() else { return };
    while line.trim_start().starts_with("#[") {
        let Some((_, next)) = lines.next() else { return };
        line = next;
    }
    let indent = line.len() - line.trim_start().len();
    while !ends_item(line, indent) {
        let Some((_, next)) = lines.next() else { return };
        line = next;
    }
}

/// A line such as `use x;`, `field: u8,` or `{}` is a whole item; so is the `}` that stands as far in.
fn ends_item(line: &str, indent: usize) -> bool {
    let text = line.trim_end();
    text.len() - text.trim_start().len() == indent && text.ends_with([';', ',', '}'])
}
