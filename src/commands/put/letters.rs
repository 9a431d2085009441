//! Where records go that can't be delivered: a file of dead letters, or standard error.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write, stderr};
use std::path::{Path, PathBuf};

use super::envelope::{Dead, seal};
use super::screen::Screen;
use crate::error::Failure;

/// Errors told of on standard error while there is a file that holds them all.
const TOLD: u64 = 5;

/// Takes what can't be delivered.
pub(super) struct DeadLetters {
    file: Option<(PathBuf, BufWriter<File>)>,
    count: u64,
    unsaved: bool,
}

impl DeadLetters {
    /// With a file to append to, or without one.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let file = match path {
            None => None,
            Some(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                let file = opened.map_err(|error| failed(path, &error))?;
                Some((path.to_owned(), BufWriter::new(file)))
            }
        };
        Ok(Self { file, count: 0, unsaved: false })
    }

    /// Whether what is written here can be put again.
    pub(super) const fn keeps(&self) -> bool {
        self.file.is_some()
    }

    /// How many there were.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Keeps one, and tells of it: of each where there is no file, of the first few where there is one.
    pub(super) fn take(
        &mut self,
        dead: Dead<'_>,
        error: &str,
        input: &str,
        screen: &Screen,
    ) -> Result<(), Failure> {
        self.count += 1;
        if self.file.is_none() || self.count <= TOLD {
            screen.aside(|| {
                let mut out = stderr().lock();
                // With standard error gone, the exit code is all that can be told.
                let _ = writeln!(out, "kinesis-keeper: {input}: {error}");
                if self.file.is_some() && self.count == TOLD {
                    let _ = writeln!(out, "kinesis-keeper: further errors are only in the dead letters");
                }
            });
        }
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let letter = seal(dead, error, input).map_err(|error| failed(path, &error.into()))?;
        file.write_all(&letter).map_err(|error| failed(path, &error))?;
        self.unsaved = true;
        Ok(())
    }

    /// All that was taken is on disk afterwards.
    pub(super) fn save(&mut self) -> Result<(), Failure> {
        let Some((path, file)) = self.file.as_mut().filter(|_| self.unsaved) else { return Ok(()) };
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(|error| failed(path, &error))?;
        self.unsaved = false;
        Ok(())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write the dead letters to {}: {error}", path.display()))
}
