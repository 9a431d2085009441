//! Recording: what follows once an entry's object was seen: outbox, checkpoint, notice, local
//! copy; then the spool file goes.

use std::io;

use super::delivery::{Delivery, Lines, Seen, SeenObject, Settling, Trouble, Turn};
use super::position::{Archived, Start, is_open_gap, position_left_by};
use super::sealing::Unsealed;
use super::worker::ShardWorker;
use crate::codec::Renderer;
use crate::codec::reader::recut;
use crate::codec::void;
use crate::model::batch::{Content, Form, SealReason};
use crate::model::ledger::{BatchBody, Body, FORMAT_VERSION};
use crate::model::manifest::{About, BatchNotice, EndNotice, GapNotice, Notice, Origin};
use crate::model::metadata::{self, Source};
use crate::model::metric::{Counter, Service};
use crate::model::rules::Rule;
use crate::model::sealed::KnownPosition;
use crate::model::sequence::Position;
use crate::ports::{Attributes, Body as PutBody, CrashPoint};
use crate::spool::copies::put_copy;
use crate::spool::items::Item;

impl ShardWorker {
    /// Writes down that the entry is archived. Cut anywhere, it is done again with the same outcome.
    pub(super) fn record(&mut self, settling: Settling, seen: Seen) -> Result<Turn, Trouble> {
        let void = matches!(seen, Seen::Void);
        if !void
            && let Some(until) = passed_over_until(&settling.stored.entry.body)
            && self.setup.settings.rules.hold(Rule::RepairGappedRecords)
            && !self.repair_passed_over(&until)?
        {
            return Ok(Turn::Wait(self.monotonic().max(self.disk_due)));
        }
        if let Body::End(end) = &settling.stored.entry.body {
            self.look_for_children(end)?;
        }
        let next = self.archived_after(&settling, &seen);
        if void {
            // No checkpoint: a start must find the void again, and the gap that follows it.
            self.archived = Some(next);
            return Ok(Turn::to(Delivery::Walking));
        }
        let notice = self.notice(&settling, &seen);
        if let Some(notice) = &notice
            && self.ports.notifier.is_some()
        {
            self.outbox.add(notice)?;
            self.ports.probe.reached(CrashPoint::AfterOutbox);
        }
        let checkpoint = self.checkpoint_of(&next);
        self.ports.checkpoints.save(&self.setup.folder, &checkpoint)?;
        self.checkpoint = Some(checkpoint);
        self.disk_works();
        self.ports.probe.reached(CrashPoint::AfterCheckpoint);
        self.log_archived(&settling, &seen);
        if let Some(About::Batch(batch)) = notice.as_ref().map(|notice| &notice.about) {
            self.ports.meter.archived(batch);
        }
        self.announce();
        if let (Seen::Object(object), Some(notice)) = (&seen, &notice) {
            self.keep_copy(&settling, object, notice);
        }
        self.advance(next)?;
        Ok(Turn::to(Delivery::Walking))
    }

    fn archived_after(&self, settling: &Settling, seen: &Seen) -> Archived {
        let entry = &settling.stored.entry;
        let before = self.archived.as_ref();
        let mut next = Archived {
            serial: entry.serial,
            entry_sha256: settling.stored.sha256.clone(),
            known: self.known_after(settling),
            hour: before.and_then(|before| before.hour),
            last_object_sha256: before.map(|before| before.last_object_sha256.clone()).unwrap_or_default(),
            void_first: before.and_then(|before| before.void_first.clone()),
            ends_in_open_gap: is_open_gap(entry),
            void: None,
            start: Start::of(entry).or(before.and_then(|before| before.start)),
        };
        if let Body::Batch(batch) = &entry.body {
            next.hour = Some(batch.hour);
            next.void_first = matches!(seen, Seen::Void).then(|| batch.first_sequence_number.clone());
            next.last_object_sha256 = match seen {
                Seen::Object(object) => object.sha256.clone(),
                Seen::Nothing | Seen::Expired | Seen::Void => String::new(),
            };
            if matches!(seen, Seen::Void) {
                next.void = Some(batch.clone());
                if let Some(before) = before {
                    next.known = before.known.clone();
                }
            }
        }
        next
    }

