//! The chain of manifests as it lies there: one row an hour, from the first to the newest.
//!
//! Owns which manifests are read and where one is expected. What they say is judged elsewhere.

use std::collections::BTreeMap;

use super::Question;
use crate::archive::fault::{Fault, FaultKind};
use crate::archive::strays::hour_of_folder;
use crate::codec::hash::sha256_hex;
use crate::model::hour::{HourManifest, HoursStart, to_bytes};
use crate::model::key::Layout;
use crate::model::timestamp::Hour;
use crate::ports::StoreError;
use crate::stop::Stop;

/// One hour's manifest.
pub(super) struct Row {
    pub(super) hour: Hour,
    /// Where it lies, or should.
    pub(super) key: String,
    /// Hex SHA-256 of its bytes; `None`: it is not there.
    pub(super) sha256: Option<String>,
    /// What it says, if it can be read.
    pub(super) manifest: Option<HourManifest>,
    /// What is wrong with it.
    pub(super) problem: Option<String>,
    /// The next manifest knows it so.
    pub(super) vouched: bool,
    /// It is so old that it may have expired.
    pub(super) expired: bool,
}

impl Row {
    fn missing(hour: Hour, key: String, expired: bool) -> Self {
        Self { hour, key, sha256: None, manifest: None, problem: None, vouched: false, expired }
    }

    fn of(hour: Hour, key: String, bytes: &[u8]) -> Self {
        let mut row = Self::missing(hour, key, false);
        row.sha256 = Some(sha256_hex(bytes));
        match HourManifest::parse(bytes) {
            Ok(manifest) if to_bytes(&manifest) == bytes => row.manifest = Some(manifest),
            Ok(_) => row.problem = Some("it is not written as a keeper writes it".to_owned()),
            Err(why) => row.problem = Some(format!("it is no hour manifest: {why}")),
        }
        row
    }
}

/// Reads the manifests of the selected hours. Those that do not belong to the chain are told of.
pub(super) fn read_rows(
    question: &Question<'_>,
    start: &HoursStart,
    faults: &mut Vec<Fault>,
    stop: &Stop,
) -> Result<Vec<Row>, StoreError> {
    let root = question.archive.keys.root();
    let mut found: BTreeMap<Hour, Vec<Row>> = BTreeMap::new();
    for key in &question.manifests {
        let folder = key.strip_prefix(root).and_then(|below| below.strip_suffix("/_hour.json"));
        let Some(hour) = folder.and_then(hour_of_folder) else {
            faults.push(Fault::new(FaultKind::ObjectUnknown, key, "it lies in the folder of no hour"));
            continue;
        };
        if !is_selected(question, hour) {
            continue;
        }
        if let Some(bytes) = question.archive.store.get(key, stop)? {
            found.entry(hour).or_default().push(Row::of(hour, key.clone(), &bytes));
        }
    }
    let Some(newest) = found.keys().next_back().copied() else { return Ok(Vec::new()) };
    let mut rows: Vec<Row> = Vec::new();
    let mut hour = start.hour.max(question.selection.from.map_or(start.hour, |from| from.hour()));
    while hour <= newest {
        let expected = expected_key(question, start, rows.last(), found.get(&hour.next()), hour);
        let mut here = found.remove(&hour).unwrap_or_default();
        let at = here.iter().position(|row| row.key == expected).or((here.len() == 1).then_some(0));
        let expired = question.expiry.has_taken(&expected, hour.end(), question.now);
        rows.push(match at {
            Some(at) => here.swap_remove(at),
            None => Row::missing(hour, expected, expired),
        });
        strays(here, faults);
        hour = hour.next();
    }
    found.into_values().for_each(|before_the_first| strays(before_the_first, faults));
    Ok(rows)
}

fn strays(rows: Vec<Row>, faults: &mut Vec<Fault>) {
    for row in rows {
        let told = "no manifest of the chain names it";
        faults.push(Fault::new(FaultKind::ObjectUnknown, row.key, told));
    }
}

fn is_selected(question: &Question<'_>, hour: Hour) -> bool {
    question.selection.from.is_none_or(|from| hour >= from.hour())
        && question.selection.to.is_none_or(|to| hour <= to.hour())
}

/// Where the hour's manifest should lie, by its neighbours.
fn expected_key(
    question: &Question<'_>,
    start: &HoursStart,
    before: Option<&Row>,
    after: Option<&Vec<Row>>,
    hour: Hour,
) -> String {
    if hour == start.hour {
        return start.key.clone();
    }
    let named = before.and_then(|row| row.manifest.as_ref()).map(|manifest| manifest.next_key.clone());
    let linked = || {
        let manifests = after.into_iter().flatten().filter_map(|row| row.manifest.as_ref());
        manifests.filter_map(|manifest| manifest.previous.as_ref()).map(|link| link.key.clone()).next()
    };
    named.or_else(linked).unwrap_or_else(|| question.archive.keys.hour(Layout::Hive, hour))
}
