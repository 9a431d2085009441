//! What a run is like: everything that its seed decides before it begins.

use std::time::Duration;

use kinesis_keeper::ledger::start::ConfiguredStart;
use kinesis_keeper::model::batch::{Compression, Form, Format, Level, Limits};
use kinesis_keeper::model::key::Layout;
use kinesis_keeper::model::rules::Rules;
use kinesis_keeper::shard::setup::{Members, Pacing};
use kinesis_keeper::testing::{Faults, StreamSetup};

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
/// So long that nothing is trimmed in a run.
pub const FOREVER: Duration = Duration::from_secs(400 * 24 * 3600);

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub shards: u32,
    pub stream: StreamSetup,
    pub lifecycle: Option<Duration>,
    pub start: ConfiguredStart,
    pub keepers: Vec<KeeperPlan>,
    pub duration: Duration,
    pub write_every: Duration,
    pub trouble_every: Duration,
    /// The chance that a keeper loses power when it has put a batch's entry and not its object.
    pub dies_after_entry: f64,
    /// A keeper that was started crashes again within so many calls; 0: not by itself.
    pub crashes_again: u64,
    /// By how much a thread may oversleep a wait of some seconds: 1 is twice as long.
    pub oversleeps: f64,
    /// The longest that a keeper, or a service, is away.
    pub longest_away: Duration,
    pub reshards: bool,
    pub recreates: bool,
    pub rules: Rules,
}

/// One keeper of a run.
#[derive(Clone, Debug)]
pub struct KeeperPlan {
    pub name: &'static str,
    pub limits: Limits,
    pub layout: Layout,
    /// The form of its objects: another one each time that it is started.
    pub forms: Vec<Form>,
    pub level: Level,
    pub deaggregate: bool,
    pub keep_copies: bool,
    pub pacing: Pacing,
    pub members: Members,
    pub skew_millis: i64,
    pub faults: Faults,
    /// How late it is started.
    pub starts_after: Duration,
}

impl Plan {
    /// The run of this seed.
    pub fn of(seed: u64, rules: Rules) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let trims = random.u8(0..10) < 7;
        let retention = if trims { between(&mut random, 70 * MINUTE, 3 * HOUR) } else { FOREVER };
        let duration = if trims {
            retention.mul_f64(1.5 + 2.0 * random.f64())
        } else {
            between(&mut random, 2 * HOUR, 5 * HOUR)
        };
        let stream = StreamSetup {
            retention,
            silent_trim: random.bool(),
            reply_limit: random.usize(1..=8),
            arrival_jitter: if random.bool() { Duration::ZERO } else { between(&mut random, SECOND, MINUTE) },
        };
        let expires = random.u8(0..5) == 0;
        let calm = random.u8(0..4) == 0;
        let caught_up = duration / random.u32(30..80);
        let keepers = if random.u8(0..4) == 0 { 1 } else { 2 };
        let names = ["ada", "bob"];
        let keepers = names.iter().take(keepers).enumerate();
        // Drawn by itself, so that forms change nothing else of a run.
        let mut forms = fastrand::Rng::with_seed(!seed);
        let keepers = keepers.map(|(index, name)| KeeperPlan {
            forms: some_forms(&mut forms),
            members: some_members(seed),
            ..keeper(&mut random, name, index, calm, caught_up)
        });
        let keepers = keepers.collect();
        Self {
            seed,
            shards: if random.u8(0..4) == 0 { 2 } else { 1 },
            stream,
            lifecycle: expires.then(|| between(&mut random, HOUR, duration)),
            start: if random.u8(0..4) == 0 { ConfiguredStart::Latest } else { ConfiguredStart::TrimHorizon },
            keepers,
            duration,
            write_every: duration / random.u32(5..35),
            trouble_every: duration / random.u32(3..25),
            dies_after_entry: if random.bool() { 0.0 } else { 0.3 * random.f64() },
            crashes_again: if random.u8(0..4) > 0 { 0 } else { random.u64(10..120) },
            oversleeps: 6.0,
            longest_away: if trims { retention.mul_f64(1.6) } else { duration / 2 },
            reshards: random.u8(0..4) == 0,
            recreates: random.u8(0..25) == 0,
            rules,
        }
    }

    /// Whether the stream loses any record in this run.
    pub fn trims(&self) -> bool {
        self.stream.retention != FOREVER
    }
}

fn keeper(
    random: &mut fastrand::Rng,
    name: &'static str,
    index: usize,
    calm: bool,
    caught_up: Duration,
) -> KeeperPlan {
    let limits = Limits {
        max_age: between(random, MINUTE, 20 * MINUTE),
        max_records: random.u64(1..12),
        max_bytes: random.u64(300..6000),
    };
    let pacing = Pacing {
        behind: between(random, SECOND, 20 * SECOND),
        caught_up,
        throttled: 5 * SECOND,
        bytes_per_second: 2 << 20,
    };
    let starts_after = if index == 0 && random.bool() {
        Duration::ZERO
    } else {
        let top = caught_up * random.u32(1..30);
        between(random, Duration::ZERO, top)
    };
    KeeperPlan {
        name,
        limits,
        layout: if random.bool() { Layout::Hive } else { Layout::Firehose },
        forms: Vec::new(),
        level: Level::Fixed(random.u32(1..=2)),
        deaggregate: random.bool(),
        keep_copies: random.u8(0..4) == 0,
        pacing,
        members: Members::default(),
        skew_millis: random.i64(-3000..=3000),
        faults: if calm { Faults::default() } else { faults(random) },
        starts_after,
    }
}

/// In some runs members are so small that open batches are spilled all the time.
fn some_members(seed: u64) -> Members {
    if seed.is_multiple_of(4) { Members { text: 400, spill: 1 } } else { Members::default() }
}

/// Half of the keepers have the usual form; others change their minds.
fn some_forms(random: &mut fastrand::Rng) -> Vec<Form> {
    let mut form = || Form {
        format: if random.bool() { Format::Envelope } else { Format::Payload },
        compression: if random.bool() { Compression::Gzip } else { Compression::Zstd },
    };
    let forms = [form(), form()];
    match random.u8(0..4) {
        0 => forms.to_vec(),
        1 => forms[..1].to_vec(),
        _ => vec![Form::SPOOLED],
    }
}

fn faults(random: &mut fastrand::Rng) -> Faults {
    let mut chance = |most: f64| if random.bool() { most * random.f64() } else { 0.0 };
    Faults {
        stream_error: chance(0.06),
        throttled: chance(0.06),
        empty_reply: chance(0.4),
        childless_end: chance(0.5),
        store_error: chance(0.1),
        put_applied_error: chance(0.2),
        put_delayed: chance(0.1),
        notice_error: chance(0.3),
        disk_full: chance(0.03),
        // A trace has it.
        disk_unread: 0.0,
        nothing_yet: chance(0.5),
        longest_delay: 2 * HOUR,
        stream_down: false,
        store_down: false,
    }
}

/// A time between two, at random.
pub fn between(random: &mut fastrand::Rng, least: Duration, most: Duration) -> Duration {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    Duration::from_millis(random.u64(millis(least)..=millis(most.max(least))))
}
