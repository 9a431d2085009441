//! The input: files or standard input, cut into items on a thread of its own.
//!
//! Owns reading, decompression (of files whose name ends with `.gz` or `.zst`) and the finding of item ends. Knows
//! nothing of keys or envelopes. What was read from a pipe can't be read again by anybody: once reading is
//! over nothing more is taken from it, and all that was taken is handed on.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::beginning::{Beginning, Begun, Proof};
use crate::error::Failure;
use crate::model::batch::Compression;
use crate::stop::Stop;

/// Read at once.
const READ: usize = 256 << 10;
/// Chunks that may wait to be put.
const AHEAD: usize = 4;
/// So often a thread that waits for standard input looks whether reading is over.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// No item is longer: the largest record as an envelope line of escapes.
const LONGEST_ITEM: usize = 128 << 20;

/// Where input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// As it is named to the user.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// How it is packed. The name tells: records themselves may begin like a packed file.
    fn packed(&self) -> Option<Compression> {
        let Self::File(path) = self else { return None };
        match path.extension()?.to_str()? {
            "gz" => Some(Compression::Gzip),
            "zst" => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Its length, where that is known before it is read.
    pub(super) fn len(&self) -> Option<u64> {
        let Self::File(path) = self else { return None };
        let meta = std::fs::metadata(path).ok()?;
        (meta.is_file() && self.packed().is_none()).then_some(meta.len())
    }

    /// Whether what was read of it can't be read again.
    pub(super) fn is_pipe(&self) -> bool {
        let Self::File(path) = self else { return true };
        std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let Self::File(path) = self else { return Ok(Box::new(Pipe(io::stdin()))) };
        let file = File::open(path)?;
        Ok(match self.packed() {
            Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(file)),
            Some(Compression::Zstd) => Box::new(zstd::Decoder::new(file)?),
            None if file.metadata()?.file_type().is_fifo() => Box::new(Pipe(file)),
            None => Box::new(file),
        })
    }
}

/// Standard input or a named pipe, of which a read may be interrupted: it returns now and then without having
/// taken anything.
struct Pipe<R>(R);

impl<R: Read + AsFd> Read for Pipe<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&LOOK)) {
            Ok(0) | Err(Errno::INTR) => Err(io::ErrorKind::Interrupted.into()),
            Ok(_) => self.0.read(into),
            Err(error) => Err(error.into()),
        }
    }
}

/// Some items of one source, in order.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Which source.
    pub(super) source: usize,
    /// Without their ends.
    pub(super) items: Vec<Bytes>,
    /// Bytes that the items and their ends took.
    pub(super) bytes: u64,
    /// Reading was over before the end of its only item came.
    pub(super) cut: bool,
    /// The source is at its end.
    pub(super) last: bool,
    /// How the source begins, as far as it was read.
    pub(super) beginning: Option<Beginning>,
}

/// What the reading thread sends.
pub(super) type Reading = Result<Chunk, Failure>;

/// The reading thread and what comes from it.
pub(super) struct Input {
    /// Disconnected after the last chunk.
    pub(super) chunks: Receiver<Reading>,
    /// Joined only when the input is at its end: nobody waits for a file system that does not answer.
    pub(super) thread: JoinHandle<()>,
    closed: Arc<AtomicBool>,
}

impl Input {
    /// Nothing more is read; what was read still comes.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// When reading is over.
struct Until {
    stop: Stop,
    closed: Arc<AtomicBool>,
}

impl Until {
    fn is_over(&self) -> bool {
        self.stop.reason().is_some() || self.closed.load(Ordering::Relaxed)
    }
}

/// Why a source was not read to its end.
#[derive(Debug)]
enum Trouble {
    Unreadable(io::Error),
    /// It does not begin as it did in an earlier run.
    Another,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl Trouble {
    fn of(self, source: &Source) -> Failure {
        match self {
            Self::Unreadable(error) => Failure::failed(format!("cannot read {}: {error}", source.name())),
            Self::Another => another_input(source),
        }
    }
}

/// What is said of a source that is not the one of which the resume file tells.
pub(super) fn another_input(source: &Source) -> Failure {
    Failure::usage(format!(
        "{} is not what it was when the resume file was written: give the same input again, or delete the file (or name another with --resume) to put this one from its first line",
        source.name()
    ))
}

/// Reads all sources, one after the other, until the stop or until it is closed. Those of an earlier run must
/// begin as they did.
pub(super) fn read(sources: Vec<Source>, end: u8, begun: Vec<Begun>, stop: Stop) -> Result<Input, Failure> {
    let (sender, chunks) = sync_channel(AHEAD);
    let closed = Arc::new(AtomicBool::new(false));
    let until = Until { stop, closed: Arc::clone(&closed) };
    let thread = thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            for (index, source) in sources.iter().enumerate() {
                let proof = Proof::new(begun.get(index).map(|begun| begun.beginning.clone()));
                let opened = source.open().map_err(Trouble::from);
                let outcome = opened.and_then(|from| cut(from, index, end, &sender, &until, proof));
                match outcome {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        // Nobody listens any more: nobody need hear of it.
                        let _ = sender.send(Err(error.of(source)));
                        return;
                    }
                }
            }
        })
        .map_err(|error| Failure::failed(format!("cannot start the reading thread: {error}")))?;
    Ok(Input { chunks, thread, closed })
}

