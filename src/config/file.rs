//! Reads keys out of a TOML document and remembers which keys exist.
//!
//! Owns lines, missing and unknown keys, and the nearest known one. Does not know any key by itself:
//! whatever was asked for is known.

use toml_edit::{Document, Item, Table, TableLike};

use super::error::Problem;
use super::value::kind;

/// A document, what was asked of it, and what was wrong with the answers.
pub(super) struct File<'a> {
    text: &'a str,
    root: &'a Table,
    problems: Vec<Problem>,
    known: Vec<Known>,
}

/// A table and the keys that may stand in it.
pub(super) struct Known {
    pub(super) table: &'static str,
    pub(super) keys: Vec<&'static str>,
}

/// One table of the file; empty if the file does not have it.
pub(super) struct Section<'f, 'a> {
    file: &'f mut File<'a>,
    known: Known,
    line: usize,
    table: Option<&'a dyn TableLike>,
}

/// Parses the text as TOML, without looking at what it says.
pub(super) fn document(text: &str) -> Result<Document<&str>, Problem> {
    Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        // Some of toml_edit's messages have several lines; each problem has one.
        let said = error.message().trim().replace('\n', ", ");
        Problem { line: line_at(text, at), message: format!("not TOML: {said}") }
    })
}

/// The line of a byte, from 1.
fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn line_of(text: &str, table: &dyn TableLike, key: &str) -> usize {
    let span = table.get_key_value(key).and_then(|(key, item)| key.span().or_else(|| item.span()));
    line_at(text, span.map_or(0, |span| span.start))
}

impl<'a> File<'a> {
    /// Nothing was asked of it yet.
    pub(super) fn new(text: &'a str, root: &'a Table) -> Self {
        Self { text, root, problems: Vec::new(), known: Vec::new() }
    }

    /// A table, to be asked for its keys.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'a> {
        let root = self.root;
        let item = root.get(name);
        let line = if item.is_some() { line_of(self.text, root, name) } else { 1 };
        let table = item.and_then(Item::as_table_like);
        if let (Some(item), None) = (item, table) {
            self.complain(line, format!("[{name}] must be a table, not {}", kind(item)));
        }
        Section { file: self, known: Known { table: name, keys: Vec::new() }, line, table }
    }

    fn complain(&mut self, line: usize, message: String) {
        self.problems.push(Problem { line, message });
    }

    /// Everything that is wrong, now that all known keys were asked for, by line; and all known keys.
    pub(super) fn finish(mut self) -> (Vec<Problem>, Vec<Known>) {
        let root = self.root;
        for (name, item) in root {
            let line = line_of(self.text, root, name);
            match self.known.iter().find(|known| known.table == name) {
                None => {
                    let message = self.unknown_at_top(name, item);
                    self.complain(line, message);
                }
                Some(known) => {
                    let Some(table) = item.as_table_like() else { continue };
                    let strangers: Vec<Problem> = table
                        .iter()
                        .filter(|(key, _)| !known.keys.contains(key))
                        .map(|(key, _)| Problem {
                            line: line_of(self.text, table, key),
                            message: self.unknown_key(known, key),
                        })
                        .collect();
                    self.problems.extend(strangers);
                }
            }
        }
        self.problems.sort_by_key(|problem| problem.line);
        (self.problems, self.known)
    }

    fn unknown_at_top(&self, name: &str, item: &Item) -> String {
        if item.is_table_like() || item.is_array_of_tables() {
            let tables: Vec<String> = self.known.iter().map(|known| format!("[{}]", known.table)).collect();
            let nearest = nearest(name, self.known.iter().map(|known| known.table));
            return match nearest {
                Some(table) => format!("[{name}] is not a known table; did you mean [{table}]?"),
                None => format!("[{name}] is not a known table; known are {}", tables.join(", ")),
            };
        }
        match self.known.iter().find(|known| known.keys.contains(&name)) {
            Some(known) => {
                format!("{name} stands outside of its table; did you mean [{}] {name}?", known.table)
            }
            None => {
                let all = self.known.iter().flat_map(|known| known.keys.iter().copied());
                let nearest = nearest(name, all).map(|key| format!("; did you mean {key}?"));
                format!(
                    "{name} is not a known key, and stands outside of all tables{}",
                    nearest.unwrap_or_default()
                )
            }
        }
    }

    fn unknown_key(&self, table: &Known, key: &str) -> String {
        let (name, elsewhere) = (table.table, self.known.iter().find(|known| known.keys.contains(&key)));
        let hint = match (nearest(key, table.keys.iter().copied()), elsewhere) {
            (_, Some(other)) => format!("did you mean [{}] {key}?", other.table),
            (Some(near), None) => format!("did you mean {near}?"),
            (None, None) => format!("known are {}", table.keys.join(", ")),
        };
        format!("[{name}] {key} is not a known key; {hint}")
    }
}

/// The candidate that is most like `word`, if any is like it at all.
fn nearest<'k>(word: &str, candidates: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness >= 0.7)
        .map(|(_, candidate)| candidate)
}

impl Section<'_, '_> {
    /// The value of a key, or `default` where the file does not have it.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&Item) -> Result<T, String>,
    ) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// The value of a key, if the file has it and it can be used.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Item) -> Result<T, String>,
    ) -> Option<T> {
        self.known.keys.push(key);
        let item = self.table?.get(key)?;
        parse(item).map_err(|complaint| self.complain(key, &complaint)).ok()
    }

    /// The value of a key that the file must have; `None` was complained about.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        what: &str,
        parse: impl FnOnce(&Item) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.optional(key, parse);
        if !self.has(key) {
            self.complain(key, &format!("is missing; it is required: {what}"));
        }
        value
    }

    /// Whether the file has the key, usable or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Something is wrong with a key.
    pub(super) fn complain(&mut self, key: &str, complaint: &str) {
        let line = match self.table {
            Some(table) if table.contains_key(key) => line_of(self.file.text, table, key),
            _ => self.line,
        };
        let message = format!("[{}] {key} {complaint}", self.known.table);
        self.file.complain(line, message);
    }
}

/// What was asked of it is what is known of it.
impl Drop for Section<'_, '_> {
    fn drop(&mut self) {
        let known = Known { table: self.known.table, keys: std::mem::take(&mut self.known.keys) };
        self.file.known.push(known);
    }
}