    /// The position that the entry leaves, with what our own sealed item knows of it.
    fn known_after(&self, settling: &Settling) -> KnownPosition {
        let entry = &settling.stored.entry;
        let mut known = position_left_by(entry);
        if let Some(before) = &self.archived {
            known.position = entry.position_after(&before.known.position);
            known.last_record = known.last_record.or_else(|| before.known.last_record.clone());
        }
        let own = self.spool.items().iter().filter(|item| item.sealed.end() == known.position);
        known.complete_to = own.filter_map(|item| item.sealed.complete_to).max();
        known
    }

    /// The archived position moves on; what it covers leaves the spool, and reading that lies
    /// behind it starts over from it.
    fn advance(&mut self, next: Archived) -> Result<(), Trouble> {
        self.drop_covered(&next)?;
        self.ports.disk.remove(&self.spool.rendered_path())?;
        self.ports.disk.remove(&self.spool.rendered_side_path())?;
        self.ports.probe.reached(CrashPoint::AfterSpoolRemoved);
        let overtaken =
            self.reading.as_ref().is_some_and(|reading| reading.at.position < next.known.position);
        let parted = self.spool.part_from_start(&next.known.position);
        if overtaken || parted {
            // All that was read into the open batch lies in another keeper's object by now, or what lies
            // before the sealed items must be read first.
            self.read_anew();
        }
        self.archived = Some(next);
        Ok(())
    }

    /// Reading starts over from the ledger's position; what was read and is not sealed comes again.
    pub(super) fn read_anew(&mut self) {
        self.writer.clear();
        self.drop_spilled();
        self.open = super::open_batch::OpenBatch::default();
        self.tell_memory(0);
        self.reading = None;
    }

    /// Sealed records that another's entry passes over are kept under `_repaired/` in the
    /// bucket and under `damaged/` here. `false`: there is more to do before the entry is recorded.
    fn repair_passed_over(&mut self, to: &Position) -> Result<bool, Trouble> {
        let Some(archived) = &self.archived else { return Ok(true) };
        let from = archived.known.position.clone();
        if self.writer.first().is_some_and(|first| to.covers(first)) {
            // What is in memory counts as well.
            self.seal_open(SealReason::Request);
            return Ok(false);
        }
        // Those of a batch that the disk has not taken yet, too; what lies behind does not matter here.
        if self.unsealed.as_ref().and_then(Unsealed::first).is_some_and(|first| to.covers(first)) {
            return Ok(false);
        }
        let gapped: Vec<Item> = self
            .spool
            .items()
            .iter()
            .filter(|item| {
                item.sealed.batch().is_some_and(|batch| {
                    to.covers(&batch.content.first_sequence_number)
                        && !from.covers(&batch.content.last_sequence_number)
                })
            })
            .cloned()
            .collect();
        for item in gapped {
            self.repair(&item, &from, to)?;
        }
        Ok(true)
    }

    fn repair(&mut self, item: &Item, from: &Position, to: &Position) -> Result<(), Trouble> {
        let mut writer = Renderer::new(Form::SPOOLED, self.level_of(Some(item)));
        let wanted = |n: &crate::model::sequence::SequenceNumber| !from.covers(n) && to.covers(n);
        let read = self.read_item(item, |lines| recut(lines, wanted, &mut writer))?;
        self.put_aside(&mut writer)?;
        if let Err(reason) = read {
            // What could be read of it is safe by now; the file itself is kept for whoever can read more.
            tracing::error!(shard = %self.setup.shard.id, "records that a gap covers can be repaired in part only: {reason}");
            self.damaged(item, &reason)?;
        }
        Ok(())
    }

