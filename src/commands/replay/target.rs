//! The stream that a replay puts into: found, told from the one that the archive is of, and asked whether it keeps
//! keys.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::ReplayArgs;
use crate::aws::blocking::Blocking;
use crate::aws::clients::{Clients, ClientsError};
use crate::aws::kinesis::{KinesisStream, StreamName};
use crate::aws::put_records::KinesisSink;
use crate::commands::wiring::aws_settings;
use crate::config::Config;
use crate::error::Failure;
use crate::model::shard::{StreamIdentity, StreamStatus};
use crate::ports::put::{Distribution, RecordSink};
use crate::ports::{Clock, Stream};
use crate::producer::{Options, ask};
use crate::stop::Stop;

/// The stream, as it is now.
pub(super) struct Target {
    pub(super) identity: StreamIdentity,
    pub(super) sink: KinesisSink,
    pub(super) open_shards: usize,
    pub(super) most_record_bytes: usize,
    distribution: Distribution,
}

impl Target {
    /// Asks for the stream; it must be there and take records.
    pub(super) fn find(
        args: &ReplayArgs,
        config: &Config,
        runtime: &Handle,
        clock: &Arc<dyn Clock>,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let name = match &args.to_stream {
            arn if arn.starts_with("arn:") => StreamName::Arn(arn.clone()),
            name => StreamName::Name(name.clone()),
        };
        let clients = clients(args, config, runtime)?;
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("nothing can be put into {}: {error}", args.to_stream))
        };
        let blocking = Blocking::new(runtime.clone());
        let stream = KinesisStream::new(&clients, blocking, Arc::clone(clock), name.clone());
        let found = stream.describe(stop).map_err(|error| unreachable(&error))?.value;
        if !matches!(found.status, StreamStatus::Active | StreamStatus::Updating) {
            return Err(unreachable(&"it is not active"));
        }
        let sink = KinesisSink::new(&clients, name);
        let options = Options::default();
        let facts = runtime.block_on(ask(&options, || sink.facts())).map_err(|error| unreachable(&error))?;
        let shards =
            runtime.block_on(ask(&options, || sink.shards())).map_err(|error| unreachable(&error))?;
        Ok(Self {
            identity: found.identity,
            sink,
            open_shards: shards.iter().filter(|shard| !shard.closed).count(),
            most_record_bytes: facts.max_record_bytes,
            distribution: facts.distribution,
        })
    }

    /// What comes out of a stream must not go into it again unless that is meant: a keeper that runs would
    /// archive everything twice, and consumers would see it twice. Nor may it lose keys and order unless that
    /// is meant. Forced, it is told what is lost.
    pub(super) fn must_suit(&self, source: &str, force: bool) -> Result<(), Failure> {
        let keyless = (self.distribution == Distribution::Auto).then(|| {
            format!(
                "{} distributes records by itself (record distribution AUTO): it drops partition keys and explicit \
                 hash keys, and the records of a key have no order there",
                self.identity.name
            )
        });
        let itself = (self.identity.arn == source).then(|| {
            format!(
                "{source} is the stream that the archive is of: its consumers would get every record again"
            )
        });
        if force {
            keyless.iter().for_each(|told| super::eprint(told));
            return Ok(());
        }
        // Both, so that nobody forces one and gets the other.
        let reasons: Vec<String> = [itself, keyless].into_iter().flatten().collect();
        if reasons.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!("{}\nname another stream, or say --force", reasons.join("\n"))))
    }
}

fn clients(args: &ReplayArgs, config: &Config, runtime: &Handle) -> Result<Clients, Failure> {
    let mut settings = aws_settings(config);
    let replace = |setting: &mut Option<String>, given: &Option<String>| {
        if given.is_some() {
            setting.clone_from(given);
        }
    };
    replace(&mut settings.region, &args.to_region);
    replace(&mut settings.endpoint_url, &args.to_endpoint_url);
    replace(&mut settings.profile, &args.to_profile);
    replace(&mut settings.role_arn, &args.to_role_arn);
    Clients::load(runtime, &settings).map_err(|error| match error {
        ClientsError::NoRegion => Failure::failed(
            "no AWS region was found: give --to-region, or set aws.region in the configuration file",
        ),
        ClientsError::Deadline | ClientsError::Proxy(_) => Failure::failed(error.to_string()),
    })
}
