//! The OpenMetrics 1.0 text format.

use std::fmt::Write as _;

use super::families::Family;
use super::snapshot::{Reading, Snapshot, Standing};
use super::uploads::Uploads;
use crate::model::metric::Shape;

/// What `/metrics` answers.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes all numbers, each with what it means.
pub fn render(snapshot: &Snapshot) -> String {
    let mut out = String::with_capacity(8192 * (1 + snapshot.shards.len()));
    for (family, readings) in snapshot.families(Shape::TAGGED) {
        describe(family, &mut out);
        for reading in &readings {
            sample(family, &snapshot.stream, reading, &mut out);
        }
    }
    out.push_str("# EOF\n");
    out
}

fn describe(family: &Family, out: &mut String) {
    let name = metric_family(family);
    let kind = if name != family.open_metrics {
        "counter"
    } else if family.source == super::families::Source::Uploads {
        "histogram"
    } else {
        "gauge"
    };
    line(out, format_args!("# TYPE {name} {kind}"));
    // A unit may only be named where the metric family's name ends in it.
    if let Some(unit) = ["seconds", "bytes", "ratio"].into_iter().find(|unit| ends_in_unit(name, unit)) {
        line(out, format_args!("# UNIT {name} {unit}"));
    }
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    escape(family.help, out);
    out.push('\n');
}

/// A counter's family is named without the `_total` of its sample.
fn metric_family(family: &Family) -> &'static str {
    family.open_metrics.strip_suffix("_total").unwrap_or(family.open_metrics)
}

fn ends_in_unit(name: &str, unit: &str) -> bool {
    name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'))
}

fn sample(family: &Family, stream: &str, reading: &Reading<'_>, out: &mut String) {
    let labels = labels(stream, reading);
    let name = family.open_metrics;
    match reading.value {
        Standing::Count(count) => line(out, format_args!("{name}{{{labels}}} {count}")),
        Standing::Gauge(value) => line(out, format_args!("{name}{{{labels}}} {value}")),
        Standing::Uploads(uploads) => histogram(name, &labels, uploads, out),
    }
}

fn histogram(name: &str, labels: &str, uploads: &Uploads, out: &mut String) {
    for (bound, count) in uploads.cumulative() {
        // `{:?}` writes 1.0 and 0.01, the canonical form of a bound.
        line(out, format_args!("{name}_bucket{{{labels},le=\"{bound:?}\"}} {count}"));
    }
    let count = uploads.count();
    line(out, format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}"));
    line(out, format_args!("{name}_count{{{labels}}} {count}"));
    line(out, format_args!("{name}_sum{{{labels}}} {}", uploads.seconds()));
}

fn labels(stream: &str, reading: &Reading<'_>) -> String {
    let mut text = String::with_capacity(96);
    let mut add = |name: &str, value: &str| {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(value, &mut text);
        text.push('"');
    };
    add("stream", stream);
    if let Some(shard) = reading.shard {
        add("shard", shard.as_str());
    }
    reading.labels.iter().for_each(|(name, value)| add(name, value));
    text
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}

#[cfg(test)]
mod tests;