/// Cuts one source into items; whether to go on with the next.
fn cut(
    mut from: impl Read,
    source: usize,
    end: u8,
    to: &SyncSender<Reading>,
    until: &Until,
    mut proof: Proof,
) -> Result<bool, Trouble> {
    let mut text = BytesMut::new();
    // Bytes at the front of `text` that hold no item end.
    let mut searched = 0;
    loop {
        if until.is_over() {
            if !text.is_empty() {
                let (bytes, items) = (text.len() as u64, vec![text.freeze()]);
                // Nobody listens any more: it was a file, which is as it was.
                let _ = to.send(Ok(Chunk { source, items, bytes, cut: true, ..Chunk::default() }));
            }
            return Ok(false);
        }
        let filled = text.len();
        text.resize(filled + READ, 0);
        let got = match from.read(&mut text[filled..]) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                text.truncate(filled);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        text.truncate(filled + got);
        if got > 0 && proof.wants_more(text.len()) {
            continue;
        }
        if !proof.holds(&text) {
            return Err(Trouble::Another);
        }
        if got == 0 {
            let mut last = Chunk { source, last: true, ..Chunk::default() };
            if !text.is_empty() {
                last.bytes = text.len() as u64;
                last.beginning = proof.see(&text);
                last.items.push(text.freeze());
            }
            return Ok(to.send(Ok(last)).is_ok());
        }
        let Some(last) = memchr::memrchr(end, &text[searched..]) else {
            searched = text.len();
            if searched > LONGEST_ITEM {
                return Err(io::Error::other(format!("an item is longer than {LONGEST_ITEM} bytes")).into());
            }
            continue;
        };
        let whole = text.split_to(searched + last + 1).freeze();
        searched = 0;
        let chunk = Chunk { beginning: proof.see(&whole), ..chunk(&whole, source, end) };
        if to.send(Ok(chunk)).is_err() {
            return Ok(false);
        }
    }
}

/// All items of a text that ends with an item's end.
fn chunk(text: &Bytes, source: usize, end: u8) -> Chunk {
    let mut items = Vec::with_capacity(text.len() / 256);
    let mut from = 0;
    for at in memchr::memchr_iter(end, text) {
        items.push(text.slice(from..at));
        from = at + 1;
    }
    Chunk { source, items, bytes: text.len() as u64, ..Chunk::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn until() -> Until {
        Until { stop: Stop::new(), closed: Arc::default() }
    }

    fn items(text: &[u8], drip: usize, end: u8) -> Vec<Bytes> {
        let (sender, chunks) = sync_channel(1000);
        assert!(cut(Drip(text, drip), 0, end, &sender, &until(), Proof::default()).unwrap());
        drop(sender);
        let chunks: Vec<_> = chunks.iter().map(Result::unwrap).collect();
        assert_eq!(chunks.iter().map(|chunk| chunk.bytes).sum::<u64>(), text.len() as u64);
        chunks.into_iter().flat_map(|chunk| chunk.items).collect()
    }

    #[test]
    fn items_are_the_same_however_they_come() {
        let text = b"one\n\n\xff\xfetwo\r\nno end";
        for drip in 1..=text.len() {
            let items = items(text, drip, b'\n');
            assert_eq!(items, [&b"one"[..], b"", b"\xff\xfetwo\r", b"no end"], "{drip} at a time");
        }
        assert_eq!(items(b"a\nb\0c\0", 3, 0), [&b"a\nb"[..], b"c"]);
        assert!(items(b"", 1, b'\n').is_empty());
    }

    #[test]
    fn once_it_is_over_nothing_more_is_taken_and_what_was_taken_comes() {
        /// Closes the reading after so many bytes.
        struct Closing<'a>(Drip<'a>, usize, Arc<AtomicBool>);

        impl Read for Closing<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                assert!(!self.2.load(Ordering::Relaxed), "it was over");
                let got = self.0.read(into)?;
                self.1 -= got;
                self.2.store(self.1 == 0, Ordering::Relaxed);
                Ok(got)
            }
        }

        let (sender, chunks) = sync_channel(1000);
        let until = until();
        let from = Closing(Drip(b"one\ntwo\nthree\n", 1), 10, Arc::clone(&until.closed));
        assert!(!cut(from, 0, b'\n', &sender, &until, Proof::default()).unwrap());
        drop(sender);
        let chunks: Vec<_> = chunks.iter().map(Result::unwrap).collect();
        let got: Vec<_> = chunks.iter().map(|chunk| (&chunk.items[0][..], chunk.cut)).collect();
        assert_eq!(got, [(&b"one"[..], false), (b"two", false), (b"th", true)]);
    }

    #[test]
    fn a_packed_file_is_told_by_the_name_alone() {
        let folder = tempfile::tempdir().unwrap();
        let read_all = |path: PathBuf| {
            let input = read(vec![Source::File(path)], b'\n', Vec::new(), Stop::new()).unwrap();
            let items: Vec<_> = input.chunks.iter().flat_map(|chunk| chunk.unwrap().items).collect();
            input.thread.join().unwrap();
            items
        };
        let gzip = |text: &[u8]| {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::Write::write_all(&mut gz, text).unwrap();
            gz.finish().unwrap()
        };
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        // The archive's files are rows of members.
        let files = [
            ("records.ndjson.gz", [gzip(b"a\n"), gzip(b"b\n")].concat(), &b"\x1f\x8b"[..]),
            ("records.ndjson.zst", [zstd(b"a\n"), zstd(b"b\n")].concat(), b"\x28\xb5\x2f\xfd"),
        ];
        for (name, bytes, magic) in files {
            let (path, copy) = (folder.path().join(name), folder.path().join("records"));
            std::fs::write(&path, bytes).unwrap();
            std::fs::copy(&path, &copy).unwrap();
            assert_eq!(read_all(path), ["a", "b"], "{name}");
            assert!(read_all(copy)[0].starts_with(magic), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let input = read(vec![Source::File("/no/such/file".into())], b'\n', Vec::new(), Stop::new()).unwrap();
        let failure = input.chunks.recv().unwrap().unwrap_err();
        assert!(failure.message.starts_with("cannot read /no/such/file: "), "{failure}");
    }
}
