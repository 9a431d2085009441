//! `verify CONFIG`: proves the archive, in its bucket or as a copied folder.
//!
//! Owns where the archive is found, the progress bar and the report. What is proved is `archive::verify`'s.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::opened::Opened;
use super::range::Range;
use crate::archive::report::{Report, Tally};
use crate::archive::verify::{KnownEntry, Options, verify};
use crate::config::Config;
use crate::error::Failure;
use crate::model::checkpoint::Checkpoint;
use crate::ports::Disk;
use crate::spool::{Identity, LocalDisk};

/// What can be asked of `verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The configuration file of the stream
    pub config: PathBuf,
    #[command(flatten)]
    /// Which part
    pub range: Range,
    /// A copy of the archive in this folder, in place of the bucket; keys are paths below it
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Objects that are read at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub at_once: u16,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Proves the archive and tells what was found; a fault is a failure.
pub fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let opened = Opened::new(&args.config, args.dir.as_deref())?;
    let selection = args.range.selection(opened.now())?;
    let options = Options {
        selection,
        at_once: usize::from(args.at_once),
        known: known(&opened.config),
        // Whoever else finds the entry completes it after `max_age`; twice that is generous.
        on_its_way: 2 * opened.config.batch.limits.max_age + std::time::Duration::from_secs(600),
    };
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{elapsed:>4} [{bar:32}] {human_pos} of {human_len} ledger entries  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let total = std::sync::Mutex::new(Tally::default());
    let progress = |more: &Tally| {
        let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        total.add(more);
        bar.inc(more.entries);
        bar.set_message(format!("{} objects, {}", total.objects, bytesize::ByteSize(total.bytes)));
    };
    let report =
        verify(&opened.archive, &options, |entries| bar.set_length(entries), &progress, &opened.stop)
            .map_err(|error| Failure::failed(format!("the archive could not be read to its end: {error}")))?;
    bar.finish_and_clear();
    tell(&report, args.json)?;
    if report.is_good() {
        return Ok(());
    }
    let place = opened.place();
    Err(Failure::failed(if report.faults.is_empty() {
        format!("interrupted: {place} was not proved to its end")
    } else {
        format!("{} faults in {place}; see the report", report.faults.len())
    }))
}

fn tell(report: &Report, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = if json {
        serde_json::to_writer_pretty(&mut out, report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        report.print(&mut out)
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("the report could not be written: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What this machine's state directory knows of the archive: a ledger that was cut off at its end
/// shows in nothing else. Nothing is changed, and a directory that is not there knows nothing.
fn known(config: &Config) -> Vec<KnownEntry> {
    let disk = LocalDisk::new(config.disk.state_dir.clone());
    let of_it = Identity::read(&disk).ok().flatten().is_some_and(|identity| {
        identity.bucket == config.archive.bucket && identity.prefix == config.archive.prefix.as_str()
    });
    if !of_it {
        return Vec::new();
    }
    let folder = Path::new("checkpoints");
    let files = disk.list(folder).unwrap_or_default();
    let read = |name: &str| {
        let bytes = disk.read(&folder.join(name)).ok().flatten()?;
        let saved: Checkpoint = serde_json::from_slice(&bytes).ok()?;
        Some(KnownEntry {
            shard: saved.shard,
            created: saved.stream_created,
            serial: saved.serial,
            entry_sha256: saved.entry_sha256,
            witness: format!("the checkpoint {}", config.disk.state_dir.join(folder).join(name).display()),
        })
    };
    files.iter().filter_map(|file| read(&file.name)).collect()
}
