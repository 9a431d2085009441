//! Placing: an entry's object, put where none is, and judged where one lies.

use std::io::Read;
use std::time::Duration;

use super::delivery::{Delivery, Lines, Seen, SeenObject, Settling, Trouble, Turn};
use super::put_room::Went;
use super::worker::ShardWorker;
use crate::codec::hash::Hasher;
use crate::codec::reader::inspect_packed;
use crate::codec::{ReadError, TextLines};
use crate::model::batch::{Compression, Form, Format};
use crate::model::ledger::{BatchBody, Body};
use crate::model::metadata;
use crate::model::metric::Counter;
use crate::model::rules::Rule;
use crate::model::sequence::Position;
use crate::ports::{Body as PutBody, CrashPoint, Head, Put, StoreError, StoreErrorKind};

/// Who waits for room is nudged when there is some, and looks by itself this often.
pub(super) const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

impl ShardWorker {
    /// Looks for the entry's object.
    pub(super) fn settle(&mut self, settling: Settling) -> Result<Turn, Trouble> {
        let Some(batch) = settling.batch().cloned() else {
            if matches!(settling.stored.entry.body, Body::Begin(_)) && settling.serial() > 0 {
                return Err(Trouble::Broken(format!(
                    "a begin entry lies at {}",
                    self.ledger.key(settling.serial())
                )));
            }
            return Ok(Turn::to(Delivery::Recording(settling, Seen::Nothing)));
        };
        if !self.setup.settings.rules.hold(Rule::ObjectSeenBeforeNextEntry) {
            return Ok(Turn::to(Delivery::Recording(settling, Seen::Expired)));
        }
        if !self.setup.settings.rules.hold(Rule::KeepCoveredUntilSeen) {
            let end = Position::After(batch.last_sequence_number.clone());
            self.drop_items(|item| item.is_covered_by(&end))?;
        }
        match self.ports.store.head(&batch.key, &self.stop)? {
            Some(head) => self.judge(settling, &batch, &head, None),
            None => self.missing_object(settling, &batch),
        }
    }

    /// Puts the object where none is, from lines that are exactly what the entry says.
    pub(super) fn put_object(&mut self, settling: Settling, lines: Lines) -> Result<Turn, Trouble> {
        let Some(batch) = settling.batch().cloned() else {
            return Ok(Turn::to(Delivery::Settling(settling)));
        };
        if !self.put_place.may_put(lines.bytes()) {
            return Ok(Turn::Wait(self.monotonic() + LOOK_FOR_ROOM));
        }
        // A side object is a put of its own.
        let beside = if lines.side.is_some() { self.ports.store.longest_put(0) } else { Duration::ZERO };
        let (longest, began) = (self.ports.store.longest_put(lines.bytes()) + beside, self.monotonic());
        // A large object may take minutes, in which nothing is read and all is well.
        self.held_up_for(longest);
        let turn = self.put_lines(settling, &batch, lines);
        let went = match &turn {
            Ok(_) => Some(Went::Answered),
            Err(Trouble::Store(error)) if error.kind == StoreErrorKind::NoAnswer => Some(Went::NoAnswer),
            Err(_) => None,
        };
        self.put_place.done(went, self.monotonic().saturating_sub(began), longest);
        turn
    }

