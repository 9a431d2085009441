//! What was found, as a table: on the screen, and in docs/ between two marks.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::runs::{Pace, Paced};
use super::{Outcome, chart, contenders};

pub const PATH: &str = "the path alone, one thread, at its best";
pub const CROWDED: &str = "the path alone, all cores at once";
/// The daemon of so many shards is held against the path and the contenders: few enough to end soon, and
/// so much data that its start does not count.
pub const COMPARED: u64 = 64;

const BEGIN: &str = "<!-- written by `cargo bench --bench daemon -- --write`: begin -->";
const END: &str = "<!-- end -->";

pub fn daemon(shards: u64) -> String {
    format!("daemon, {shards} shard{}", if shards == 1 { "" } else { "s" })
}

/// One contender on one input.
#[derive(Clone)]
pub struct Row {
    pub input: &'static str,
    pub what: String,
    pub level: Option<u32>,
    /// MB of payload a CPU second.
    pub rate: f64,
    /// MiB at most.
    pub memory: Option<u64>,
}

impl Row {
    pub fn new(input: &'static str, what: &str, level: Option<u32>, rate: f64) -> Self {
        Self { input, what: what.to_owned(), level, rate, memory: None }
    }

    pub fn name(&self) -> String {
        match self.level {
            Some(1) if cfg!(feature = "isal") => format!("{}, level 1 by ISA-L", self.what),
            Some(level) => format!("{}, level {level}", self.what),
            None => self.what.clone(),
        }
    }
}

/// A number that is due.
struct Due {
    what: String,
    due: String,
    found: String,
    holds: bool,
}

/// All that was found.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    due: Vec<Due>,
}

impl Report {
    pub fn row(&mut self, row: Row) {
        let memory = row.memory.map_or_else(String::new, |memory| format!("{memory:>6} MiB at most"));
        println!("{:<9} {:<48} {:>8.1} MB a CPU second {memory}", row.input, row.name(), row.rate);
        self.rows.push(row);
    }

    fn at_least(&mut self, what: impl Into<String>, least: f64, found: f64) {
        self.due.push(Due {
            what: what.into(),
            due: format!("at least {least:.2}"),
            found: format!("{found:.2}"),
            holds: found >= least,
        });
    }

    fn under(&mut self, what: impl Into<String>, most: f64, found: f64, unit: &str) {
        self.due.push(Due {
            what: what.into(),
            due: format!("under {most} {unit}"),
            found: format!("{found:.1} {unit}"),
            holds: found < most,
        });
    }

    /// Our decoder against the SDK's parse.
    pub fn decoded(&mut self, input: &str, ratio: f64) {
        let least = if input == "json1k" { 4.0 } else { 3.5 };
        self.at_least(format!("{input}: decoding a reply, against the SDK's own parse"), least, ratio);
    }

    /// The path against compressing and hashing alone.
    pub fn path(&mut self, input: &str, level: u32, ratio: f64) {
        if (input, level) == ("json1k", 6) {
            let what =
                "json1k: reply to sealed object at level 6, against compressing and hashing the lines alone";
            self.at_least(what, 0.8, ratio);
        }
    }

    pub fn scale(&mut self, pace: Pace, found: &Paced, share: f64) {
        let what =
            format!("{} shards at 20 KB/s, {} s, batches of {} s", pace.shards, pace.seconds, found.max_age);
        self.under(format!("{what}: CPU"), 60.0, share * 100.0, "% of all cores");
        self.under(format!("{what}: peak RSS"), 1024.0, found.memory as f64, "MiB");
        self.under(format!("{what}: 99 of 100 records are read within"), 3000.0, found.p99 as f64, "ms");
    }

    pub fn idle(&mut self, pace: Pace, found: &Paced) {
        let what = format!("{} idle shards", pace.shards);
        self.under(format!("{what}: CPU"), 3.0, found.cores * 100.0, "% of a core");
        self.under(format!("{what}: peak RSS"), 120.0, found.memory as f64, "MiB");
    }

