//! A report as people read it: who runs, a table of shards with its totals, and what needs attention.

use std::fmt::Write as _;

use bytesize::ByteSize;

use super::report::{Report, ShardReport, Totals};
use crate::model::sequence::{Position, SequenceNumber};
use crate::model::timestamp::Timestamp;

const COLUMNS: usize = 10;

const HEADER: [&str; COLUMNS] = [
    "SHARD",
    "STATE",
    "POSITION",
    "BEHIND",
    "RETENTION",
    "BATCH",
    "SPOOL",
    "OUTBOX",
    "RESTARTS",
    "LAST OBJECT",
];

/// The columns of numbers, which stand to the right.
const NUMBERS: [bool; COLUMNS] = [false, false, false, true, true, true, true, true, true, false];

/// Sequence numbers have 56 digits, of which the last tell records of a shard apart; `--json` has all of them.
const DIGITS: usize = 12;

/// What nobody who was asked knows.
const UNKNOWN: &str = "-";

/// The whole text; with a `width` no line of the table is longer.
pub fn text(report: &Report, width: Option<usize>) -> String {
    let mut text = format!("{} -> {}\n{}\n", report.stream, report.archive, keeper(report));
    let root = report.archive.splitn(4, '/').nth(3).unwrap_or_default();
    let root = format!("{root}{}/", report.stream);
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(report.shards.iter().map(|shard| row(shard, &root, report.now)));
    rows.push(last_row(&report.totals));
    if report.shards.is_empty() {
        text.push_str("\nno shard has left anything on this disk yet\n");
    } else {
        text.push('\n');
        aligned(&rows, width, &mut text);
    }
    for warning in &report.warnings {
        let mark = if text.contains("\n! ") { "" } else { "\n" };
        let _ = writeln!(text, "{mark}! {warning}");
    }
    text
}

fn keeper(report: &Report) -> String {
    let keeper = &report.keeper;
    let held = keeper.holder.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let silent = keeper.no_answer.as_ref().map(|why| format!("; {why}, so this is what the disk knows"));
    let silent = silent.unwrap_or_default();
    match (keeper.running, keeper.since, keeper.healthy) {
        (_, Some(since), healthy) => {
            let health = if healthy == Some(true) { "every shard makes progress" } else { "NOT WELL" };
            let since = age(report.now.since(since).as_secs_f64());
            let program = keeper.program.as_deref().unwrap_or_default();
            format!("running since {since}{held}, version {program}: {health}")
        }
        (Some(true), ..) => format!("running{held}{silent}"),
        (Some(false), ..) => format!("not running; this is what {} knows", report.state_dir.display()),
        (None, ..) => format!("this system does not say whether it runs{silent}"),
    }
}

fn row(shard: &ShardReport, root: &str, now: Timestamp) -> [String; COLUMNS] {
    let batch = shard.batch.as_ref().map_or_else(
        || UNKNOWN.to_owned(),
        |batch| format!("{} / {} / {}", batch.records, ByteSize(batch.bytes), age(batch.age_seconds)),
    );
    let object = shard.last_object.as_ref().map_or_else(
        || shard.serial.map_or_else(|| UNKNOWN.to_owned(), |serial| format!("#{serial}")),
        |object| {
            let ago = age(now.since(object.archived_at).as_secs_f64());
            format!("#{} {ago} ago {}", object.serial, object.key.strip_prefix(root).unwrap_or(&object.key))
        },
    );
    [
        shard.shard.clone(),
        shard.state.clone(),
        position(shard),
        seconds(shard.lag_seconds),
        percent(shard.retention_used),
        batch,
        amount(shard.spool_items, shard.spool_bytes),
        shard.outbox_notices.to_string(),
        shard.restarts.map_or_else(|| UNKNOWN.to_owned(), |count| count.to_string()),
        object,
    ]
}

