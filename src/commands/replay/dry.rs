//! `--dry-run`: reads all that would be sent, and counts it.

use std::collections::HashMap;
use std::io;

use super::form::form;
use super::progress::Progress;
use super::state::LedgerHead;
use crate::archive::read::{LineAt, Remark, Taker};
use crate::commands::put::screen::Screen;
use crate::model::shard::ShardId;
use crate::producer::Why;

/// Counts.
pub(super) struct Count<'a> {
    screen: &'a Screen,
    progress: Progress,
    ledgers: HashMap<(i64, ShardId), usize>,
    most_record_bytes: usize,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) refused: u64,
    pub(super) without_key: u64,
    pub(super) remarks: u64,
    pub(super) on_their_way: u64,
}

impl<'a> Count<'a> {
    /// Of what is left, for a stream that takes records of so many bytes.
    pub(super) fn new(
        screen: &'a Screen,
        heads: &[LedgerHead],
        progress: Progress,
        most_record_bytes: usize,
    ) -> Self {
        let numbered = heads.iter().enumerate();
        let ledgers = numbered.map(|(number, head)| ((head.created, head.shard.clone()), number)).collect();
        Self {
            screen,
            progress,
            ledgers,
            most_record_bytes,
            records: 0,
            bytes: 0,
            refused: 0,
            without_key: 0,
            remarks: 0,
            on_their_way: 0,
        }
    }
}

impl Taker for Count<'_> {
    fn lines(&mut self, _lines: &[u8]) -> io::Result<()> {
        // Where a line lies must be known, and is only told where lines are merged.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn line(&mut self, at: &LineAt<'_>, line: &[u8]) -> io::Result<()> {
        let ledger = self.ledgers.get(&(at.created, at.shard.clone())).copied();
        if ledger.is_some_and(|ledger| self.progress.is_done(ledger, at.serial, at.line)) {
            return Ok(());
        }
        let formed = form(line, 0).map_err(io::Error::other)?;
        self.without_key += u64::from(formed.without_key);
        match Why::against(&formed.record, self.most_record_bytes) {
            None => {
                self.records += 1;
                self.bytes += formed.record.size() as u64;
            }
            Some(_) => self.refused += 1,
        }
        self.screen.taken(line.len() as u64);
        if self.records.is_multiple_of(1_000) {
            self.screen.say(|| format!("{} records, at {}", self.records, formed.arrival));
        }
        Ok(())
    }

    fn remark(&mut self, remark: Remark) {
        match remark {
            Remark::OnItsWay { .. } => self.on_their_way += 1,
            Remark::Gap { .. } | Remark::Expired { .. } | Remark::Untimed { .. } => self.remarks += 1,
        }
        self.screen.aside(|| crate::commands::read::tell(&remark));
    }
}
