//! Rendering: from sealed items to the lines of an entry, trimmed as they are put.
//!
//! Owns what of a sealed item still has to be archived. A spool file is never rewritten: what is
//! cut from it goes into a file of its own.

use std::io::{self, Read};

use super::delivery::{Claim, Delivery, Lines, SideLines, Trouble, Turn};
use super::position::Archived;
use super::worker::ShardWorker;
use crate::codec::Renderer;
use crate::codec::reader::{ReadError, inspect, recut};
use crate::model::batch::{Content, Form};
use crate::model::key::Keys;
use crate::model::ledger::{BatchBody, Body, GapBody, SideBody};
use crate::model::metric::Service;
use crate::model::rules::Rule;
use crate::model::sealed::{SealedBatch, SealedKind};
use crate::model::sequence::{Position, SequenceNumber};
use crate::model::timestamp::Hour;
use crate::ports::StoreError;
use crate::spool::items::Item;

/// After so many failures to read an item's lines in a row, with waits between them, the disk will not give them back.
const UNREADABLE: u32 = 12;

const NOT_AS_SEALED: &str = "its lines are not those that were sealed";

impl ShardWorker {
    /// Composes the entry for the next sealed item.
    pub(super) fn claim_item(&mut self, archived: &Archived, item: &Item) -> Result<Turn, Trouble> {
        let (body, lines) = match &item.sealed.kind {
            SealedKind::Gap(gap) => {
                let after = archived.known.last_record.clone();
                (Body::Gap(GapBody { after, ..gap.clone() }), None)
            }
            SealedKind::End(end) => (Body::End(end.clone()), None),
            SealedKind::Batch(batch) => {
                let Some(lines) = self.lines_after(&archived.known.position, item, batch)? else {
                    return Ok(Turn::to(Delivery::Ready));
                };
                let hour = self.open_hour(hour_of(archived, &lines.content))?;
                (Body::Batch(Box::new(self.batch_body(archived, batch, &lines, hour))), Some(lines))
            }
        };
        let composed = self.ledger.compose(Self::predecessor(archived), body, self.ports.clock.now())?;
        Ok(Turn::to(Delivery::Claiming(Claim { composed, lines })))
    }

    fn batch_body(&self, archived: &Archived, batch: &SealedBatch, lines: &Lines, hour: Hour) -> BatchBody {
        let (settings, content) = (&self.setup.settings, &lines.content);
        let form = settings.form;
        let first = &content.first_sequence_number;
        let key = settings.keys.object(settings.layout, hour, &self.setup.shard.id, first, form);
        let side = lines.side.as_ref().map(|side| SideBody {
            key: Keys::side(&key),
            records: side.content.records,
            content_size: side.content.content_size,
            content_sha256: side.content.content_sha256.clone(),
        });
        BatchBody {
            key,
            hour,
            format: form.format,
            compression: form.compression,
            deaggregate: batch.deaggregate,
            first_sequence_number: first.clone(),
            last_sequence_number: content.last_sequence_number.clone(),
            records: content.records,
            content_size: content.content_size,
            content_sha256: content.content_sha256.clone(),
            first_arrival: content.first_arrival,
            last_arrival: content.last_arrival,
            sealed_by: batch.sealed_by,
            previous_object_sha256: archived.last_object_sha256.clone(),
            side,
        }
    }

    /// The lines of an item that lie behind `position`, in the form of the settings; `None` if the
    /// item was damaged and is gone.
    fn lines_after(
        &mut self,
        position: &Position,
        item: &Item,
        batch: &SealedBatch,
    ) -> Result<Option<Lines>, Trouble> {
        let form = self.setup.settings.form;
        let trimming = position.covers(&batch.content.first_sequence_number)
            && self.setup.settings.rules.hold(Rule::TrimSpoolAsItIsPut);
        if trimming {
            let lines = self.render(form, std::slice::from_ref(item), |n| !position.covers(n))?;
            return Ok(lines.map(|lines| lines.behind(batch.millis_behind_latest)));
        }
        if !item.inspected {
            let read = self.read_item(item, inspect);
            match self.given_back(item, read)? {
                Ok(content) if content == batch.content => self.spool.mark_inspected(item),
                Ok(_) => return self.damaged(item, NOT_AS_SEALED).map(|()| None),
                Err(reason) => return self.damaged(item, &reason).map(|()| None),
            }
        }
        if form == Form::SPOOLED {
            return Ok(Some(self.sealed_lines(item, batch)));
        }
        let lines = self.render(form, std::slice::from_ref(item), |_| true)?;
        Ok(lines.map(|lines| lines.behind(batch.millis_behind_latest)))
    }

