//! The file of `--resume`: what an earlier run has done.
//!
//! Owns the file, its form, and whether it is of the same stream; of which input it is, it only keeps. After a `kill -9` what was done since it was
//! last written is put again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::beginning::Begun;
use super::tracker::{Items, Stretch};
use crate::error::Failure;

/// So many stretches behind the first open item are remembered; what lies behind them is put again.
const MOST_STRETCHES: usize = 100_000;

/// The file of `--resume`.
#[derive(Debug)]
pub(super) struct ResumeFile {
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    stream: String,
    /// All items before it are done.
    done: u64,
    /// Behind it: stretches of items that are done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beyond: Vec<Stretch>,
    /// The sources that were begun, in their order.
    #[serde(default)]
    sources: Vec<Begun>,
}

impl ResumeFile {
    /// The file, if it is there, must be of the same stream.
    pub(super) fn open(path: &Path, stream: &str) -> Result<Self, Failure> {
        let shown = path.display();
        let content = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice::<Content>(&bytes).map_err(|error| {
                Failure::failed(format!("{shown} is not a resume file ({error}): name another, or delete it"))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Content { stream: stream.to_owned(), done: 0, beyond: Vec::new(), sources: Vec::new() }
            }
            Err(error) => return Err(Failure::failed(format!("cannot read {shown}: {error}"))),
        };
        if content.stream != stream {
            let other = content.stream;
            return Err(Failure::usage(format!("{shown} belongs to the stream {other}, not {stream}")));
        }
        if Items::new(content.done, &content.beyond).is_none() {
            return Err(Failure::failed(format!(
                "{shown} is not a resume file (its items are not in order): name another, or delete it"
            )));
        }
        Ok(Self { path: path.to_owned(), content })
    }

    /// Items that are done.
    pub(super) fn items(&self) -> Items {
        Items::new(self.content.done, &self.content.beyond).unwrap_or_default()
    }

    /// The sources that were begun.
    pub(super) fn sources(&self) -> &[Begun] {
        &self.content.sources
    }

    /// Whether it does not say of which input it is, although some of that is done: an early version wrote it.
    pub(super) const fn is_of_unknown_input(&self) -> bool {
        self.content.done > 0 && self.content.sources.is_empty()
    }

    /// What of these it can hold.
    pub(super) fn extract(items: &Items) -> (u64, Vec<Stretch>) {
        (items.first_open(), items.beyond(MOST_STRETCHES))
    }

    /// Remembers what [`Self::extract`] took, of these sources.
    pub(super) fn save(
        &mut self,
        (done, beyond): (u64, Vec<Stretch>),
        sources: &[Begun],
    ) -> Result<(), Failure> {
        let (stream, sources) = (self.content.stream.clone(), sources.to_vec());
        let content = Content { stream, done, beyond, sources };
        if self.content == content && self.path.exists() {
            return Ok(());
        }
        self.content = content;
        let failed =
            |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", self.path.display()));
        let mut bytes = serde_json::to_vec(&self.content).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        let mut name = self.path.clone().into_os_string();
        name.push(".tmp");
        let temporary = PathBuf::from(name);
        let mut file = File::create(&temporary).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, &self.path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_remembers_for_one_stream() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("put.resume");
        let mut file = ResumeFile::open(&path, "clicks").unwrap();
        assert_eq!(file.items(), Items::default());
        fs::write(&path, "{\"stream\":\"clicks\",\"done\":17}").unwrap();
        let old = ResumeFile::open(&path, "clicks").unwrap();
        assert!(old.items().first_open() == 17 && old.is_of_unknown_input());
        let items = Items::new(17, &[(20, 30), (40, 41)]).unwrap();
        let sources = [Begun::default(), Begun { first: 12, ..Begun::default() }];
        file.save(ResumeFile::extract(&items), &sources).unwrap();
        let file = ResumeFile::open(&path, "clicks").unwrap();
        assert_eq!((file.items(), file.sources()), (items, &sources[..]));
        assert!(!file.is_of_unknown_input());
        let other = ResumeFile::open(&path, "orders").unwrap_err();
        assert_eq!(other.exit_code(), 2);
        assert!(other.message.contains("belongs to the stream clicks"), "{other}");
        for wrong in ["{", "{\"stream\":\"clicks\",\"done\":5,\"beyond\":[[3,4]]}"] {
            fs::write(&path, wrong).unwrap();
            let error = ResumeFile::open(&path, "clicks").unwrap_err();
            assert!(error.message.contains("not a resume file"), "{error}");
        }
    }
}
