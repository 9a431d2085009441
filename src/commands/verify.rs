//! `verify CONFIG`: proves the archive, in its bucket or as a copied folder, and repairs it.
//!
//! Owns where the archive is found, the progress bar and the report. What is proved is `archive::verify`'s.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::opened::{Aws, Opened};
use super::range::Range;
use crate::archive::against::compare;
use crate::archive::repair::{Tools, repair};
use crate::archive::report::{Report, Tally, so_many_faults};
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
    /// Also read what the stream still holds of the range, and hold the archive against it
    #[arg(long, conflicts_with = "dir")]
    pub against_stream: bool,
    /// Put back what is missing or damaged, if it is proved to be the same: from earlier versions in
    /// the bucket, from the copies on this disk, from the stream
    #[arg(long, conflicts_with = "dir")]
    pub repair: bool,
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
        on_its_way: opened.on_its_way(),
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
    let mut report =
        verify(&opened.archive, &options, |entries| bar.set_length(entries), &progress, &opened.stop)
            .map_err(|error| Failure::failed(format!("the archive could not be read to its end: {error}")))?;
    if let Some(aws) = opened.aws.as_ref().filter(|_| args.against_stream && !report.interrupted) {
        now_does(&bar, "reading the stream");
        against_stream(&opened, aws, &options, &mut report)?;
    }
    if let Some(aws) = opened.aws.as_ref().filter(|_| args.repair && !report.interrupted) {
        now_does(&bar, "repairing");
        mend(&opened, aws, &options, &mut report)?;
    }
    bar.finish_and_clear();
    tell(&report, args.json)?;
    if report.is_good() {
        return Ok(());
    }
    let place = opened.place();
    Err(Failure::failed(if report.interrupted {
        format!("interrupted: {place} was not proved to its end")
    } else {
        format!("{} in {place}; see the report", so_many_faults(report.faults.len()))
    }))
}

/// In place of the bar, what cannot be counted beforehand and may take hours, and that it goes on.
fn now_does(bar: &ProgressBar, what: &'static str) {
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {spinner} {msg}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(std::time::Duration::from_secs(1));
}

/// Holds the archive against the stream; what is found joins the report.
fn against_stream(opened: &Opened, aws: &Aws, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let compared = compare(&opened.archive, &options.selection, &aws.stream, options.at_once, &opened.stop);
    match compared {
        Ok((compared, mut faults)) => {
            report.against_stream = Some(compared);
            report.faults.append(&mut faults);
        }
        Err(_) if opened.stop.reason().is_some() => {}
        Err(error) => {
            return Err(Failure::failed(format!("the stream could not be compared: {error}")));
        }
    }
    report.interrupted |= opened.stop.reason().is_some();
    Ok(())
}

/// Repairs what can be repaired; what became of each fault joins the report.
fn mend(opened: &Opened, aws: &Aws, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let disk = LocalDisk::new(opened.config.disk.state_dir.clone());
    let tools = Tools {
        store: &*aws.store,
        copies: is_of_archive(&opened.config, &disk).then_some(&disk as &dyn Disk),
        stream: Some(&aws.stream),
        level: opened.config.archive.level.with(None),
    };
    repair(&opened.archive, options, report, &tools, &opened.stop)
        .map_err(|error| Failure::failed(format!("the repair was broken off: {error}")))?;
    report.interrupted |= opened.stop.reason().is_some();
    Ok(())
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
    if !is_of_archive(config, &disk) {
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

/// Whether the state directory belongs to this archive.
fn is_of_archive(config: &Config, disk: &LocalDisk) -> bool {
    Identity::read(disk).ok().flatten().is_some_and(|identity| {
        identity.bucket == config.archive.bucket && identity.prefix == config.archive.prefix.as_str()
    })
}
