//! Where a lost object may still be had: earlier versions, the copy on this disk, the stream.
//!
//! Owns the proof of a candidate: its lines hash to what the ledger entry claims, and, where a later
//! entry knows the object's own hash, its bytes to that.

use std::io::{Cursor, Read};
use std::path::Path;

use super::{Claim, Mender, against};
use crate::archive::held::Held;
use crate::archive::object::{Examined, against_entry, examine};
use crate::codec::BatchWriter;
use crate::codec::aggregate::for_each_user_record;
use crate::codec::reader::recut;
use crate::codec::writer::Finished;
use crate::model::batch::{Compression, Content, Format};
use crate::model::ledger::Body;
use crate::ports::{IteratorStart, Stream, StreamError};

/// Local copies lie in this folder of the state directory, by their keys.
const COPIES: &str = "archive";

/// The levels that an object may have been compressed with.
const LEVELS: std::ops::RangeInclusive<u32> = 1..=12;

/// The candidates of one source, or why it could not be asked.
pub(super) type Found = Result<Vec<Candidate>, String>;

/// Bytes that may be the object.
pub(super) enum Candidate {
    /// They are.
    Proved { bytes: Vec<u8>, content: Box<Content> },
    /// They are not, and why; what is worth keeping of them.
    Other { why: String, rest: Option<(Vec<u8>, Box<Content>)> },
}

/// Where to look for the object of a claim.
pub(super) struct Candidates<'a> {
    pub(super) mender: &'a Mender<'a>,
    pub(super) claim: &'a Claim,
}

impl Candidates<'_> {
    /// What lies there now.
    pub(super) fn current(&self) -> Found {
        let key = &self.claim.batch.key;
        let found = self.mender.tools.store.open(key, self.mender.stop).map_err(|error| error.to_string())?;
        found.map(|bytes| self.proved(bytes)).into_iter().collect()
    }

    /// What lay there before, in a bucket that keeps versions.
    pub(super) fn versions(&self) -> Found {
        let (store, stop, key) = (self.mender.tools.store, self.mender.stop, &self.claim.batch.key);
        let versions = store.versions(key, stop).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for version in versions.iter().filter(|version| !version.is_latest) {
            let bytes = store.open_version(key, &version.id, stop).map_err(|error| error.to_string())?;
            let Some(bytes) = bytes else { continue };
            let candidate = self.proved(bytes)?;
            let is_it = matches!(candidate, Candidate::Proved { .. });
            found.push(candidate);
            if is_it {
                break;
            }
        }
        // The right one, if there is one, is the last.
        found.reverse();
        found.truncate(1);
        Ok(found)
    }

    /// The keeper's own copy.
    pub(super) fn copy(&self) -> Found {
        let Some(disk) = self.mender.tools.copies else { return Ok(Vec::new()) };
        let found =
            disk.open(&Path::new(COPIES).join(&self.claim.batch.key)).map_err(|error| error.to_string())?;
        found.map(|bytes| self.proved(bytes)).into_iter().collect()
    }

    /// The records, read and rendered again.
    pub(super) fn stream(&self) -> Found {
        let batch = &self.claim.batch;
        let Some(stream) = self.mender.tools.stream else { return Ok(Vec::new()) };
        if (batch.format, batch.compression) != (Format::Envelope, Compression::Gzip) {
            return Err("only the default format can be rendered again".to_owned());
        }
        let Some(finished) = self.render(stream)? else { return Ok(Vec::new()) };
        let same = finished.content.content_sha256 == batch.content_sha256;
        if !same {
            let why = format!("it holds only {} of {} records", finished.content.records, batch.records);
            let rest = (finished.parts.concat(), Box::new(finished.content));
            return Ok(vec![Candidate::Other { why, rest: Some(rest) }]);
        }
        let wanted = |finished: &Finished| {
            self.claim.sha256.as_ref().is_none_or(|sha256| *sha256 == finished.content.sha256)
        };
        if wanted(&finished) {
            return Ok(vec![proved_by_hash(finished)]);
        }
        // The same lines, compressed as they were then.
        let bytes = finished.parts.concat();
        for level in LEVELS.filter(|level| *level != self.mender.tools.level) {
            let mut writer = BatchWriter::new(level);
            recut(bytes.as_slice(), |_| true, &mut writer).map_err(|error| error.to_string())?;
            if let Some(finished) = writer.finish().filter(wanted) {
                return Ok(vec![proved_by_hash(finished)]);
            }
        }
        let why = "its lines are right, but no level gives the bytes that were archived".to_owned();
        let rest = Some((bytes, Box::new(finished.content)));
        Ok(vec![Candidate::Other { why, rest }])
    }

    /// What the stream still holds of the batch.
    fn render(&self, stream: &dyn Stream) -> Result<Option<Finished>, String> {
        let (batch, stop) = (&self.claim.batch, self.mender.stop);
        let told = |error: StreamError| error.to_string();
        let identity = stream.describe(stop).map_err(told)?.value.identity;
        if identity.created.as_seconds() != self.claim.ledger.created {
            return Err("the stream was deleted and made again since".to_owned());
        }
        let begin =
            self.mender.archive.entry(&self.claim.ledger, 0, stop).map_err(|error| error.to_string())?;
        let range = match begin {
            Some(Ok(read)) => match &read.entry.body {
                Body::Begin(begin) => against::range_of(begin),
                Body::Batch(_) | Body::Gap(_) | Body::End(_) => {
                    return Err("entry 0 is not its ledger's".to_owned());
                }
            },
            Some(Err(_)) | None => return Err("entry 0 cannot be read".to_owned()),
        };
        let start = IteratorStart::At(batch.first_sequence_number.clone());
        let mut held = Held::from(stream, &self.claim.entry.shard, start, stop);
        let mut writer = BatchWriter::new(self.mender.tools.level);
        while let Some(record) = held.next().map_err(told)? {
            let number = &record.sequence_number;
            if *number > batch.last_sequence_number {
                break;
            }
            if *number >= batch.first_sequence_number {
                for_each_user_record(&record, range, batch.deaggregate, &mut |user| writer.append(user));
            }
            if *number == batch.last_sequence_number {
                break;
            }
        }
        Ok(writer.finish())
    }

    /// Reads a candidate whole and proves it; more bytes than the batch can have are not read.
    fn proved(&self, bytes: Box<dyn Read + Send>) -> Result<Candidate, String> {
        let batch = &self.claim.batch;
        let most = batch.content_size + batch.content_size / 16 + (1 << 20);
        let mut whole = Vec::new();
        bytes.take(most).read_to_end(&mut whole).map_err(|error| error.to_string())?;
        let content = match examine(Box::new(Cursor::new(whole.clone()))) {
            Examined::Content(content) => content,
            Examined::Damaged(why) | Examined::Unread(why) => {
                return Ok(Candidate::Other { why, rest: None });
            }
        };
        if let Err(why) = against_entry(&content, batch) {
            return Ok(Candidate::Other { why, rest: None });
        }
        match &self.claim.sha256 {
            Some(sha256) if *sha256 != content.sha256 => {
                let why = format!("its SHA-256 is {}, and was {sha256}", content.sha256);
                Ok(Candidate::Other { why, rest: None })
            }
            Some(_) | None => Ok(Candidate::Proved { bytes: whole, content }),
        }
    }
}

fn proved_by_hash(finished: Finished) -> Candidate {
    Candidate::Proved { bytes: finished.parts.concat(), content: Box::new(finished.content) }
}
