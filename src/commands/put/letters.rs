//! Where records go that can't be delivered: a file of dead letters, or standard error.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write, stderr};
use std::path::{Path, PathBuf};

use super::envelope::{Dead, seal};
use super::screen::Screen;
use crate::error::Failure;

/// Errors told of on standard error while there is a file that holds them all.
const TOLD: u64 = 5;

/// Where an item stands: its source, and its line or number there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Place {
    pub(in crate::commands) source: String,
    pub(in crate::commands) line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

/// Neighbours that failed for one reason: they are told of together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    from: Place,
    to: u64,
    error: String,
}

impl Row {
    /// Whether the next line failed for the same reason.
    fn goes_on_at(&self, place: &Place, error: &str) -> bool {
        self.from.source == place.source && self.to + 1 == place.line && self.error == error
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, error } = self;
        if *to == from.line { write!(f, "{from}: {error}") } else { write!(f, "{from} to {to}: {error}") }
    }
}

/// Takes what can't be delivered.
pub(in crate::commands) struct DeadLetters {
    file: Option<(PathBuf, BufWriter<File>)>,
    count: u64,
    row: Option<Row>,
    rows: u64,
    unsaved: bool,
}

impl DeadLetters {
    /// With a file to append to, or without one.
    pub(in crate::commands) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let file = match path {
            None => None,
            Some(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                let file = opened.map_err(|error| failed(path, &error))?;
                Some((path.to_owned(), BufWriter::new(file)))
            }
        };
        Ok(Self { file, count: 0, row: None, rows: 0, unsaved: false })
    }

    /// Whether what is written here can be put again.
    pub(in crate::commands) const fn keeps(&self) -> bool {
        self.file.is_some()
    }

    /// How many there were.
    pub(in crate::commands) const fn count(&self) -> u64 {
        self.count
    }

    /// Keeps one, and tells of it: of each where there is no file, of the first few where there is one.
    pub(in crate::commands) fn take(
        &mut self,
        dead: Dead<'_>,
        error: &str,
        place: &Place,
        screen: &Screen,
    ) -> Result<(), Failure> {
        self.count += 1;
        match &mut self.row {
            Some(row) if row.goes_on_at(place, error) => row.to = place.line,
            Some(_) | None => {
                self.tell(screen);
                self.row = Some(Row { from: place.clone(), to: place.line, error: error.to_owned() });
            }
        }
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let letter = seal(dead, error, &place.to_string()).map_err(|error| failed(path, &error.into()))?;
        file.write_all(&letter).map_err(|error| failed(path, &error))?;
        self.unsaved = true;
        Ok(())
    }

    /// Tells of what was not yet told.
    pub(in crate::commands) fn tell(&mut self, screen: &Screen) {
        let Some(row) = self.row.take() else { return };
        self.rows += 1;
        if self.file.is_some() && self.rows > TOLD {
            return;
        }
        screen.aside(|| {
            let mut out = stderr().lock();
            // With standard error gone, the exit code is all that can be told.
            let _ = writeln!(out, "kinesis-keeper: {row}");
            if self.file.is_some() && self.rows == TOLD {
                let _ = writeln!(out, "kinesis-keeper: further errors are only in the dead letters");
            }
        });
    }

    /// All that was taken is on disk afterwards.
    pub(in crate::commands) fn save(&mut self) -> Result<(), Failure> {
        let Some((path, file)) = self.file.as_mut().filter(|_| self.unsaved) else { return Ok(()) };
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(|error| failed(path, &error))?;
        self.unsaved = false;
        Ok(())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write the dead letters to {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_fail_alike_are_one_row() {
        let place = |line| Place { source: "in.txt".into(), line };
        let mut row = Row { from: place(7), to: 7, error: "why".into() };
        assert_eq!(row.to_string(), "in.txt:7: why");
        assert!(row.goes_on_at(&place(8), "why"));
        assert!(!row.goes_on_at(&place(9), "why") && !row.goes_on_at(&place(8), "other"));
        row.to = 9;
        assert_eq!(row.to_string(), "in.txt:7 to 9: why");
    }

    #[test]
    fn each_letter_is_in_the_file_after_it_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.ndjson");
        let screen = Screen::new(None);
        let mut letters = DeadLetters::open(Some(&path)).unwrap();
        let place = |line| Place { source: "in.txt".into(), line };
        for line in 1..=3 {
            letters.take(Dead::Payload(b"x"), "why", &place(line), &screen).unwrap();
        }
        letters.save().unwrap();
        let mut more = DeadLetters::open(Some(&path)).unwrap();
        more.take(Dead::Line(b"{"), "why", &place(9), &screen).unwrap();
        more.save().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().count(), letters.count(), more.keeps()), (4, 3, true));
        assert!(text.ends_with("{\"line\":\"{\",\"error\":\"why\",\"input\":\"in.txt:9\"}\n"), "{text}");
    }
}
