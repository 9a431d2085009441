//! `check CONFIG`: tries all that `run` needs, before `run` does.
//!
//! Owns the order of the checks and what is common to them. Nothing is written anywhere, but for the bucket's
//! own refusal of what must not be stored.

mod bucket;
mod line;
mod machine;
mod policy;
mod stream;
mod topic;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::runtime::Runtime;

use super::run::runtime;
use super::wiring::aws_settings;
use crate::aws::blocking::Blocking;
use crate::aws::check::{Caller, Refused, RefusedKind, StreamTrial, Trial};
use crate::aws::clients::Clients;
use crate::aws::kinesis::StreamName;
use crate::config::Config;
use crate::error::Failure;
use crate::ports::Clock;
use crate::stop::Stop;
use crate::supervisor::SystemClock;
use crate::supervisor::signals::stop_at_signals;
use line::{Lines, Verdict};
use policy::{Home, Resources, policy};

/// What can be asked of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The configuration file of the stream
    pub config: PathBuf,
    /// Print the least IAM policy that this configuration needs, and check nothing
    #[arg(long)]
    pub policy: bool,
    /// The findings as JSON (the policy is JSON anyway)
    #[arg(long)]
    pub json: bool,
}

/// What every check works with.
struct Checking<'a> {
    config: &'a Config,
    clients: &'a Clients,
    blocking: &'a Blocking,
    trial: &'a Trial,
    stop: &'a Stop,
    clock: Arc<dyn Clock>,
    of: Resources,
}

/// Checks the file and all that it names, or prints the policy.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let config = Config::load(&args.config)?;
    let stop = Stop::new();
    let _watch = stop_at_signals(&stop)?;
    let runtime = runtime()?;
    if args.policy {
        return tell(print_policy(&config, &runtime, &stop));
    }
    let mut lines = Lines::default();
    machine::check(&config, &runtime, &mut lines);
    match Clients::load(runtime.handle(), &aws_settings(&config)) {
        Ok(clients) => services(&config, &clients, &runtime, &stop, &mut lines),
        Err(error) => lines.say("aws", "region", Verdict::Failed, error.to_string()),
    }
    let archive = format!("s3://{}/{}{}/", config.archive.bucket, config.archive.prefix, config.stream.name);
    let about = (config.stream.name.as_str(), archive.as_str());
    // A name that is still looked up is not waited for.
    runtime.shutdown_background();
    tell(lines.print(&mut io::stdout().lock(), about, args.json))?;
    match lines.in_the_way() {
        _ if stop.reason().is_some() => Err(Failure::failed("interrupted: not everything was checked")),
        0 => Ok(()),
        some => Err(Failure::failed(format!(
            "{some} of the checks stand in the way of run; see {}, and check --policy for all that it needs",
            if args.json { "`checks`" } else { "the lines MISSING and FAILED" }
        ))),
    }
}

