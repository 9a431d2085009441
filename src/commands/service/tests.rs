use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::ShardState;
use crate::testing::{ManualClock, World};

struct Ear(Sender<String>);

impl Manager for Ear {
    fn tell(&self, message: &str) -> io::Result<()> {
        self.0.send(message.to_owned()).map_err(io::Error::other)
    }
}

struct Stage {
    telling: Telling,
    heard: Receiver<String>,
    world: Arc<World>,
    clock: Arc<dyn Clock>,
    registry: Registry,
}

const SECOND: Duration = Duration::from_secs(1);

fn stage() -> Stage {
    let (sender, heard) = channel();
    let world = World::new(Timestamp::from_seconds(0));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Arc::clone(&world), 0));
    let registry = Registry::new("clickstream".into(), true, Arc::clone(&clock));
    let telling = Telling::new(Box::new(Ear(sender)), Some(SECOND), Arc::clone(&clock));
    Stage { telling, heard, world, clock, registry }
}

impl Stage {
    fn heard(&self) -> String {
        self.heard.try_iter().collect()
    }

    /// A shard reads, and should make progress soon; its thread says so again within so long.
    fn reads(&self, within: Duration, troubles: &[&str]) {
        let now = self.clock.monotonic();
        let state = ShardState {
            activity: "reading",
            due: Some(now + SECOND),
            reports_by: Some(now + within),
            troubles: troubles.iter().map(|&trouble| trouble.to_owned()).collect(),
            ..ShardState::default()
        };
        self.registry.shard(&ShardId::new("shardId-0")).state(state);
    }
}

#[test]
fn readiness_comes_with_the_stream_and_a_reload_is_ready_again() {
    let mut stage = stage();
    stage.telling.look();
    assert_eq!(stage.heard(), "");
    stage.telling.follow(stage.registry.clone());
    assert_eq!(stage.heard(), "STATUS=waiting for stream\nWATCHDOG=1\n");
    stage.registry.stream_state(None);
    stage.telling.look();
    assert_eq!(stage.heard(), "READY=1\nSTATUS=archiving clickstream\n");
    stage.telling.look();
    assert_eq!(stage.heard(), "");
    stage.telling.reloading();
    assert!(stage.heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    stage.telling.look();
    assert_eq!(stage.heard(), "", "the old run's stream is no readiness");
    let next = Registry::new("clickstream".into(), true, Arc::clone(&stage.clock));
    stage.telling.follow(next.clone());
    assert_eq!(stage.heard(), "STATUS=waiting for stream\n");
    next.stream_state(None);
    stage.telling.look();
    assert!(stage.heard().starts_with("READY=1\n"));
    stage.telling.stopping();
    stage.telling.stopping();
    assert_eq!(stage.heard(), "STOPPING=1\nSTATUS=sealing and archiving what was read\n");
}

#[test]
fn the_watchdog_is_fed_in_known_waits_and_not_when_a_shard_hangs() {
    let mut stage = stage();
    stage.registry.stream_state(Some("waiting for stream: it does not exist".into()));
    stage.telling.follow(stage.registry.clone());
    assert!(stage.heard().ends_with("WATCHDOG=1\n"));
    stage.telling.look();
    assert_eq!(stage.heard(), "", "it is not fed more often than needed");
    stage.world.advance(SECOND);
    stage.telling.look();
    assert_eq!(stage.heard(), "WATCHDOG=1\n");
    stage.reads(2 * SECOND, &[]);
    stage.world.advance(3 * SECOND);
    stage.telling.look();
    assert!(!stage.heard().contains("WATCHDOG=1"), "a shard's thread hangs");
    stage.reads(60 * SECOND, &["Kinesis is\naway"]);
    stage.world.advance(2 * SECOND);
    stage.telling.look();
    let heard = stage.heard();
    let reasons = stage.registry.health().reasons;
    assert!(reasons.iter().any(|why| why.contains("no progress while reading")), "{reasons:?}");
    assert!(heard.contains("WATCHDOG=1\n"), "a restart would not help: {heard}");
}

#[test]
fn a_status_is_one_line_and_tells_the_first_trouble() {
    let mut stage = stage();
    stage.registry.stream_state(None);
    stage.reads(60 * SECOND, &["S3 is\naway", "SNS is away"]);
    stage.telling.follow(stage.registry.clone());
    let heard = stage.heard();
    assert!(heard.contains("STATUS=shardId-0: S3 is away (and 1 more)\n"), "{heard}");
    stage.telling.refused();
    assert!(stage.heard().starts_with("STATUS=the changed file was refused, see the log; shardId-0"));
}

#[test]
fn a_refused_file_is_told_until_another_is_taken() {
    let mut stage = stage();
    // Refused before the first run began.
    stage.telling.refused();
    stage.registry.stream_state(None);
    stage.telling.follow(stage.registry.clone());
    let told = "STATUS=the changed file was refused, see the log; archiving clickstream\n";
    assert_eq!(stage.heard(), format!("READY=1\n{told}WATCHDOG=1\n"));
    // A good one was taken and could not be kept.
    stage.telling.reloading();
    stage.telling.refused();
    stage.heard();
    stage.telling.follow(stage.registry.clone());
    assert_eq!(stage.heard(), format!("READY=1\n{told}"), "the manager waits for the end of the reload");
    let service = Service { telling: Some(Arc::new(Mutex::new(stage.telling))) };
    service.taken();
    service.follow(&stage.registry);
    let heard: String = stage.heard.try_iter().collect();
    assert_eq!(heard, "STATUS=archiving clickstream\n");
}

#[test]
fn only_a_watchdog_of_this_process_is_fed() {
    assert_eq!(feed_every(None, None, 7), None);
    assert_eq!(feed_every(Some("3000000"), None, 7), Some(SECOND));
    assert_eq!(feed_every(Some("3000000"), Some("7"), 7), Some(SECOND));
    assert_eq!(feed_every(Some("3000000"), Some("8"), 7), None);
    assert_eq!(feed_every(Some("0"), None, 7), None);
    assert_eq!(feed_every(Some("soon"), None, 7), None);
}
