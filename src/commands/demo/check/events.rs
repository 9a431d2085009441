//! Every event that was put is there once, and nothing else is.

use std::collections::BTreeMap;

use super::super::runs::{Fingerprint, Run, sha256_of};
use super::Check;

impl Check<'_> {
    /// Holds what was found against what was put, for every demo.
    pub(super) fn events(&mut self) {
        let found = std::mem::take(&mut self.found);
        self.doubled(&found);
        let known = |number: u64| self.expected.runs.iter().any(|run| run.holds(number));
        let strays = found.keys().filter(|number| !known(**number)).count();
        if strays > 0 {
            self.problem(format!("{strays} events are in the archive that no demo put"));
        }
        for run in self.expected.runs {
            self.run(run, &found);
        }
        self.latest(&found);
    }

    fn doubled(&mut self, found: &BTreeMap<u64, Vec<Fingerprint>>) {
        let doubled: Vec<u64> =
            found.iter().filter(|(_, times)| times.len() > 1).map(|(number, _)| *number).collect();
        self.report.doubled = doubled.len() as u64;
        if let Some(first) = doubled.first() {
            self.problem(format!("{} events are there more than once, the first is {first}", doubled.len()));
        }
    }

    /// An interrupted demo's stream is gone with what was not archived by then: only a finished
    /// one can be held to its count.
    fn run(&mut self, run: &Run, found: &BTreeMap<u64, Vec<Fingerprint>>) {
        let Some(put_sha256) = &run.put_sha256 else { return };
        let of_run: BTreeMap<u64, Fingerprint> = found
            .range(run.first_event..run.end())
            .filter_map(|(number, times)| times.first().map(|fingerprint| (*number, *fingerprint)))
            .collect();
        let missing = run.events.saturating_sub(of_run.len() as u64);
        self.report.missing += missing;
        if missing > 0 {
            let first = (run.first_event..run.end()).find(|number| !of_run.contains_key(number));
            self.problem(format!("{missing} events are missing, the first is {}", first.unwrap_or_default()));
        } else if sha256_of(&of_run) != *put_sha256 {
            self.problem(format!(
                "events {} to {} are not, byte for byte, what was put",
                run.first_event,
                run.end() - 1
            ));
        }
    }

    /// The latest demo's own memory of what it put: also right when it was interrupted.
    fn latest(&mut self, found: &BTreeMap<u64, Vec<Fingerprint>>) {
        let finished = self.expected.runs.last().is_some_and(|run| run.put_sha256.is_some());
        let mut missing = 0;
        for (number, fingerprint) in self.expected.put {
            match found.get(number) {
                None => missing += 1,
                Some(times) if times.contains(fingerprint) => {}
                Some(_) => self.problem(format!("event {number} is not what was put")),
            }
        }
        if !finished && missing > 0 {
            self.report.missing += missing;
            self.problem(format!("{missing} events of this demo are missing"));
        }
    }
}

impl Run {
    fn holds(&self, number: u64) -> bool {
        (self.first_event..self.end()).contains(&number)
    }
}
