//! The folder of a demo: what lies where in it, and the configuration file that the keeper gets.

use std::path::{Path, PathBuf};

use super::embedded::{BUCKET, REGION};
use super::stream::STREAM;
use crate::error::Failure;
use crate::model::timestamp::Timestamp;

/// A demo's folder.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// `given`, or a fresh folder under the current one that bears the time.
    pub fn open(given: Option<&Path>, now: Timestamp) -> Result<Self, Failure> {
        let folder = given.map_or_else(|| fresh(now), Path::to_owned);
        let failed = |error: std::io::Error| {
            Failure::failed(format!("cannot use the folder {}: {error}", folder.display()))
        };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let place = Self { folder: folder.canonicalize().map_err(failed)? };
        if place.folder.to_str().is_none() {
            let shown = place.folder.display();
            return Err(Failure::usage(format!("{shown} is not UTF-8, as a configuration file must be")));
        }
        Ok(place)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The buckets of the embedded S3.
    pub fn s3(&self) -> PathBuf {
        self.folder.join("s3")
    }

    /// The one bucket.
    pub fn bucket(&self) -> PathBuf {
        self.s3().join(BUCKET)
    }

    /// The keeper's state directory.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The keeper's own copies of what it archived, by their keys.
    pub fn copies(&self) -> PathBuf {
        self.state().join("archive")
    }

    /// The keeper's configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("kinesis-keeper.toml")
    }

    /// The keeper's log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("kinesis-keeper.log")
    }

    /// Writes the configuration file, for the keeper and for the user to look at.
    pub fn write_config(&self, endpoint_url: &str) -> Result<String, Failure> {
        let text = config_text(&self.state(), endpoint_url);
        let path = self.config();
        std::fs::write(&path, &text)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
        Ok(text)
    }

    /// A path as the user can type it: relative to where the demo was started, if it lies there.
    pub fn shown(&self, path: &Path) -> String {
        let here = std::env::current_dir().and_then(|here| here.canonicalize());
        let relative = here.ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
        relative.unwrap_or_else(|| path.to_owned()).display().to_string()
    }
}

/// `kinesis-keeper-demo-20261122-051100`
fn fresh(now: Timestamp) -> PathBuf {
    let digits: String = now.to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, time) = digits.split_at(8);
    PathBuf::from(format!("kinesis-keeper-demo-{day}-{time}"))
}

/// The file that the keeper runs with. Its limits are short, so that there is something to see;
/// all that it does not say is as in production.
fn config_text(state: &Path, endpoint_url: &str) -> String {
    // A JSON string is a TOML string too.
    let state = serde_json::Value::from(state.to_string_lossy());
    format!(
        r#"# Written by `kinesis-keeper demo`, which ran with it. The AWS at endpoint_url lives inside the
# demo and ends with it: for your own stream take out [aws] and [batch], set the two names, and a state_dir
# that is not the demo's.

[stream]
name = "{STREAM}"
refresh = "10s"

[batch]
max_age = "4s"
max_records = 2_000

[archive]
bucket = "{BUCKET}"

[disk]
state_dir = {state}

[aws]
region = "{REGION}"
endpoint_url = "{endpoint_url}"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_folder_bears_the_time() {
        let now = "2026-11-22T05:11:00.123Z".parse().unwrap();
        assert_eq!(fresh(now), PathBuf::from("kinesis-keeper-demo-20261122-051100"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let failure = Place::open(Some(&file.join("below")), Timestamp::default()).unwrap_err();
        assert!(failure.message.starts_with("cannot use the folder"), "{failure}");
    }

    #[test]
    fn odd_paths_survive_the_configuration_file() {
        let state = Path::new("/tmp/a \"b\" \\ ü");
        let text = config_text(state, "http://127.0.0.1:1");
        let file: toml_edit::Document<String> = text.parse().unwrap();
        assert_eq!(file["disk"]["state_dir"].as_str(), state.to_str());
    }
}