    /// Puts records under `_repaired/` in the bucket and `damaged/` here.
    fn put_aside(&self, writer: &mut Renderer) -> Result<(), Trouble> {
        let Some(finished) = writer.finish() else { return Ok(()) };
        let content = &finished.content;
        let key = self.setup.settings.keys.repaired(
            &self.setup.shard.id,
            self.setup.stream.created,
            (&content.first_sequence_number, &content.content_sha256),
        );
        let parts: Vec<&[u8]> = finished.parts.iter().map(Vec::as_slice).collect();
        let local = std::path::Path::new("damaged").join(&self.setup.folder);
        let local = local.join(key.rsplit('/').next().unwrap_or(&key));
        self.ports.disk.write(&local, &parts)?;
        let attributes = Attributes {
            content_type: Form::SPOOLED.compression.media_type(),
            sha256: content.sha256.clone(),
            metadata: self.metadata(content, None, Some(writer.level())),
            data: true,
        };
        let body = PutBody::File { path: &local, len: content.size };
        self.ports.store.put_if_absent(&key, body, &attributes, &self.stop)?;
        tracing::error!(
            shard = %self.setup.shard.id,
            records = content.records,
            key,
            "another keeper's gap or end passes over records that this one holds; they were put under _repaired/ \
             and kept under damaged/"
        );
        Ok(())
    }

    /// Keeps what was put on this disk, too. Where that fails archiving goes on: a copy is a convenience, and a
    /// spool that waited for it would fill.
    fn keep_copy(&mut self, settling: &Settling, object: &SeenObject, notice: &Notice) {
        let (Some(lines), Some(batch)) = (&object.lines, settling.batch()) else { return };
        if !self.setup.settings.keep_copies {
            return;
        }
        if let Err(error) = self.put_copies(lines, batch, notice) {
            self.ports.meter.error(Service::Disk, "copy");
            let told = format!("no local copy is kept: {error}");
            if self.troubles.copies.as_ref() != Some(&told) {
                let shard = &self.setup.shard.id;
                tracing::warn!(%shard, key = batch.key, "{told}; the batch is archived all the same");
            }
            self.troubles.copies = Some(told);
            return;
        }
        if self.troubles.copies.take().is_some() {
            tracing::info!(shard = %self.setup.shard.id, "local copies are kept again");
        }
        self.ports.probe.reached(CrashPoint::AfterLocalCopy);
    }

    fn put_copies(&self, lines: &Lines, batch: &BatchBody, notice: &Notice) -> io::Result<()> {
        let sidecar = serde_json::to_vec_pretty(notice)?;
        put_copy(&*self.ports.disk, &batch.key, &lines.path, &sidecar)?;
        if let (Some(side), Some(lines)) = (&batch.side, &lines.side) {
            put_copy(&*self.ports.disk, &side.key, &lines.path, &sidecar)?;
        }
        Ok(())
    }

    fn log_archived(&self, settling: &Settling, seen: &Seen) {
        let shard = &self.setup.shard.id;
        match (&settling.stored.entry.body, seen) {
            (Body::Batch(batch), Seen::Object(object)) => {
                self.log_side(batch);
                tracing::info!(
                    shard = %shard,
                    serial = settling.serial(),
                    key = batch.key,
                    records = batch.records,
                    bytes = object.size,
                    reason = batch.sealed_by.as_str(),
                    lag_ms = object.lines.as_ref().map_or(0, |lines| lines.millis_behind_latest),
                    "archived"
                );
            }
            (Body::Gap(gap), _) => {
                self.ports.meter.count(Counter::Gaps, 1);
                tracing::error!(
                    shard = %shard,
                    serial = settling.serial(),
                    from = %gap.from,
                    to = %gap.to,
                    why = gap.why.as_str(),
                    certain = gap.certain,
                    "a gap was recorded"
                );
            }
            (Body::End(_), _) => {
                tracing::info!(shard = %shard, serial = settling.serial(), "the shard's end is archived")
            }
            (Body::Batch(_) | Body::Begin(_), _) => {}
        }
    }

