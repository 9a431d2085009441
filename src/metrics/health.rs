//! Whether the archiver makes progress, and if not, why.
//!
//! Decides purely from what the shards said of themselves; asks nobody.

use std::fmt;
use std::time::Duration;

use crate::model::shard::ShardId;
use crate::ports::ShardState;

/// The answer of `/healthz`; displayed as its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why no progress is made, a line each; empty when all is well.
    pub reasons: Vec<String>,
    /// What is wrong although progress is made, such as S3 being away while reading goes on.
    pub troubles: Vec<String>,
    /// Whether a shard's thread has said nothing for longer than all of its calls may take: it hangs, and only a
    /// restart would help. A service that gives no answer, a full spool or a stopped shard are not mended by one.
    pub stuck: bool,
}

impl Health {
    /// Whether every shard makes progress.
    pub fn is_good(&self) -> bool {
        self.reasons.is_empty()
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_good() {
            writeln!(f, "ok")?;
        }
        self.reasons.iter().chain(&self.troubles).try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Judges the stream and its running shards at the monotonic instant `now`.
pub fn judge(now: Duration, stream: Option<String>, shards: &[(ShardId, ShardState)]) -> Health {
    let mut health = Health::default();
    health.reasons.extend(stream);
    for (shard, state) in shards {
        let activity = state.activity;
        let hangs = state.reports_by.and_then(|by| now.checked_sub(by)).filter(|late| !late.is_zero());
        if let Some(late) = hangs {
            health.stuck = true;
            let late = late.as_secs_f64();
            health.reasons.push(format!("{shard}: its thread hangs while {activity}, {late:.1} s overdue"));
        }
        if matches!(activity, "paused" | "stopped") {
            let why = state.troubles.join("; ");
            let colon = if why.is_empty() { "" } else { ": " };
            health.reasons.push(format!("{shard}: {activity}{colon}{why}"));
            continue;
        }
        if let Some(late) = lateness(state, now) {
            let late = late.as_secs_f64();
            health.reasons.push(format!("{shard}: no progress while {activity}, {late:.1} s overdue"));
        }
        health.troubles.extend(state.troubles.iter().map(|trouble| format!("{shard}: {trouble}")));
    }
    health
}

/// How long ago progress was due, if it was.
pub(super) fn lateness(state: &ShardState, now: Duration) -> Option<Duration> {
    state.due.and_then(|due| now.checked_sub(due)).filter(|late| !late.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn judged(activity: &'static str, due: Option<u64>, troubles: &[&str]) -> Health {
        let troubles = troubles.iter().map(|&trouble| trouble.to_owned()).collect();
        let due = due.map(Duration::from_secs);
        let state = ShardState { activity, due, troubles, ..ShardState::default() };
        judge(NOW, None, &[(ShardId::new("shardId-0"), state)])
    }

    #[test]
    fn progress_in_time_is_good_and_troubles_are_told() {
        assert_eq!(judged("reading", Some(100), &[]).to_string(), "ok\n");
        assert_eq!(judged("waiting", None, &[]).to_string(), "ok\n");
        let health = judged("reading", Some(101), &["S3 is away"]);
        assert!(health.is_good());
        assert_eq!(health.to_string(), "ok\nshardId-0: S3 is away\n");
    }

    #[test]
    fn what_is_overdue_paused_or_stopped_is_bad() {
        let health = judged("reading", Some(90), &["S3 is away"]);
        assert!(!health.is_good() && !health.stuck, "S3 is not mended by a restart");
        assert_eq!(
            health.to_string(),
            "shardId-0: no progress while reading, 10.0 s overdue\nshardId-0: S3 is away\n"
        );
        let health = judged("paused", None, &["the spool is full", "S3 is away"]);
        assert_eq!(health.to_string(), "shardId-0: paused: the spool is full; S3 is away\n");
        assert!(!health.stuck, "a restart would not help");
        assert_eq!(judged("stopped", Some(200), &[]).to_string(), "shardId-0: stopped\n");
    }

    #[test]
    fn a_thread_that_says_nothing_hangs() {
        let state = |reports_by| ShardState {
            activity: "paused",
            reports_by: Some(Duration::from_secs(reports_by)),
            ..ShardState::default()
        };
        let judged = |reports_by| judge(NOW, None, &[(ShardId::new("shardId-0"), state(reports_by))]);
        assert!(!judged(100).stuck);
        let health = judged(90);
        assert!(health.stuck);
        assert!(health.to_string().starts_with("shardId-0: its thread hangs while paused, 10.0 s overdue\n"));
    }

    #[test]
    fn the_stream_may_not_be_there_yet() {
        let health = judge(NOW, Some("waiting for stream".into()), &[]);
        assert!(!health.is_good());
        assert_eq!(health.to_string(), "waiting for stream\n");
    }
}