    fn sealed_lines(&self, item: &Item, batch: &SealedBatch) -> Lines {
        Lines {
            path: self.spool.path(item),
            content: batch.content.clone(),
            side: None,
            level: batch.level,
            millis_behind_latest: batch.millis_behind_latest,
        }
    }

    /// Writes the records of `items` that `keep` keeps into the files for rendered lines, in this
    /// form; `None` if none are left, or an item was damaged and set aside.
    fn render(
        &mut self,
        form: Form,
        items: &[Item],
        keep: impl Fn(&SequenceNumber) -> bool,
    ) -> Result<Option<Lines>, Trouble> {
        let shared = self.shared.clone();
        let Some(_turn) = shared.render_turns.take(&self.setup.shard.id, &self.stop) else {
            return Err(Trouble::NoTurn);
        };
        let mut writer = Renderer::new(form, self.level_of(items.first()));
        // The files are held in memory until they are written; they are about as large as the items.
        let held: u64 = items.iter().map(Item::bytes).sum();
        self.tell_memory(held);
        let rendered = self.render_to(&mut writer, items, keep);
        self.tell_memory(0);
        rendered
    }

    fn render_to(
        &mut self,
        writer: &mut Renderer,
        items: &[Item],
        keep: impl Fn(&SequenceNumber) -> bool,
    ) -> Result<Option<Lines>, Trouble> {
        for item in items {
            // Items may overlap: what an earlier one gave is not given twice.
            let given = writer.last().cloned();
            let wanted = |n: &SequenceNumber| keep(n) && given.as_ref().is_none_or(|given| n > given);
            let read = self.read_item(item, |lines| recut(lines, wanted, writer));
            if let Err(reason) = self.given_back(item, read)? {
                self.damaged(item, &reason)?;
                return Ok(None);
            }
        }
        self.write_rendered(writer)
    }

    pub(super) fn write_rendered(&mut self, writer: &mut Renderer) -> Result<Option<Lines>, Trouble> {
        let Some(finished) = writer.finish() else { return Ok(None) };
        let write = |path: &std::path::Path, parts: &[Vec<u8>]| {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            self.ports.disk.write(path, &parts)
        };
        let path = self.spool.rendered_path();
        write(&path, &finished.parts)?;
        let side = match finished.side {
            Some(side) => {
                let path = self.spool.rendered_side_path();
                write(&path, &side.parts)?;
                Some(SideLines { path, content: side.content })
            }
            None => None,
        };
        let level = Some(writer.level());
        Ok(Some(Lines { path, content: finished.content, side, level, millis_behind_latest: 0 }))
    }

    /// The level of what is rendered from this item.
    pub(super) fn level_of(&self, item: Option<&Item>) -> u32 {
        let batch = item.and_then(|item| item.sealed.batch());
        self.setup.settings.level.with(batch.and_then(|batch| batch.chosen_level))
    }

