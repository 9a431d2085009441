//! One log entry, and how it is written as text or JSON: always one line.

use std::fmt::{Debug, Write};

use serde_json::{Map, Value};
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::model::timestamp::Timestamp;

/// The name under which `tracing` hands over an event's text.
const MESSAGE: &str = "message";

/// The fields of an event or a span, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, old)) => *old = value,
            None => self.0.push((field.name(), value)),
        }
    }

    /// Adds those that it does not have yet.
    pub(super) fn extend(&mut self, more: &Self) {
        for (name, value) in &more.0 {
            if !self.0.iter().any(|(have, _)| have == name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    fn message(&self) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == MESSAGE).and_then(|(_, value)| value.as_str())
    }

    fn others(&self) -> impl Iterator<Item = &(&'static str, Value)> {
        self.0.iter().filter(|(name, _)| *name != MESSAGE)
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }
}

/// One event, ready to be written.
pub(super) struct Entry {
    /// How important it is.
    pub(super) level: Level,
    /// The module it comes from, where that is not ours.
    pub(super) foreign: Option<&'static str>,
    /// Its text and fields, then those of its spans.
    pub(super) fields: Fields,
}

impl Entry {
    /// `message name=value name="a value"`, without control characters.
    pub(super) fn text(&self) -> String {
        let mut line = String::with_capacity(160);
        if let Some(module) = self.foreign {
            line.push_str(module);
            line.push_str(": ");
        }
        escape(self.fields.message().unwrap_or_default(), &mut line);
        for (name, value) in self.fields.others() {
            // Writing to a String cannot fail.
            let _ = write!(line, " {name}=");
            match value {
                Value::String(text) if is_bare(text) => line.push_str(text),
                Value::String(text) => {
                    line.push('"');
                    escape(&text.replace('\\', "\\\\").replace('"', "\\\""), &mut line);
                    line.push('"');
                }
                other @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_)) => {
                    let _ = write!(line, "{other}");
                }
            }
        }
        line
    }

    /// A JSON object with `timestamp`, `level` and `message`, then the fields; a field that bears one of these
    /// names gets a trailing `_`.
    pub(super) fn json(&self, at: Timestamp) -> String {
        let mut object = Map::new();
        object.insert("timestamp".to_owned(), Value::from(at.to_string()));
        object.insert("level".to_owned(), Value::from(self.level.as_str()));
        object.insert(MESSAGE.to_owned(), Value::from(self.fields.message().unwrap_or_default()));
        if let Some(module) = self.foreign {
            object.insert("target".to_owned(), Value::from(module));
        }
        for (name, value) in self.fields.others() {
            let taken = object.contains_key(*name);
            object.insert(if taken { format!("{name}_") } else { (*name).to_owned() }, value.clone());
        }
        Value::Object(object).to_string()
    }
}

/// Whether a value can stand without quotes.
fn is_bare(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=' | '\\'))
}

/// Control characters as `\n`, `\t`, `\u{1b}`: an entry stays one line, and cannot steer a terminal.
fn escape(text: &str, line: &mut String) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}