fn tell(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("the findings could not be written: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Everything that is asked over the network.
fn services(config: &Config, clients: &Clients, runtime: &Runtime, stop: &Stop, lines: &mut Lines) {
    let blocking = Blocking::new(runtime.handle().clone());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let trial = Trial::new(blocking.clone(), stop.clone(), Arc::clone(&clock));
    lines.say("aws", "region", Verdict::Ok, clients.region());
    let caller = match who(config, clients, &trial, lines) {
        Ok(caller) => caller,
        // Without credentials every call says the same, each after a search of its own.
        Err(why) => return lines.say("aws", "all services", Verdict::Unknown, why),
    };
    let account = caller.as_ref().map(|caller| caller.account.as_str());
    let checking = Checking {
        config,
        clients,
        blocking: &blocking,
        trial: &trial,
        stop,
        clock,
        of: Resources::new(config, &Home::new(Some(clients.region()), account)),
    };
    let facts = stream::check(&checking, lines);
    bucket::check(&checking, facts.as_ref(), lines);
    topic::check(&checking, lines);
    clock_skew(&checking, lines);
}

/// Whose credentials they are; an error if there are none that could be used.
fn who(
    config: &Config,
    clients: &Clients,
    trial: &Trial,
    lines: &mut Lines,
) -> Result<Option<Caller>, &'static str> {
    const WHAT: &str = "credentials";
    if config.aws.endpoint_url.is_some() {
        lines.say(
            "aws",
            WHAT,
            Verdict::Unknown,
            "not asked: aws.endpoint_url names services that are not AWS",
        );
        return Ok(None);
    }
    match trial.caller(clients) {
        Ok(caller) => {
            lines.say("aws", WHAT, Verdict::Ok, format!("{} of account {}", caller.arn, caller.account));
            Ok(Some(caller))
        }
        Err(Refused { kind: RefusedKind::Credentials, said, .. }) => {
            lines.say("aws", WHAT, Verdict::Failed, said);
            Err("not tried: the credentials cannot be used")
        }
        // Nothing but this line needs STS, and a closed network may not lead there.
        Err(refused) => {
            lines.say(
                "aws",
                WHAT,
                Verdict::Unknown,
                format!("STS does not say whose they are: {}", refused.said),
            );
            Ok(None)
        }
    }
}

/// AWS refuses calls whose signature is five minutes off (S3: fifteen).
fn clock_skew(checking: &Checking<'_>, lines: &mut Lines) {
    const WHAT: &str = "clock";
    let Some(ahead) = checking.trial.seconds_ahead() else { return };
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    // Their time is cut to seconds, and the answer was on its way.
    let off = ahead.unsigned_abs();
    match off {
        0..=10 => lines.say("aws", WHAT, Verdict::Ok, "within seconds of the services'"),
        11..=120 => {
            lines.say(
                "aws",
                WHAT,
                Verdict::Warning,
                format!("{off} s {direction} the services': run an NTP client"),
            );
        }
        _ => lines.say(
            "aws",
            WHAT,
            Verdict::Failed,
            format!(
                "{off} s {direction} the services', which refuse calls at five minutes: set this host's clock"
            ),
        ),
    }
}

fn stream_name(config: &Config) -> StreamName {
    match &config.stream.arn {
        Some(arn) => StreamName::Arn(arn.clone()),
        None => StreamName::Name(config.stream.name.clone()),
    }
}

/// The policy; what the file does not say is asked, and a star where nobody answers.
fn print_policy(config: &Config, runtime: &Runtime, stop: &Stop) -> io::Result<()> {
    let clients = Clients::load(runtime.handle(), &aws_settings(config)).ok();
    let clock = Arc::new(SystemClock::new());
    let trial = Trial::new(Blocking::new(runtime.handle().clone()), stop.clone(), clock);
    let region = clients.as_ref().map(|clients| clients.region().to_owned());
    let asked = clients.as_ref().filter(|_| config.aws.endpoint_url.is_none());
    let account = asked.and_then(|clients| trial.caller(clients).ok()).map(|caller| caller.account);
    let facts = clients
        .as_ref()
        .filter(|_| account.is_some())
        .map(|clients| StreamTrial::new(clients, trial.clone(), stream_name(config)).describe());
    let key = match &facts {
        Some(Ok(facts)) => facts.kms_key.as_deref(),
        Some(Err(_)) | None => None,
    };
    let home = Home::new(region.as_deref(), account.as_deref());
    let document = policy(config, &home, key);
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &document)?;
    writeln!(out)?;
    let mut notes = io::stderr().lock();
    if config.stream.arn.is_none() && (home.region == "*" || home.account == "*") {
        writeln!(notes, "note: region or account are not known here; `*` stands in their place")?;
    }
    if !matches!(facts, Some(Ok(_))) {
        writeln!(
            notes,
            "note: the stream was not asked: if a KMS key of yours encrypts it, add kms:Decrypt on that key"
        )?;
    }
    if config.notice.topic.is_some() {
        writeln!(
            notes,
            "note: if a KMS key encrypts the topic, add kms:GenerateDataKey and kms:Decrypt on that key"
        )?;
    }
    if let Some(role) = &config.aws.role_arn {
        writeln!(notes, "note: this is the policy of {role}; who takes it on needs sts:AssumeRole on it")?;
    }
    Ok(())
}
