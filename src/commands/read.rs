//! `read CONFIG`: archived records to standard output, as they lie in the archive or their payloads alone.
//!
//! Owns how records are written. Which ones, and in which order, is `archive::read`'s.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::opened::Opened;
use super::range::Range;
use crate::archive::read::{Query, ReadFailure, Remark, Taker, Wanted};
use crate::codec::parse_data;
use crate::error::Failure;

/// Written at once.
const BUFFER: usize = 256 << 10;

/// What can be asked of `read`.
#[derive(Clone, Debug, Args)]
pub struct ReadArgs {
    /// The configuration file of the stream
    pub config: PathBuf,
    #[command(flatten)]
    /// Which part
    pub range: Range,
    /// Records with this partition key alone
    #[arg(long, value_name = "K")]
    pub partition_key: Option<String>,
    /// Also KPL aggregates of which a part lies outside its shard: their producer sent them again elsewhere
    #[arg(long)]
    pub all: bool,
    /// By arrival over all shards (children after their parents), and not shard by shard
    #[arg(long)]
    pub merge: bool,
    /// The payloads alone, each followed by a line feed
    #[arg(long)]
    pub payload: bool,
    /// Payloads are followed by a NUL byte
    #[arg(long, requires = "payload")]
    pub null: bool,
    /// Payloads are preceded by their length, four bytes, the highest first
    #[arg(long, requires = "payload", conflicts_with = "null")]
    pub length_prefixed: bool,
    /// A copy of the archive in this folder, in place of the bucket; keys are paths below it
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Objects (with --merge: of each shard one) that are read at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub at_once: u16,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Line,
    Payload(&'static [u8]),
    LengthAndPayload,
}

/// Writes what is asked for. A pipe that closes is no failure.
pub fn run(args: &ReadArgs) -> Result<(), Failure> {
    let opened = Opened::new(&args.config, args.dir.as_deref())?;
    let query = Query {
        selection: args.range.selection(opened.now())?,
        wanted: Wanted { partition_key: args.partition_key.clone(), all: args.all, keyed: false },
        merged: args.merge,
        at_once: usize::from(args.at_once),
        only: None,
        on_its_way: opened.on_its_way(),
    };
    let form = match (args.payload, args.null, args.length_prefixed) {
        (false, ..) => Form::Line,
        (true, true, _) => Form::Payload(b"\0"),
        (true, _, true) => Form::LengthAndPayload,
        (true, ..) => Form::Payload(b"\n"),
    };
    let out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut writer = Writer { out, form, bar: progress() };
    let read = opened.archive.read(&query, &mut writer, &opened.stop);
    let read = read.and_then(|()| writer.out.flush().map_err(ReadFailure::Taker));
    writer.bar.finish_and_clear();
    match read {
        Ok(()) => Ok(()),
        Err(ReadFailure::Taker(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(ReadFailure::NoArchive) => Err(opened.no_archive(args.range.shard.as_deref())),
        Err(failure) => Err(Failure::failed(format!("reading {} ended early: {failure}", opened.place()))),
    }
}

/// How much was read, on standard error if that is a terminal and the records do not go to one as well.
fn progress() -> ProgressBar {
    if io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{elapsed:>4} {binary_bytes} of lines, {binary_bytes_per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

struct Writer<W: Write> {
    out: W,
    form: Form,
    bar: ProgressBar,
}

impl<W: Write> Taker for Writer<W> {
    fn lines(&mut self, mut lines: &[u8]) -> io::Result<()> {
        self.bar.inc(lines.len() as u64);
        if self.form == Form::Line {
            return self.out.write_all(lines);
        }
        while let Some(end) = memchr::memchr(b'\n', lines) {
            let (line, rest) = lines.split_at(end + 1);
            lines = rest;
            let data = parse_data(line).map_err(io::Error::other)?;
            match self.form {
                Form::Payload(delimiter) => {
                    self.out.write_all(&data)?;
                    self.out.write_all(delimiter)?;
                }
                Form::LengthAndPayload | Form::Line => {
                    let len = u32::try_from(data.len()).map_err(io::Error::other)?;
                    self.out.write_all(&len.to_be_bytes())?;
                    self.out.write_all(&data)?;
                }
            }
        }
        Ok(())
    }

    fn remark(&mut self, remark: Remark) {
        self.bar.suspend(|| tell(&remark));
    }
}

/// Tells on standard error what is missing.
pub(super) fn tell(remark: &Remark) {
    let told = match remark {
        Remark::Gap { entry, told } => format!("a gap: {told}; see {entry}"),
        Remark::Expired { key, records } => {
            format!("{key} has expired; its {records} records are not in the archive any more")
        }
        Remark::OnItsWay { key, records, .. } => {
            format!(
                "{key} is not there yet, as its ledger entry is the newest: its {records} records are left out"
            )
        }
        Remark::Untimed { key, records } => {
            format!(
                "{key} holds payloads without their times: all {records} are given, though some may have \
                 arrived outside of the range"
            )
        }
    };
    // With standard error gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "kinesis-keeper: {told}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form) -> Vec<u8> {
        let mut writer = Writer { out: Vec::new(), form, bar: ProgressBar::hidden() };
        let time = "\"approximate_arrival_timestamp\":\"2026-11-22T05:00:00.000Z\"";
        let lines = format!(
            "{{\"sequence_number\":\"1\",{time},\"data\":\"a\\nb\"}}\n{{\"sequence_number\":\"2\",{time},\"data_base64\":\"/w==\"}}\n"
        );
        writer.lines(lines.as_bytes()).unwrap();
        writer.out
    }

    #[test]
    fn payloads_come_out_as_they_were_put() {
        assert_eq!(written(Form::Payload(b"\n")), b"a\nb\n\xff\n");
        assert_eq!(written(Form::Payload(b"\0")), b"a\nb\0\xff\0");
        assert_eq!(written(Form::LengthAndPayload), b"\0\0\0\x03a\nb\0\0\0\x01\xff");
        assert!(written(Form::Line).starts_with(b"{\"sequence_number\":\"1\""));
    }
}
