//! What runs took, added up over rounds.

use super::report::{Report, Row};

/// What one run took.
pub struct Cost {
    /// Bytes.
    pub payload: u64,
    pub cpu_seconds: f64,
    /// Peak resident memory in MiB, if it was looked at.
    pub memory: Option<u64>,
}

impl Cost {
    pub const fn new(payload: u64, cpu_seconds: f64) -> Self {
        Self { payload, cpu_seconds, memory: None }
    }
}

/// Contenders in the order in which they came, with their levels and all that their runs took.
#[derive(Default)]
pub struct Tally(Vec<(String, Option<u32>, Cost)>);

impl Tally {
    /// One more run.
    pub fn add(&mut self, what: &str, level: Option<u32>, cost: Cost) {
        match self.0.iter_mut().find(|(known, its, _)| known == what && *its == level) {
            Some((_, _, sum)) => {
                sum.payload += cost.payload;
                sum.cpu_seconds += cost.cpu_seconds;
                sum.memory = sum.memory.max(cost.memory);
            }
            None => self.0.push((what.to_owned(), level, cost)),
        }
    }

    /// A row for each.
    pub fn tell(self, input: &'static str, report: &mut Report) {
        for (what, level, Cost { payload, cpu_seconds, memory }) in self.0 {
            let row = Row::new(input, &what, level, payload as f64 / 1e6 / cpu_seconds);
            report.row(Row { memory, ..row });
        }
    }
}
