//! `level = "auto"`: how hard the compressor tries with the batch that begins now.
//!
//! Owns that decision, and what replies said since the last one. How busy the cores are is asked of a port.
//!
//! ```text
//!        a reply behind by more than BEHIND, while more than BUSY of the cores is in use
//!   6 ────────────────────────────────────────────────────────────────────────────────▶ 1
//!   ▲                                                                                   │
//!   └──────────────── a reply no further behind than CAUGHT_UP ─────────────────────────┘
//! ```

use std::cmp::Ordering;
use std::time::Duration;

use super::worker::ShardWorker;
use crate::model::batch::Level;

/// A shard further behind has a backlog to work off. Kinesis gives a shard out at twice the rate at which it can
/// be filled: what is less than this is over within another minute, and not worth larger objects.
const BEHIND: Duration = Duration::from_secs(60);

/// A shard no further behind is caught up: what came since its last reply, with `stream.poll` at its default.
const CAUGHT_UP: Duration = Duration::from_secs(1);

/// Of the cores: with more in use, threads wait for one another.
const BUSY: f64 = 0.8;

/// What was chosen last, and what speaks for another choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct AutoLevel {
    /// The level of the last batch.
    last: u32,
    /// A reply was caught up since that batch began.
    caught_up: bool,
    /// The last reply was behind, and the cores were busy.
    pressed: bool,
}

impl Default for AutoLevel {
    fn default() -> Self {
        Self { last: Level::USUAL, caught_up: false, pressed: false }
    }
}

impl AutoLevel {
    /// A reply came, and is so far behind. The cores are asked about only where it matters; they are asked at
    /// each such reply, because only who is asked often knows of the last second.
    fn saw(&mut self, behind: Duration, in_use: impl FnOnce() -> Option<f64>) {
        self.caught_up |= behind <= CAUGHT_UP;
        self.pressed = behind > BEHIND && in_use().is_some_and(|in_use| in_use > BUSY);
    }

    /// The level of the batch that begins now.
    fn begin(&mut self) -> u32 {
        let stays_fast = self.last == Level::FAST && !self.caught_up;
        self.last = if stays_fast || self.pressed { Level::FAST } else { Level::USUAL };
        self.caught_up = false;
        self.last
    }
}

impl ShardWorker {
    /// Takes note of how far behind a reply is.
    pub(super) fn note_pressure(&mut self, behind: Duration) {
        if self.setup.settings.level == Level::Auto {
            let cores = &self.ports.cores;
            self.auto_level.saw(behind, || cores.in_use());
        }
    }

    /// Chooses the level of the open batch, which is still empty; `None`: the settings say it.
    pub(super) fn choose_level(&mut self) -> Option<u32> {
        if self.setup.settings.level != Level::Auto || !self.writer.is_empty() {
            return None;
        }
        let before = self.auto_level.last;
        let level = self.auto_level.begin();
        let shard = &self.setup.shard.id;
        match level.cmp(&before) {
            Ordering::Less => {
                tracing::info!(
                    %shard,
                    "the shard is behind and the cores are busy: compressing at level {level} until it has caught up"
                );
            }
            Ordering::Greater => {
                tracing::info!(%shard, "the shard has caught up: compressing at level {level} again");
            }
            Ordering::Equal => {}
        }
        self.writer.set_level(self.setup.settings.spool_level(Some(level)));
        Some(level)
    }

    /// The level of what is compressed now and was in no sealed batch of ours.
    pub(super) fn present_level(&self) -> u32 {
        self.setup.settings.level.with(Some(self.auto_level.last))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: Option<f64> = Some(0.3);
    const ALL: Option<f64> = Some(1.0);

    /// The level of a batch that begins with a reply so many seconds behind.
    fn batch(level: &mut AutoLevel, seconds: u64, in_use: Option<f64>) -> u32 {
        level.saw(Duration::from_secs(seconds), || in_use);
        level.begin()
    }

    #[test]
    fn it_goes_down_only_where_a_shard_is_behind_and_the_cores_are_busy() {
        let first = |seconds, in_use| batch(&mut AutoLevel::default(), seconds, in_use);
        assert_eq!(first(0, ALL), 6);
        assert_eq!(first(60, ALL), 6, "less than a minute is soon over");
        assert_eq!(first(7200, IDLE), 6, "there is time for it");
        assert_eq!(first(7200, None), 6, "nothing is known of the cores");
        assert_eq!(first(7200, Some(BUSY)), 6);
        assert_eq!(first(61, ALL), 1);
    }

    #[test]
    fn it_stays_down_until_the_shard_has_caught_up() {
        let mut level = AutoLevel::default();
        assert_eq!(batch(&mut level, 7200, ALL), 1);
        assert_eq!(batch(&mut level, 7200, IDLE), 1, "at level 1 fewer cores are busy");
        assert_eq!(batch(&mut level, 30, IDLE), 1);
        assert_eq!(batch(&mut level, 0, ALL), 6);
        assert_eq!(batch(&mut level, 30, ALL), 6);
    }

    #[test]
    fn a_tip_that_was_reached_within_a_batch_counts_for_the_next() {
        let mut level = AutoLevel::default();
        assert_eq!(batch(&mut level, 7200, ALL), 1);
        level.saw(Duration::ZERO, || ALL);
        assert_eq!(batch(&mut level, 30, ALL), 6);
        assert_eq!(batch(&mut level, 7200, ALL), 1);
        level.saw(Duration::ZERO, || ALL);
        assert_eq!(batch(&mut level, 7200, ALL), 1, "and is behind again");
    }

    #[test]
    fn the_cores_are_asked_about_only_while_the_shard_is_behind() {
        let mut level = AutoLevel::default();
        for seconds in [0, 1, 60] {
            level.saw(Duration::from_secs(seconds), || panic!("asked"));
        }
    }

    proptest! {
        /// Whatever replies say: down only by a reply that was behind on busy cores, up only by one that was
        /// caught up, and never anything but the two.
        #[test]
        fn each_change_has_its_reason(replies in prop::collection::vec((0_u64..200, 0.0..1.0_f64, any::<bool>()), 1..60)) {
            let (mut level, mut before, mut caught_up) = (AutoLevel::default(), Level::USUAL, false);
            for (seconds, in_use, begins) in replies {
                level.saw(Duration::from_secs(seconds), || Some(in_use));
                caught_up |= seconds <= 1;
                if !begins {
                    continue;
                }
                let pressed = seconds > 60 && in_use > BUSY;
                let now = level.begin();
                prop_assert!(now == Level::FAST || now == Level::USUAL);
                prop_assert!(now >= before || pressed, "down for nothing");
                prop_assert!(now <= before || caught_up, "up for nothing");
                prop_assert!(!pressed || now == Level::FAST);
                prop_assert!(pressed || !caught_up || now == Level::USUAL);
                (before, caught_up) = (now, false);
            }
        }
    }
}