    fn put_lines(&mut self, settling: Settling, batch: &BatchBody, lines: Lines) -> Result<Turn, Trouble> {
        if let Err(trouble) = self.put_side(&settling, batch, &lines) {
            if matches!(&trouble, Trouble::Store(error) if is_of_the_file(error)) {
                // It was rendered, and is rendered anew.
                self.delivery = Delivery::Settling(settling);
            }
            return Err(trouble);
        }
        let attributes = self.object_attributes(&settling, batch, &lines.content, lines.level);
        let body = PutBody::File { path: &lines.path, len: lines.content.size };
        let began = self.monotonic();
        match self.ports.store.put_if_absent(&batch.key, body, &attributes, &self.stop) {
            Ok(Put::Stored(stored)) => {
                self.ports.probe.reached(CrashPoint::AfterPut);
                self.ports.meter.upload(self.monotonic().saturating_sub(began));
                let (sha256, size) = (lines.content.sha256.clone(), lines.content.size);
                self.ports.meter.count(Counter::ObjectsArchived, 1);
                self.ports.meter.count(Counter::BytesArchived, size);
                let seen = SeenObject { stored, sha256, size, lines: Some(lines) };
                Ok(Turn::to(Delivery::Recording(settling, Seen::Object(Box::new(seen)))))
            }
            Ok(Put::Taken) => match self.ports.store.head(&batch.key, &self.stop)? {
                Some(head) => self.judge(settling, batch, &head, Some(lines)),
                // Deleted since, or not yet to be seen: put again.
                None => Err(self.busy("the object is taken and cannot be seen", batch.key.clone())),
            },
            Err(error) if is_of_the_file(&error) => {
                self.suspect(&lines, &error)?;
                self.delivery = Delivery::Settling(settling);
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts the side object, if the entry has one. It comes first: who sees the object need not look
    /// for it, and beside a void it holds nothing that counts.
    fn put_side(&self, settling: &Settling, batch: &BatchBody, lines: &Lines) -> Result<(), Trouble> {
        let level = lines.level;
        let (Some(side), Some(lines)) = (&batch.side, &lines.side) else { return Ok(()) };
        let attributes = self.object_attributes(settling, batch, &lines.content, level);
        let body = PutBody::File { path: &lines.path, len: lines.content.size };
        match self.ports.store.put_if_absent(&side.key, body, &attributes, &self.stop)? {
            Put::Stored(_) => {
                self.ports.probe.reached(CrashPoint::AfterSide);
                return Ok(());
            }
            Put::Taken => {}
        }
        let Some(head) = self.ports.store.head(&side.key, &self.stop)? else {
            return Err(self.busy("the side object is taken and cannot be seen", side.key.clone()));
        };
        let found = match head.meta(metadata::CONTENT_SHA256) {
            Some(content_sha256) => content_sha256.to_owned(),
            None => self.hash_lines(&side.key, batch.compression)?.1,
        };
        if found == side.content_sha256 {
            return Ok(());
        }
        Err(Trouble::Broken(format!(
            "the side object s3://{bucket}/{key} holds content {found} where entry {} of the ledger ({}) says {}; \
             compare them with: aws s3api head-object --bucket {bucket} --key {key}",
            settling.serial(),
            self.ledger.key(settling.serial()),
            side.content_sha256,
            bucket = self.setup.settings.bucket,
            key = side.key,
        )))
    }

    /// Decides what an object under the entry's key is: the entry's, a void, or a contradiction.
    fn judge(
        &mut self,
        settling: Settling,
        batch: &BatchBody,
        head: &Head,
        lines: Option<Lines>,
    ) -> Result<Turn, Trouble> {
        if head.is_void() && self.setup.settings.rules.hold(Rule::VoidIsGap) {
            return Ok(Turn::to(Delivery::Recording(settling, Seen::Void)));
        }
        let found = match (head.meta(metadata::CONTENT_SHA256), head.meta(metadata::SHA256)) {
            (Some(content), Some(sha256)) => Found {
                content_sha256: content.to_owned(),
                sha256: sha256.to_owned(),
                records: head.meta(metadata::RECORDS).and_then(|text| text.parse().ok()),
                last: head.meta(metadata::LAST_SEQUENCE_NUMBER).map(str::to_owned),
            },
            _ => self.hash_object(batch)?,
        };
        let agrees = found.content_sha256 == batch.content_sha256
            && found.records == Some(batch.records)
            && found.last.as_deref() == Some(batch.last_sequence_number.as_str());
        if !agrees {
            return Err(Trouble::Broken(format!(
                "the object s3://{bucket}/{key} holds content {} where entry {} of the ledger ({}) says {}; \
                 compare them with: aws s3api head-object --bucket {bucket} --key {key}",
                found.content_sha256,
                settling.serial(),
                self.ledger.key(settling.serial()),
                batch.content_sha256,
                bucket = self.setup.settings.bucket,
                key = batch.key,
            )));
        }
        let lines = match lines {
            // Only the copy wants it: what lies in the spool in this form is the copy already.
            None if self.setup.settings.keep_copies && batch.form() != Form::SPOOLED => {
                self.render_from_spool(batch)?
            }
            None => self.own_lines_of(batch),
            lines => lines,
        };
        let lines = lines.filter(|lines| lines.content.sha256 == found.sha256);
        let seen = SeenObject { stored: head.stored.clone(), sha256: found.sha256, size: head.size, lines };
        Ok(Turn::to(Delivery::Recording(settling, Seen::Object(Box::new(seen)))))
    }

    /// An object without our metadata is fetched and hashed.
    fn hash_object(&self, batch: &BatchBody) -> Result<Found, Trouble> {
        if batch.format == Format::Payload {
            let (records, content_sha256, sha256) = self.hash_lines(&batch.key, batch.compression)?;
            // Its lines do not say what they are of; the same content is of the same records.
            let last = Some(batch.last_sequence_number.to_string());
            return Ok(Found { content_sha256, sha256, records: Some(records), last });
        }
        let file = self.open_object(&batch.key)?;
        let content =
            inspect_packed(batch.compression, file).map_err(|error| is_unread(&batch.key, &error))?;
        Ok(Found {
            content_sha256: content.content_sha256,
            sha256: content.sha256,
            records: Some(content.records),
            last: Some(content.last_sequence_number.to_string()),
        })
    }

    /// How many lines an object holds, and the hashes of its content and of itself.
    fn hash_lines(&self, key: &str, compression: Compression) -> Result<(u64, String, String), Trouble> {
        let mut lines = TextLines::new(compression, self.open_object(key)?);
        let mut content = Hasher::default();
        while let Some(line) = lines.next_line().map_err(|error| is_unread(key, &error))? {
            content.update(line);
        }
        Ok((lines.lines(), content.take_hex(), lines.take_source_hash().1))
    }

    fn open_object(&self, key: &str) -> Result<Box<dyn Read + Send>, Trouble> {
        let file = self.ports.store.open(key, &self.stop)?;
        file.ok_or_else(|| self.busy("the object was there and is gone", key.to_owned()))
    }
}

/// Whether the file that was put is at fault, or what became of it on its way.
fn is_of_the_file(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::BadDigest | StoreErrorKind::LocalFile)
}

/// Why an object was not read to its end: a connection that broke says nothing of what lies there.
fn is_unread(key: &str, error: &ReadError) -> Trouble {
    if !error.is_damage() {
        return Trouble::Store(StoreError {
            call: "GetObject",
            key: key.to_owned(),
            kind: StoreErrorKind::NoAnswer,
            message: error.to_string(),
        });
    }
    Trouble::Broken(format!("the object at s3 key {key} is none of this archive: {error}"))
}

/// What was found to lie under an entry's key.
struct Found {
    content_sha256: String,
    sha256: String,
    records: Option<u64>,
    last: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_breaks_is_tried_again_and_a_foreign_object_stops_the_shard() {
        let broken = ReadError::Source { at: 7, cause: std::io::Error::other("reset") };
        let Trouble::Store(error) = is_unread("k", &broken) else { panic!("it would stop the shard") };
        assert_eq!((error.kind, error.key.as_str()), (StoreErrorKind::NoAnswer, "k"));
        assert!(error.message.contains("reset"), "{error}");
        assert!(matches!(is_unread("k", &ReadError::TooLong { line: 1 }), Trouble::Broken(_)));
    }
}
