//! This machine: the state directory, the addresses that the configuration names, and whether its load is known.
//!
//! Nothing is made or locked; whether the directory may be written to is the system's word.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::{Access, access, statvfs};
use tokio::runtime::Runtime;

use super::line::{Lines, Verdict};
use crate::commands::status::is_of;
use crate::commands::wiring::auto_is_blind;
use crate::config::{Config, HostPort};
use crate::metrics::ask::{NoStatus, Place, ask};
use crate::spool::{Holder, Identity, LocalDisk, Look, holder};
use crate::supervisor::Machine;

const ABOUT: &str = "disk";

/// Looks at the directory and the addresses.
pub(super) fn check(config: &Config, runtime: &Runtime, lines: &mut Lines) {
    directory(config, lines);
    if let Some(why) = auto_is_blind(config.archive.level, Machine::is_known()) {
        lines.say("machine", "archive.level", Verdict::Warning, why);
    }
    if let Some(place) = &config.metrics.http {
        http(config, place, runtime, lines);
    }
    if let Some(place) = &config.metrics.statsd {
        match resolve(place) {
            Ok(address) => {
                let said = format!("{place} is {address}; whether anybody listens cannot be seen (UDP)");
                lines.say("metrics", "statsd", Verdict::Ok, said);
            }
            Err(why) => {
                lines.say("metrics", "statsd", Verdict::Warning, format!("{why}; run goes on without it"))
            }
        }
    }
}

fn resolve(place: &HostPort) -> Result<SocketAddr, String> {
    match (place.host(), place.port()).to_socket_addrs().map(|mut all| all.next()) {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(format!("{place} is no address")),
        Err(error) => Err(format!("{place}: {error}")),
    }
}

fn directory(config: &Config, lines: &mut Lines) {
    const WHAT: &str = "state_dir";
    let state_dir = &config.disk.state_dir;
    let place = state_dir.display();
    let (nearest, is_there) = nearest(state_dir);
    let usable = nearest.is_dir().then(|| access(&nearest, Access::WRITE_OK | Access::EXEC_OK));
    match usable {
        Some(Ok(())) if is_there => lines.say(ABOUT, WHAT, Verdict::Ok, format!("{place} may be written to")),
        Some(Ok(())) => lines.say(ABOUT, WHAT, Verdict::Ok, format!("run will make {place}")),
        Some(Err(error)) => {
            let why = io::Error::from(error);
            let said = format!(
                "this user may not write to {}: {why}; run check as the user that run has",
                nearest.display()
            );
            lines.say(ABOUT, WHAT, Verdict::Failed, said);
        }
        None => lines.say(ABOUT, WHAT, Verdict::Failed, format!("{} is not a directory", nearest.display())),
    }
    let looked = Look::at(&LocalDisk::new(state_dir.clone())).unwrap_or_default();
    room(config, &nearest, &looked, lines);
    if !is_there {
        return;
    }
    match holder(state_dir) {
        Holder::Held(name) => lines.say(ABOUT, "lock", Verdict::Ok, format!("a keeper runs: {name} has it")),
        Holder::Nobody => lines.say(ABOUT, "lock", Verdict::Ok, "no keeper runs on it"),
        Holder::Unknown => {
            lines.say(ABOUT, "lock", Verdict::Unknown, "this system does not say who holds locks")
        }
    }
    if let Some(newer) = looked.newer.first() {
        lines.say(ABOUT, "state", Verdict::Failed, newer.as_str());
    }
    if let Some(identity) = &looked.identity {
        of_whom(config, identity, lines);
    }
}

/// The directory, or the nearest above it that is there.
fn nearest(state_dir: &Path) -> (PathBuf, bool) {
    if state_dir.exists() {
        return (state_dir.to_owned(), true);
    }
    let above = state_dir.ancestors().skip(1).find(|above| above.exists());
    (above.unwrap_or(Path::new("/")).to_owned(), false)
}

fn of_whom(config: &Config, identity: &Identity, lines: &mut Lines) {
    const WHAT: &str = "state";
    let Identity { stream_arn, bucket, prefix, .. } = identity;
    if is_of(config, identity) {
        return lines.say(ABOUT, WHAT, Verdict::Ok, format!("of {stream_arn} in s3://{bucket}/{prefix}"));
    }
    let said = format!(
        "it is that of {stream_arn} in s3://{bucket}/{prefix}: give this stream a disk.state_dir of its own"
    );
    lines.say(ABOUT, WHAT, Verdict::Failed, said);
}