    /// Records that can't be lines are never lost, but whoever reads the lines alone misses them.
    fn log_side(&self, batch: &BatchBody) {
        let Some(side) = &batch.side else { return };
        self.ports.meter.error(Service::S3, "not_a_line");
        tracing::error!(
            shard = %self.setup.shard.id,
            records = side.records,
            key = side.key,
            "records that cannot be lines of a payload object were put into a side object"
        );
    }

    /// What is announced of the entry; an expired object is not.
    fn notice(&self, settling: &Settling, seen: &Seen) -> Option<Notice> {
        let entry = &settling.stored.entry;
        let origin = Origin {
            stream: entry.stream.clone(),
            stream_arn: entry.stream_arn.clone(),
            stream_created: entry.stream_created,
            shard: entry.shard.clone(),
            serial: entry.serial,
            bucket: self.setup.settings.bucket.clone(),
        };
        let about = match (&entry.body, seen) {
            (Body::Batch(batch), Seen::Object(object)) => {
                About::Batch(Box::new(self.batch_notice(origin, batch, object)))
            }
            (Body::Gap(gap), _) => About::Gap(Box::new(GapNotice { origin, gap: gap.clone() })),
            (Body::End(end), _) => About::End(Box::new(EndNotice { origin, children: end.children.clone() })),
            (Body::Batch(_) | Body::Begin(_), _) => return None,
        };
        Some(Notice { version: FORMAT_VERSION, about })
    }

    fn batch_notice(&self, origin: Origin, batch: &BatchBody, object: &SeenObject) -> BatchNotice {
        BatchNotice {
            url: format!("s3://{}/{}", origin.bucket, batch.key),
            origin,
            key: batch.key.clone(),
            etag: object.stored.etag.clone(),
            version_id: object.stored.version_id.clone(),
            sha256: object.sha256.clone(),
            size: object.size,
            content_sha256: batch.content_sha256.clone(),
            content_size: batch.content_size,
            records: batch.records,
            first_sequence_number: batch.first_sequence_number.clone(),
            last_sequence_number: batch.last_sequence_number.clone(),
            first_arrival: batch.first_arrival,
            last_arrival: batch.last_arrival,
            parents: self.setup.shard.parents.clone(),
            sealed_by: batch.sealed_by,
            side: batch.side.clone(),
            millis_behind_latest: object.lines.as_ref().map_or(0, |lines| lines.millis_behind_latest),
        }
    }

    /// What is stored beside the object of an entry, or beside its side object.
    pub(super) fn object_attributes(
        &self,
        settling: &Settling,
        batch: &BatchBody,
        content: &Content,
        level: Option<u32>,
    ) -> Attributes {
        Attributes {
            content_type: batch.compression.media_type(),
            sha256: content.sha256.clone(),
            metadata: self.metadata(content, Some(settling.serial()), level),
            data: true,
        }
    }

    pub(super) fn void_attributes(&self, settling: &Settling, batch: &BatchBody) -> Attributes {
        let mut attributes = self.object_attributes(settling, batch, &void::content(batch), None);
        attributes.metadata.push((metadata::VOID, "1".to_owned()));
        attributes
    }

    fn metadata(
        &self,
        content: &Content,
        serial: Option<u64>,
        level: Option<u32>,
    ) -> Vec<(&'static str, String)> {
        let source = Source {
            stream: &self.setup.stream.name,
            created: self.setup.stream.created,
            shard: &self.setup.shard.id,
            serial,
        };
        metadata::of(&source, content, level)
    }
}

/// Up to where an entry passes over records without archiving them.
fn passed_over_until(body: &Body) -> Option<Position> {
    match body {
        Body::Gap(gap) => gap.resumes_at.clone().map(Position::Before),
        Body::End(_) => Some(Position::End),
        // Another may have begun later than we did, when the first records were trimmed.
        Body::Batch(batch) => Some(Position::Before(batch.first_sequence_number.clone())),
        Body::Begin(_) => None,
    }
}
