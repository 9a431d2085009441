//! CPU time of processes.

use std::error::Error;
use std::fs;

/// User and system time of a process (its id, or `self`), all threads, also after its end until somebody waits
/// for it: in hundredths of a second, as Linux gives them.
pub fn cpu_seconds(id: &str) -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields: Vec<_> = text.rsplit(')').next().ok_or("no statistics")?.split_whitespace().collect();
    let ticks =
        |n: usize| -> Result<f64, Box<dyn Error>> { Ok(fields.get(n).ok_or("too few statistics")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
