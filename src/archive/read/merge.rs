//! All shards at once, by arrival: what a single log of the stream would have looked like.
//!
//! A child begins when its parents are over, as their keys demand. Within a shard the order is the shard's.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope};

use super::lines::{Lines, Piece, Sent};
use super::link::Links;
use super::order::Placed;
use super::{LineAt, PIECES_AHEAD, Query, ReadFailure, Taker, hand_over};
use crate::archive::Archive;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::stop::Stop;

/// One shard being read.
struct Running {
    shard: (i64, ShardId),
    pieces: Receiver<Sent>,
    piece: Piece,
    /// Which line of the piece is next.
    next: usize,
    links: Links,
}

impl Running {
    fn arrival(&self) -> Option<Timestamp> {
        self.piece.ends.get(self.next).map(|end| end.arrival)
    }

    /// Hands the next line over.
    fn give(&mut self, taker: &mut dyn Taker) -> io::Result<()> {
        let before = self.next.checked_sub(1).and_then(|before| self.piece.ends.get(before));
        let begins = before.map_or(0, |end| end.at);
        let Some(end) = self.piece.ends.get(self.next) else { return Ok(()) };
        self.next += 1;
        let (created, shard) = &self.shard;
        let at = LineAt { shard, created: *created, serial: self.piece.serial, line: end.line };
        taker.line(&at, self.piece.text.get(begins..end.at).unwrap_or_default())
    }
}

pub(super) fn merged(
    archive: &Archive,
    query: &Query,
    shards: Vec<Placed>,
    taker: &mut dyn Taker,
    stop: &Stop,
) -> Result<(), ReadFailure> {
    thread::scope(|scope| {
        let mut waiting = shards;
        let mut over: BTreeSet<(i64, ShardId)> = BTreeSet::new();
        let mut running: Vec<Running> = Vec::new();
        let mut heap: BinaryHeap<Reverse<(Timestamp, usize)>> = BinaryHeap::new();
        loop {
            let free = |shard: &Placed| {
                let created = shard.ledger.created;
                shard.parents.iter().all(|parent| over.contains(&(created, parent.clone())))
            };
            let (begin, wait): (Vec<_>, Vec<_>) = waiting.into_iter().partition(free);
            waiting = wait;
            let mut ended = false;
            for shard in begin {
                let mut one = start(scope, archive, query, shard, stop);
                ended |= !next_piece(&mut one, taker)?;
                match one.arrival() {
                    Some(arrival) => heap.push(Reverse((arrival, running.len()))),
                    None => drop(over.insert(one.shard.clone())),
                }
                running.push(one);
            }
            if ended {
                continue;
            }
            // Until a shard is over and its children may begin.
            loop {
                let Some(Reverse((_, index))) = heap.pop() else { return Ok(()) };
                if stop.reason().is_some() {
                    return Err(ReadFailure::Stopped);
                }
                let one = &mut running[index];
                one.give(taker).map_err(ReadFailure::Taker)?;
                if one.arrival().is_none() && !next_piece(one, taker)? {
                    over.insert(one.shard.clone());
                    break;
                }
                if let Some(arrival) = one.arrival() {
                    heap.push(Reverse((arrival, index)));
                }
            }
        }
    })
}

/// Takes the shard's next lines; false if it is over.
fn next_piece(one: &mut Running, taker: &mut dyn Taker) -> Result<bool, ReadFailure> {
    for sent in one.pieces.iter() {
        match sent {
            Sent::Lines(piece) => {
                (one.piece, one.next) = (piece, 0);
                return Ok(true);
            }
            other @ (Sent::Link(_) | Sent::Remark(_) | Sent::Failed(_)) => {
                hand_over(other, &mut one.links, taker)?;
            }
        }
    }
    (one.piece, one.next) = (Piece::default(), 0);
    Ok(false)
}

fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    archive: &'env Archive,
    query: &'env Query,
    shard: Placed,
    stop: &'env Stop,
) -> Running {
    let (sender, pieces) = sync_channel(PIECES_AHEAD);
    let id = (shard.ledger.created, shard.ledger.shard.clone());
    scope.spawn(move || {
        let lines = Lines { archive, query, stop };
        for index in shard.indices() {
            if !query.reads(&shard.ledger, index) {
                continue;
            }
            let mut taken = true;
            let read = lines.of_entry(&shard.ledger, index, &mut |sent| {
                taken = sender.send(sent).is_ok();
                taken
            });
            if let Err(failure) = read {
                // When the taker is gone there is nobody to tell.
                let _ = sender.send(Sent::Failed(failure));
                return;
            }
            if !taken {
                return;
            }
        }
    });
    Running { shard: id, pieces, piece: Piece::default(), next: 0, links: Links::default() }
}