    /// Reads an item's lines: the inner error is damage, the outer one a disk that does not answer.
    pub(super) fn read_item<T>(
        &self,
        item: &Item,
        read: impl FnOnce(Box<dyn Read + Send>) -> Result<T, ReadError>,
    ) -> Result<Result<T, String>, Trouble> {
        let lines = match self.spool.open_lines(item) {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        match read(lines) {
            Ok(value) => Ok(Ok(value)),
            Err(ReadError::Source { cause, .. }) => Err(cause.into()),
            Err(damage) => Ok(Err(damage.to_string())),
        }
    }

    /// A sector that is gone stays gone, and the stream may have the records still: an item that cannot be read again and
    /// again is damaged.
    pub(super) fn given_back<T>(
        &mut self,
        item: &Item,
        read: Result<Result<T, String>, Trouble>,
    ) -> Result<Result<T, String>, Trouble> {
        let path = self.spool.path(item);
        let Err(Trouble::Disk(error)) = read else {
            self.unreadable.remove(&path);
            return read;
        };
        let failures = self.unreadable.entry(path.clone()).or_default();
        *failures += 1;
        if *failures < UNREADABLE {
            return Err(error.into());
        }
        self.unreadable.remove(&path);
        Ok(Err(format!("the disk does not give it back: {error}")))
    }

    pub(super) fn damaged(&mut self, item: &Item, reason: &str) -> Result<(), Trouble> {
        let told = self.spool.set_item_aside(item, reason)?;
        self.shared.quota.remove(item.bytes());
        tracing::error!(shard = %self.setup.shard.id, "{told}");
        self.ports.meter.error(Service::Disk, "damaged");
        // The records are missing from the spool now: reading starts over from the ledger, also where it was far
        // ahead. What lies behind them is delivered only once they have been read again.
        self.read_anew();
        Ok(())
    }

    /// Renders exactly the records that another's (or our own earlier) entry claims, if they are
    /// all in the spool.
    pub(super) fn render_from_spool(&mut self, batch: &BatchBody) -> Result<Option<Lines>, Trouble> {
        if let Some(lines) = self.own_lines_of(batch) {
            return Ok(Some(lines));
        }
        let (first, last) = (&batch.first_sequence_number, &batch.last_sequence_number);
        let items: Vec<Item> = self
            .spool
            .items()
            .iter()
            .filter(|item| {
                item.sealed.batch().is_some_and(|own| {
                    own.deaggregate == batch.deaggregate
                        && own.content.first_sequence_number <= *last
                        && own.content.last_sequence_number >= *first
                })
            })
            .cloned()
            .collect();
        let begins = items.iter().any(|item| item.first().is_some_and(|own| own <= first));
        if !begins {
            return Ok(None);
        }
        let lines = self.render(batch.form(), &items, |n| n >= first && n <= last)?;
        Ok(lines.filter(|lines| lines.are_of(batch)))
    }

    /// The sealed item that holds exactly the entry's lines, if one does.
    pub(super) fn own_lines_of(&self, batch: &BatchBody) -> Option<Lines> {
        if batch.form() != Form::SPOOLED {
            return None;
        }
        let own = |item: &&Item| {
            item.sealed.batch().is_some_and(|own| own.content.content_sha256 == batch.content_sha256)
        };
        let item = self.spool.items().iter().find(own)?;
        item.sealed.batch().map(|own| self.sealed_lines(item, own))
    }

    /// S3 refused a body, or it could not be read: if the item's lines on disk are not what was
    /// sealed, it is set aside; the entry is then rendered from the stream.
    pub(super) fn suspect(&mut self, lines: &Lines, error: &StoreError) -> Result<(), Trouble> {
        let item = self.spool.items().iter().find(|item| self.spool.path(item) == lines.path).cloned();
        let Some(item) = item else { return Ok(()) };
        let read = self.read_item(&item, inspect);
        match self.given_back(&item, read)? {
            Ok(content) if content == lines.content => {
                tracing::warn!(shard = %self.setup.shard.id, "{error}; the sealed lines are whole, they are put again");
                Ok(())
            }
            Ok(_) => self.damaged(&item, NOT_AS_SEALED),
            Err(reason) => self.damaged(&item, &reason),
        }
    }

    /// Removes sealed items all of which are archived.
    pub(super) fn drop_covered(&mut self, archived: &Archived) -> io::Result<()> {
        let position = &archived.known.position;
        let told = |item: &Item| archived.ends_in_open_gap && item.is_open_gap() && item.follows <= *position;
        self.drop_items(|item| item.is_covered_by(position) || told(item))
    }

    /// Drops what fits; `settle` does so too early without [`Rule::KeepCoveredUntilSeen`].
    pub(super) fn drop_items(&mut self, fits: impl Fn(&Item) -> bool) -> io::Result<()> {
        while let Some(item) = self.spool.items().iter().find(|item| fits(item)).cloned() {
            let bytes = self.spool.remove(&item)?;
            self.shared.quota.remove(bytes);
        }
        Ok(())
    }
}

/// The hour of the next batch: a closed hour stays closed when arrival times go backwards, and a
/// batch that begins with the record of a void before it leaves the void its key.
fn hour_of(archived: &Archived, content: &Content) -> Hour {
    let own = content.first_arrival.hour();
    let hour = archived.hour.map_or(own, |before| before.max(own));
    let taken = archived.void_first.as_ref() == Some(&content.first_sequence_number);
    if taken { hour.next() } else { hour }
}