fn last_row(totals: &Totals) -> [String; COLUMNS] {
    let running = totals.running.map(|running| format!("{running} running")).unwrap_or_default();
    let batch = match (totals.batch_records, totals.batch_bytes) {
        (Some(records), Some(bytes)) => format!("{records} / {}", ByteSize(bytes)),
        _ => UNKNOWN.to_owned(),
    };
    [
        format!("total {}", totals.shards),
        running,
        String::new(),
        seconds(totals.lag_seconds),
        percent(totals.retention_used),
        batch,
        amount(totals.spool_items, totals.spool_bytes),
        match totals.hour_notices {
            0 => totals.outbox_notices.to_string(),
            hours => format!("{} ({hours} of hours)", totals.outbox_notices),
        },
        totals.restarts.map_or_else(|| UNKNOWN.to_owned(), |count| count.to_string()),
        format!("spool limit {}", ByteSize(totals.spool_limit)),
    ]
}

/// Where the archive ends: the newest ledger entry and the last record of it; what is read while there is none.
fn position(shard: &ShardReport) -> String {
    let entry = shard.serial.map(|serial| format!("#{serial} ")).unwrap_or_default();
    match (&shard.archived, &shard.read_to) {
        (Some(Position::Start), _) => "start".to_owned(),
        (Some(Position::End), _) => "end".to_owned(),
        (Some(Position::After(number)), _) => format!("{entry}{}", tail(number)),
        (Some(Position::Before(number)), _) => format!("{entry}before {}", tail(number)),
        (None, Some(number)) => format!("read {}", tail(number)),
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// `…575989136588`
fn tail(number: &SequenceNumber) -> String {
    let digits = number.as_str();
    match digits.len().checked_sub(DIGITS).filter(|more| *more > 0).and_then(|from| digits.get(from..)) {
        Some(last) => format!("…{last}"),
        None => digits.to_owned(),
    }
}

fn amount(items: u64, bytes: u64) -> String {
    match (items, bytes) {
        (0, 0) => "0".to_owned(),
        (0, bytes) => ByteSize(bytes).to_string(),
        (items, bytes) => format!("{items} / {}", ByteSize(bytes)),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| UNKNOWN.to_owned(), |share| format!("{:.1}%", share * 100.0))
}

fn seconds(lag: Option<f64>) -> String {
    lag.map_or_else(|| UNKNOWN.to_owned(), age)
}

/// `0s`, `59s`, `12m30s`, `5h07m`, `3d04h`: two units say enough.
fn age(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (minutes, hours) = (whole / 60, whole / 3600);
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{minutes}m{:02}s", whole % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{}d{:02}h", hours / 24, hours % 24),
    }
}

/// Columns as wide as their widest cell, two spaces apart.
fn aligned(rows: &[[String; COLUMNS]], width: Option<usize>, text: &mut String) {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = cell.chars().count().max(*widest);
        }
    }
    for row in rows {
        let mut line = String::new();
        for ((cell, widest), number) in row.iter().zip(widths).zip(NUMBERS) {
            let _ =
                if number { write!(line, "{cell:>widest$}  ") } else { write!(line, "{cell:<widest$}  ") };
        }
        let line = line.trim_end();
        match width.filter(|width| line.chars().count() > *width) {
            Some(width) => text.extend(line.chars().take(width)),
            None => text.push_str(line),
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_two_units() {
        let told: Vec<String> = [0.4, 59.9, 60.0, 750.0, 18_420.0, 273_600.0].into_iter().map(age).collect();
        assert_eq!(told, ["0s", "59s", "1m00s", "12m30s", "5h07m", "3d04h"]);
        assert_eq!(age(-5.0), "0s");
    }

    #[test]
    fn columns_are_aligned_and_cut_at_the_terminals_width() {
        let mut text = String::new();
        let rows = [
            HEADER.map(str::to_owned),
            ["a", "reading", "#1 7", "5s", "0.1%", "-", "0", "0", "0", "x"].map(str::to_owned),
        ];
        aligned(&rows, None, &mut text);
        assert_eq!(
            text,
            "SHARD  STATE    POSITION  BEHIND  RETENTION  BATCH  SPOOL  OUTBOX  RESTARTS  LAST OBJECT\n\
             a      reading  #1 7          5s       0.1%      -      0       0         0  x\n"
        );
        let mut text = String::new();
        aligned(&rows, Some(14), &mut text);
        assert_eq!(text, "SHARD  STATE  \na      reading\n");
    }
}
