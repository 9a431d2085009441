//! From a checked configuration to what the supervisor and the adapters are handed.

use std::sync::Arc;

use crate::aws::blocking::Blocking;
use crate::aws::clients::{AwsSettings, Clients};
use crate::aws::fan_out::FanOut;
use crate::aws::kinesis::{KinesisStream, StreamName};
use crate::aws::s3::{S3Settings, S3Store};
use crate::aws::sns::SnsNotifier;
use crate::config::{CheckpointStore as Checkpoints, Config, Consumer, Start};
use crate::ledger::start::ConfiguredStart;
use crate::metrics::Registry;
use crate::model::batch::Level;
use crate::model::rules::Rules;
use crate::ports::{CheckpointStore, Clock, NoProbe, Notifier, Probe, Stream};
use crate::shard::setup::Pacing;
use crate::spool::copies::Keep;
use crate::spool::{DiskCheckpoints, LocalDisk, MemoryCheckpoints};
use crate::supervisor::{DRAIN, Machine, Options, Services, ShardWorkers};

/// How the stream is kept. `seed` decides all that is random.
pub(super) fn options(config: &Config, seed: u64) -> Options {
    Options {
        stream: config.stream.name.clone(),
        start: match config.stream.start {
            Start::TrimHorizon => ConfiguredStart::TrimHorizon,
            Start::Latest => ConfiguredStart::Latest,
            Start::At(time) => ConfiguredStart::At(time),
        },
        refresh: config.stream.refresh,
        deaggregate: config.stream.deaggregate,
        limits: config.batch.limits,
        memory: config.batch.memory,
        bucket: config.archive.bucket.clone(),
        prefix: config.archive.prefix.clone(),
        layout: config.archive.layout,
        form: config.archive.form,
        level: config.archive.level,
        keep: Keep { age: config.disk.keep, bytes: config.disk.keep_bytes },
        spool_bytes: config.disk.spool_bytes,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pacing: Pacing { caught_up: config.stream.poll, ..Pacing::default() },
        rules: Rules::default(),
        drain: DRAIN,
        seed,
    }
}

/// What the `[aws]` section says.
pub(super) fn aws_settings(config: &Config) -> AwsSettings {
    AwsSettings {
        // The region of the stream's ARN concerns the stream alone: the adapter takes it from there.
        region: config.aws.region.clone(),
        endpoint_url: config.aws.endpoint_url.clone(),
        profile: config.aws.profile.clone(),
        role_arn: config.aws.role_arn.clone(),
        ..AwsSettings::default()
    }
}

/// The bucket of the archive; files to be put lie on `disk`.
pub(super) fn store(
    config: &Config,
    clients: &Clients,
    blocking: &Blocking,
    clock: &Arc<dyn Clock>,
    disk: Arc<LocalDisk>,
) -> S3Store {
    let settings = S3Settings {
        bucket: config.archive.bucket.clone(),
        expected_bucket_owner: config.archive.expected_bucket_owner.clone(),
        storage_class: Some(config.archive.storage_class.clone()),
        sse_kms_key_id: config.archive.sse_kms_key_id.clone(),
        object_lock_days: config.archive.object_lock_days,
    };
    S3Store::new(clients, blocking.clone(), Arc::clone(clock), disk, settings)
}

/// The configured stream, read by polling.
pub(super) fn polled(
    config: &Config,
    clients: &Clients,
    blocking: &Blocking,
    clock: &Arc<dyn Clock>,
) -> KinesisStream {
    KinesisStream::new(clients, blocking.clone(), Arc::clone(clock), stream_name(config))
}

fn stream_name(config: &Config) -> StreamName {
    match &config.stream.arn {
        Some(arn) => StreamName::Arn(arn.clone()),
        None => StreamName::Name(config.stream.name.clone()),
    }
}

/// The real world: AWS, this machine's disk and clock.
pub(super) fn services(
    config: &Config,
    clients: &Clients,
    blocking: &Blocking,
    clock: Arc<dyn Clock>,
    registry: &Registry,
) -> Services {
    let disk = Arc::new(LocalDisk::new(config.disk.state_dir.clone()));
    let stream: Arc<dyn Stream> = match &config.stream.consumer {
        Consumer::Polling => Arc::new(polled(config, clients, blocking, &clock)),
        Consumer::FanOut(consumer) => {
            let random = fastrand::Rng::new();
            let (blocking, clock) = (blocking.clone(), Arc::clone(&clock));
            Arc::new(FanOut::new(clients, blocking, clock, stream_name(config), consumer, random))
        }
    };
    let store = store(config, clients, blocking, &clock, disk.clone());
    let notifier = config.notice.topic.as_ref().map(|topic| {
        Arc::new(SnsNotifier::new(clients, blocking.clone(), topic.as_str())) as Arc<dyn Notifier>
    });
    let checkpoints: Arc<dyn CheckpointStore> = match config.checkpoint.store {
        Checkpoints::Disk => Arc::new(DiskCheckpoints::new(disk.clone())),
        Checkpoints::Memory => Arc::new(MemoryCheckpoints::default()),
    };
    let cores = Arc::new(Machine::new(Arc::clone(&clock)));
    if let Some(why) = auto_is_blind(config.archive.level, Machine::is_known()) {
        tracing::warn!("{why}");
    }
    Services {
        clock,
        cores,
        disk,
        checkpoints,
        stream,
        store: Arc::new(store),
        notifier,
        meters: Arc::new(registry.clone()),
        probe: probe(),
        workers: Arc::new(ShardWorkers),
    }
}

/// Why `level = "auto"` would be 6 for good, if it would.
pub(super) fn auto_is_blind(level: Level, is_load_known: bool) -> Option<&'static str> {
    let blind = level == Level::Auto && !is_load_known;
    blind.then_some("/proc/stat cannot be read: with level = \"auto\" everything is compressed at 6, however busy the cores are")
}

/// A crash test's binary kills itself where the test says.
#[cfg(any(test, feature = "testing"))]
fn probe() -> Arc<dyn Probe> {
    match crate::testing::KillAt::from_env() {
        Some(kill) => Arc::new(kill),
        None => Arc::new(NoProbe),
    }
}

#[cfg(not(any(test, feature = "testing")))]
fn probe() -> Arc<dyn Probe> {
    Arc::new(NoProbe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_without_the_machines_load_is_told() {
        assert!(auto_is_blind(Level::Auto, false).is_some_and(|why| why.contains("/proc/stat")));
        assert_eq!(auto_is_blind(Level::Auto, true), None);
        assert_eq!(auto_is_blind(Level::Fixed(1), false), None);
    }
}