    pub fn latency(&mut self, pace: Pace, found: &Paced) {
        let what = format!("{} shards at a record a second: record put to record read", pace.shards);
        self.under(format!("{what}, median"), 600.0, found.median as f64, "ms");
        self.under(format!("{what}, 99 of 100"), 1500.0, found.p99 as f64, "ms");
    }

    fn rate(&self, input: &str, what: &str, level: Option<u32>) -> Option<f64> {
        let found = self.rows.iter().find(|row| row.input == input && row.what == what && row.level == level);
        found.map(|row| row.rate)
    }

    /// The numbers due that are ratios of rows.
    fn compared(&mut self) {
        let daemon = daemon(COMPARED);
        let mut due = Vec::new();
        let mut against = |input: &str, level: u32, (other, its): (&str, Option<u32>), least: f64| {
            if let (Some(own), Some(other_rate)) =
                (self.rate(input, &daemon, Some(level)), self.rate(input, other, its))
            {
                due.push((
                    format!("{input}: {daemon}, level {level}, against {other}"),
                    least,
                    own / other_rate,
                ));
            }
        };
        // It uses all cores, too.
        against("json1k", 6, (CROWDED, Some(6)), 0.8);
        against("json1k", 6, (contenders::NAIVE, None), 2.3);
        against("json1k", 1, (contenders::NAIVE, None), 4.0);
        against("json1k", 6, (contenders::BOTO3, None), 6.0);
        against("small100", 6, (contenders::BOTO3, None), 10.0);
        for (what, least, found) in due {
            self.at_least(what, least, found);
        }
    }

    /// The rows with their ratios, and the numbers due, as Markdown.
    fn tables(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        writeln!(
            out,
            "| input | | MB a CPU second | of the path at its best | of the path on all cores | × naive | × boto3 | MiB at most |"
        )?;
        writeln!(out, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for row in &self.rows {
            let times = |what: &str, level: Option<u32>| {
                let rate = self.rate(row.input, what, level);
                rate.map_or_else(String::new, |rate| format!("{:.2}", row.rate / rate))
            };
            let of = |path| row.level.map_or_else(String::new, |level| times(path, Some(level)));
            let (best, crowded) = (of(PATH), of(CROWDED));
            let (naive, boto3) = (times(contenders::NAIVE, None), times(contenders::BOTO3, None));
            let memory = row.memory.map_or_else(String::new, |memory| memory.to_string());
            let (input, name, rate) = (row.input, row.name(), row.rate);
            writeln!(
                out,
                "| {input} | {name} | {rate:.1} | {best} | {crowded} | {naive} | {boto3} | {memory} |"
            )?;
        }
        writeln!(out, "\n| number | due | found | |")?;
        writeln!(out, "| --- | --- | --- | --- |")?;
        for Due { what, due, found, holds } in &self.due {
            writeln!(
                out,
                "| {what} | {due} | {found} | {} |",
                if *holds { "holds" } else { "**not reached**" }
            )?;
        }
        Ok(out)
    }

    pub fn print(&mut self) {
        self.compared();
        println!("\n{}", self.tables().unwrap_or_default());
    }

    /// Writes table and plot into docs/; to be called after [`Report::print`].
    pub fn write(&self) -> Outcome<()> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let page = docs.join("PERFORMANCE.md");
        let text = fs::read_to_string(&page)?;
        let (before, rest) =
            text.split_once(BEGIN).ok_or("docs/PERFORMANCE.md has no place for the table")?;
        let (_, after) = rest.split_once(END).ok_or("docs/PERFORMANCE.md has no end of the table")?;
        let told = format!(
            "{BEGIN}\n\n{}, by `cargo bench --bench daemon -- --write`.\n\n![MB of payload a CPU second](performance.svg)\n\n{}\n{END}",
            machine()?,
            self.tables()?
        );
        fs::write(&page, format!("{before}{told}{after}"))?;
        fs::write(docs.join("performance.svg"), chart::drawn(&self.rows, &machine()?))?;
        Ok(())
    }
}

/// What it ran on, and when.
fn machine() -> Outcome<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("an unknown processor", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism()?;
    let day = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d").to_string();
    Ok(format!("On {cores} cores of {model}, {day}"))
}