fn room(config: &Config, nearest: &Path, looked: &Look, lines: &mut Lines) {
    const WHAT: &str = "room";
    let about = match statvfs(nearest) {
        Ok(about) => about,
        Err(error) => return lines.say(ABOUT, WHAT, Verdict::Unknown, io::Error::from(error).to_string()),
    };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let taken: u64 = looked.shards.values().map(|shard| shard.spool_bytes).sum();
    let wanted = config.disk.spool_bytes.saturating_sub(taken);
    let said = format!("{} are free, the spool may take {} more", ByteSize(free), ByteSize(wanted));
    if free >= wanted {
        lines.say(ABOUT, WHAT, Verdict::Ok, said);
    } else {
        let said = format!(
            "{said}: while S3 is away, reading pauses when the disk is full, sooner than disk.spool_bytes says"
        );
        lines.say(ABOUT, WHAT, Verdict::Warning, said);
    }
}

fn http(config: &Config, place: &HostPort, runtime: &Runtime, lines: &mut Lines) {
    const WHAT: &str = "metrics.http";
    let address = match resolve(place) {
        Ok(address) => address,
        Err(why) => return lines.say("metrics", WHAT, Verdict::Failed, why),
    };
    let (verdict, said) = match runtime.block_on(ask(&Place::Http(address))) {
        Ok(status) if status.stream == config.stream.name => {
            (Verdict::Ok, format!("{place} is served by the keeper of this stream"))
        }
        Ok(status) => (
            Verdict::Failed,
            format!("{place} is served by the keeper of {}: choose another port", status.stream),
        ),
        Err(why @ NoStatus::Strange { .. }) => {
            (Verdict::Failed, format!("{place} is taken: {why}; choose another port"))
        }
        Err(NoStatus::Nobody(_) | NoStatus::Barred { .. }) => match TcpListener::bind(address) {
            Ok(_) => (Verdict::Ok, format!("{place} is free")),
            Err(error) => (Verdict::Failed, format!("{place} cannot be listened on: {error}")),
        },
    };
    lines.say("metrics", WHAT, verdict, said);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(config: &str) -> String {
        let config = Config::parse(config, Path::new("keeper.toml")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut lines = Lines::default();
        check(&config, &runtime, &mut lines);
        let mut out = Vec::new();
        lines.print(&mut out, ("s", "s3://b/"), false).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_directory_that_is_not_there_yet_and_one_that_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let config = |dir: &Path| {
            let (dir, most) = (dir.display(), "1 EiB");
            format!(
                "[stream]\nname = \"s\"\n[archive]\nbucket = \"my-archive\"\n[disk]\nstate_dir = \"{dir}\"\n\
                 spool_bytes = \"{most}\"\n[metrics]\nstatsd = \"127.0.0.1:8125\"\n"
            )
        };
        let new = folder.path().join("a/b");
        let said = told(&config(&new));
        assert!(
            said.contains(&format!("ok       disk     state_dir  run will make {}", new.display())),
            "{said}"
        );
        assert!(said.contains("warning  disk     room"), "{said}");
        assert!(said.contains("ok       metrics  statsd     127.0.0.1:8125 is 127.0.0.1:8125"), "{said}");
        assert!(!new.exists() && !said.contains("lock"), "{said}");
        let said = told(&config(&file.join("below")));
        assert!(said.contains("FAILED   disk     state_dir"), "{said}");
    }

    #[test]
    fn state_of_a_newer_version_stands_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("identity.json"), r#"{"version":2}"#).unwrap();
        let said = told(&format!(
            "[stream]\nname = \"s\"\n[archive]\nbucket = \"my-archive\"\n[disk]\nstate_dir = \"{}\"\n",
            folder.path().display()
        ));
        assert!(
            said.contains("FAILED   disk     state      identity.json in the state directory was"),
            "{said}"
        );
    }

    #[test]
    fn an_address_is_free_or_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let config = format!(
            "[stream]\nname = \"s\"\n[archive]\nbucket = \"my-archive\"\n[disk]\nstate_dir = \"{}\"\n\
             [metrics]\nhttp = \"{place}\"\n",
            folder.path().display()
        );
        std::thread::spawn(move || drop(listener.accept()));
        let said = told(&config);
        assert!(said.contains(&format!("FAILED   metrics  metrics.http  {place} is taken")), "{said}");
    }
}
