//! Where a lost object may still be had: earlier versions, the copy on this disk, the stream.
//!
//! Owns the proof of a candidate: its lines hash to what the ledger entry claims, and, where a later
//! entry knows the object's own hash, its bytes to that.

use std::io::{Cursor, Read};
use std::path::Path;

use bytes::Bytes;

use super::{Claim, Mender, against};
use crate::archive::held::Held;
use crate::archive::object::{Examined, against_entry, examine};
use crate::archive::side;
use crate::codec::aggregate::for_each_user_record;
use crate::codec::reader::recut;
use crate::codec::writer::Finished;
use crate::codec::{BatchWriter, Renderer};
use crate::model::batch::{Content, Level};
use crate::model::ledger::Body;
use crate::model::shard::HashKeyRange;
use crate::ports::{IteratorStart, Stream, StreamError};

/// Local copies lie in this folder of the state directory, by their keys.
const COPIES: &str = "archive";

/// The candidates of one source, or why it could not be asked.
pub(super) type Found = Result<Vec<Candidate>, String>;

/// Bytes that may be the object.
pub(super) enum Candidate {
    /// They are; made at this level, if that is known.
    Proved { bytes: Bytes, content: Box<Content>, level: Option<u32> },
    /// They are not, and why; what is worth keeping of them, rendered for the spool.
    Other { why: String, rest: Option<(Bytes, Box<Content>)> },
}

/// Where to look for the object of a claim.
pub(super) struct Candidates<'a> {
    pub(super) mender: &'a Mender<'a>,
    pub(super) claim: &'a Claim,
}

impl Candidates<'_> {
    /// What lies there now.
    pub(super) fn current(&self) -> Found {
        let key = &self.claim.key;
        let found = self.mender.tools.store.open(key, self.mender.stop).map_err(|error| error.to_string())?;
        found.map(|bytes| self.proved(bytes)).into_iter().collect()
    }

    /// What lay there before, in a bucket that keeps versions.
    pub(super) fn versions(&self) -> Found {
        let (store, stop, key) = (self.mender.tools.store, self.mender.stop, &self.claim.key);
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
        let found = disk.open(&Path::new(COPIES).join(&self.claim.key)).map_err(|error| error.to_string())?;
        found.map(|bytes| self.proved(bytes)).into_iter().collect()
    }

    /// The records, read and rendered again.
    pub(super) fn stream(&self) -> Found {
        let batch = &self.claim.batch;
        let Some(stream) = self.mender.tools.stream else { return Ok(Vec::new()) };
        let Some(spooled) = self.records(stream)? else { return Ok(Vec::new()) };
        let lines = Bytes::from(spooled.parts.concat());
        let own = self.mender.tools.level;
        let usual = Level::USUAL;
        let others = batch.compression.levels().filter(|level| ![own, usual].contains(level));
        // The same lines, compressed as they were then.
        for level in [own, usual].into_iter().chain(others) {
            let mut renderer = Renderer::new(batch.form(), level);
            recut(lines.as_ref(), |_| true, &mut renderer).map_err(|error| error.to_string())?;
            let Some(finished) = renderer.finish() else { break };
            if !batch.is(&finished.content, finished.side.as_ref().map(|side| &side.content)) {
                let why = format!(
                    "it holds {} of {} records, or others",
                    spooled.content.records,
                    batch.records + batch.side.as_ref().map_or(0, |side| side.records)
                );
                return Ok(vec![Candidate::Other { why, rest: Some((lines, Box::new(spooled.content))) }]);
            }
            let (content, parts) = match finished.side {
                Some(side) if self.claim.is_side => (side.content, side.parts),
                Some(_) | None => (finished.content, finished.parts),
            };
            if self.claim.sha256.as_ref().is_none_or(|sha256| *sha256 == content.sha256) {
                return Ok(vec![Candidate::Proved {
                    bytes: parts.concat().into(),
                    content: Box::new(content),
                    level: Some(renderer.level()),
                }]);
            }
        }
        let why = "its lines are right, but no level gives the bytes that were archived".to_owned();
        Ok(vec![Candidate::Other { why, rest: Some((lines, Box::new(spooled.content))) }])
    }

    /// What the stream still holds of the batch, as it would lie in a spool.
    fn records(&self, stream: &dyn Stream) -> Result<Option<Finished>, String> {
        let (batch, stop) = (&self.claim.batch, self.mender.stop);
        let told = |error: StreamError| error.to_string();
        let identity = stream.describe(stop).map_err(told)?.value.identity;
        if identity.created.as_seconds() != self.claim.ledger.created {
            return Err("the stream was deleted and made again since".to_owned());
        }
        let range = self.range()?;
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

    /// The shard's hash keys.
    fn range(&self) -> Result<HashKeyRange, String> {
        let begin = self.mender.archive.entry(&self.claim.ledger, 0, self.mender.stop);
        let begin = begin.map_err(|error| error.to_string())?.and_then(Result::ok);
        match begin.map(|read| read.entry.body) {
            Some(Body::Begin(begin)) => Ok(against::range_of(&begin)),
            Some(Body::Batch(_) | Body::Gap(_) | Body::End(_)) | None => {
                Err("entry 0 cannot be read".to_owned())
            }
        }
    }

    /// Reads a candidate whole and proves it; more bytes than the batch can have are not read.
    fn proved(&self, bytes: Box<dyn Read + Send>) -> Result<Candidate, String> {
        let batch = &self.claim.batch;
        let claimed = batch.side.as_ref().filter(|_| self.claim.is_side);
        let lines = claimed.map_or(batch.content_size, |side| side.content_size);
        let most = lines + lines / 16 + (1 << 20);
        let mut whole = Vec::new();
        bytes.take(most).read_to_end(&mut whole).map_err(|error| error.to_string())?;
        let whole = Bytes::from(whole);
        let bytes = Box::new(Cursor::new(whole.clone()));
        let content = match self.examined(bytes) {
            Ok(content) => content,
            Err(why) => return Ok(Candidate::Other { why, rest: None }),
        };
        match &self.claim.sha256 {
            Some(sha256) if *sha256 != content.sha256 => {
                let why = format!("its SHA-256 is {}, and was {sha256}", content.sha256);
                Ok(Candidate::Other { why, rest: None })
            }
            Some(_) | None => Ok(Candidate::Proved { bytes: whole, content, level: None }),
        }
    }

    /// The content of bytes that hold what the entry claims, or why they do not.
    fn examined(&self, bytes: Box<dyn Read + Send>) -> Result<Box<Content>, String> {
        let batch = &self.claim.batch;
        let examined = match batch.side.as_ref().filter(|_| self.claim.is_side) {
            Some(claimed) => side::examine(bytes, batch, claimed),
            None => examine(bytes, batch),
        };
        match examined {
            Examined::Content(content) if self.claim.is_side => Ok(content),
            Examined::Content(content) => against_entry(&content, batch).map(|()| content),
            Examined::Damaged(why) | Examined::Unread(why) => Err(why),
        }
    }
}
