//! A file back to its text: gzip members or zstd frames, one after the other.
//!
//! Owns decompression, the hash of the file, and whose fault an error is. Does not find lines.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::hash::Hasher;
use super::reader::ReadError;
use crate::model::batch::Compression;

/// Compressed bytes asked for at once.
const SOURCE_BUFFER: usize = 64 << 10;

/// The text of a row of members, one after the other.
pub(super) struct Members<R> {
    compression: Compression,
    state: State<R>,
    /// The member being read, counted from 1; 0 before the first.
    member: u64,
    /// Where it begins in the file.
    begins: u64,
    /// The byte of text made last.
    last: u8,
    pub(super) split: Option<u64>,
}

enum State<R> {
    Between(BufReader<Source<R>>),
    Gzip(Box<GzDecoder<BufReader<Source<R>>>>),
    Zstd(Box<ZstdDecoder<'static, BufReader<Source<R>>>>),
    /// Only while one of the above is made of the other.
    Moving,
}

impl<R: Read> Members<R> {
    pub(super) fn new(compression: Compression, file: R) -> Self {
        let source = Source { inner: file, hash: Hasher::default(), failed: false };
        let state = State::Between(BufReader::with_capacity(SOURCE_BUFFER, source));
        Self { compression, state, member: 0, begins: 0, last: b'\n', split: None }
    }

    /// The next text; 0 at the end of a whole file.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let made = match std::mem::replace(&mut self.state, State::Moving) {
                State::Gzip(mut gzip) => {
                    let made = gzip.read(into);
                    let over = matches!(made, Ok(0));
                    self.state = if over { State::Between(gzip.into_inner()) } else { State::Gzip(gzip) };
                    made?
                }
                State::Zstd(mut zstd) => {
                    let made = zstd.read(into);
                    let over = matches!(made, Ok(0));
                    self.state = if over { State::Between(zstd.finish()) } else { State::Zstd(zstd) };
                    made?
                }
                State::Between(file) => {
                    if self.begin_member(file)? {
                        continue;
                    }
                    return Ok(0);
                }
                State::Moving => return Err(io::ErrorKind::Other.into()),
            };
            if let Some(last) = made.checked_sub(1).and_then(|last| into.get(last)) {
                self.last = *last;
                return Ok(made);
            }
            if self.last != b'\n' {
                self.split = self.split.or(Some(self.member));
            }
        }
    }

    /// Begins the next member; false at the end of the file.
    fn begin_member(&mut self, mut file: BufReader<Source<R>>) -> io::Result<bool> {
        // (`Source` begins interrupted reads anew.)
        let ahead = file.fill_buf().map(<[u8]>::len);
        if !matches!(ahead, Ok(1..)) {
            self.state = State::Between(file);
            return match ahead? {
                0 if self.member == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(false),
            };
        }
        self.member += 1;
        self.begins = file.get_ref().hash.len() - file.buffer().len() as u64;
        self.state = match self.compression {
            Compression::Gzip => State::Gzip(Box::new(GzDecoder::new(file))),
            Compression::Zstd => State::Zstd(Box::new(ZstdDecoder::with_buffer(file)?.single_frame())),
        };
        Ok(true)
    }

    /// What a member is called.
    pub(super) const fn kind(&self) -> &'static str {
        match self.compression {
            Compression::Gzip => "gzip member",
            Compression::Zstd => "zstd frame",
        }
    }

    /// Bytes of the file that were read, and their SHA-256 in hex.
    pub(super) fn take_source_hash(&mut self) -> (u64, String) {
        self.source().map_or_else(Default::default, |source| (source.hash.len(), source.hash.take_hex()))
    }

    fn source(&mut self) -> Option<&mut Source<R>> {
        match &mut self.state {
            State::Between(file) => Some(file.get_mut()),
            State::Gzip(gzip) => Some(gzip.get_mut().get_mut()),
            State::Zstd(zstd) => Some(zstd.get_mut().get_mut()),
            State::Moving => None,
        }
    }

    /// What an error means: the way to the file, or the file itself.
    pub(super) fn explain(&mut self, cause: io::Error, lines: u64) -> ReadError {
        let (kind, member, at) = (self.kind(), self.member.max(1), self.begins);
        if let Some(source) = self.source()
            && source.failed
        {
            return ReadError::Source { at: source.hash.len(), cause };
        }
        let cut = cause.kind() == io::ErrorKind::UnexpectedEof;
        let what = if cut { "it is cut".to_owned() } else { cause.to_string() };
        ReadError::Damaged { kind, member, at, lines, what }
    }
}

/// The file's bytes, hashed as they are read; remembers whether an error was its own.
struct Source<R> {
    inner: R,
    hash: Hasher,
    failed: bool,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(into) {
                Ok(len) => {
                    self.hash.update(&into[..len]);
                    return Ok(len);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    self.failed = true;
                    return Err(cause);
                }
            }
        }
    }
}
