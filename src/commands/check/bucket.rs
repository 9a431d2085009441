//! The bucket: each call by which it is filled and found again, tried once, and the rules that touch the archive.

use super::Checking;
use super::line::{Lines, Need, Verdict};
use crate::aws::check::{BucketTrial, Expiring, Refused, RefusedKind, StreamFacts};
use crate::aws::s3::S3Store;
use crate::codec::hash::sha256_hex;
use crate::commands::wiring::store;
use crate::model::key::Keys;
use crate::ports::{Attributes, Body, ObjectStore, Put, StoreErrorKind};
use crate::spool::LocalDisk;

const ABOUT: &str = "bucket";

/// What is sent where nothing may be stored, with the checksum of something else.
const NOT_STORED: &[u8] = b"kinesis-keeper check: S3 must refuse this, its checksum is another one's\n";

/// Tries all calls. `facts`: what the stream said of itself.
pub(super) fn check(checking: &Checking<'_>, facts: Option<&StreamFacts>, lines: &mut Lines) {
    let archive = &checking.config.archive;
    let owner = archive.expected_bucket_owner.as_deref();
    let bucket = BucketTrial::new(checking.clients, checking.trial.clone(), &archive.bucket, owner);
    let keys = Keys::new(&archive.prefix, &checking.config.stream.name);
    if !reachable(checking, &bucket, lines) {
        return;
    }
    let listed = listing(checking, &bucket, &keys, lines);
    if listed.as_ref().is_err_and(|kind| *kind != RefusedKind::Denied) {
        return;
    }
    let disk = std::sync::Arc::new(LocalDisk::new(checking.config.disk.state_dir.clone()));
    let store = store(checking.config, checking.clients, checking.blocking, &checking.clock, disk);
    let start = facts.map(|facts| keys.stream_start(facts.created));
    let probe = start.unwrap_or_else(|| format!("{}_ledger/check", keys.root()));
    let is_there = reading(checking, &bucket, (&probe, listed.is_ok()), lines);
    if let (Ok(starts), Some(facts)) = (&listed, facts) {
        one_stream(checking, &store, starts, facts, lines);
    }
    writing(checking, &store, is_there.then_some(probe.as_str()), &keys, lines);
    lifecycle(checking, &bucket, &keys, lines);
    settings(checking, &bucket, lines);
}

fn of_bucket<'a>(checking: &'a Checking<'_>, action: &'a str) -> Need<'a> {
    Need { action, resource: &checking.of.bucket }
}

fn of_objects<'a>(checking: &'a Checking<'_>, action: &'a str) -> Need<'a> {
    Need { action, resource: &checking.of.objects }
}

/// Whether there is a bucket that answers. Who may not list it is refused here without a reason.
fn reachable(checking: &Checking<'_>, bucket: &BucketTrial, lines: &mut Lines) -> bool {
    const WHAT: &str = "HeadBucket";
    let name = &checking.config.archive.bucket;
    match bucket.head() {
        Ok(region) => {
            let region = region.map(|region| format!("{name} is in {region}"));
            lines.say(ABOUT, WHAT, Verdict::Ok, region.unwrap_or_else(|| format!("{name} is there")));
            true
        }
        Err(refused) if refused.kind == RefusedKind::Denied => true,
        Err(refused) => {
            let said = match refused.kind {
                RefusedKind::NotFound => {
                    format!("there is no bucket {name}: check archive.bucket; {}", refused.said)
                }
                RefusedKind::Other => {
                    format!("check archive.bucket ({name}) and aws.region; {}", refused.said)
                }
                RefusedKind::Denied
                | RefusedKind::Credentials
                | RefusedKind::Silent
                | RefusedKind::Stopped => refused.said,
            };
            lines.say(ABOUT, WHAT, Verdict::Failed, said);
            false
        }
    }
}

/// The start objects of the ledger, or why they cannot be listed.
fn listing(
    checking: &Checking<'_>,
    bucket: &BucketTrial,
    keys: &Keys,
    lines: &mut Lines,
) -> Result<Vec<String>, RefusedKind> {
    const WHAT: &str = "ListBucket";
    let refused = match bucket.list(&keys.stream_starts()) {
        Ok(found) => {
            let said = if found.is_empty() { "allowed; no archive of this stream yet" } else { "allowed" };
            lines.say(ABOUT, WHAT, Verdict::Ok, said);
            return Ok(found);
        }
        Err(refused) => refused,
    };
    let owner = checking.config.archive.expected_bucket_owner.as_deref();
    match owner {
        Some(owner)
            if refused.kind == RefusedKind::Denied && bucket.list_whoever_owns_it(keys.root()).is_ok() =>
        {
            let said =
                format!("the bucket does not belong to account {owner} (archive.expected_bucket_owner)");
            lines.say(ABOUT, "owner", Verdict::Failed, said);
            Err(RefusedKind::Other)
        }
        _ => {
            lines.refuse(ABOUT, WHAT, of_bucket(checking, "s3:ListBucket"), &refused);
            Err(refused.kind)
        }
    }
}

/// Whether the object is there; without leave to list, a missing one is refused like a forbidden one.
fn reading(
    checking: &Checking<'_>,
    bucket: &BucketTrial,
    (key, may_list): (&str, bool),
    lines: &mut Lines,
) -> bool {
    const WHAT: &str = "GetObject";
    match bucket.get(key) {
        Ok(is_there) => {
            let said = if is_there {
                format!("allowed: {key}")
            } else {
                "allowed: a missing object is a 404".to_owned()
            };
            lines.say(ABOUT, WHAT, Verdict::Ok, said);
            is_there
        }
        Err(refused) if refused.kind == RefusedKind::Denied && !may_list => {
            let said = "cannot be told before s3:ListBucket is allowed: a missing object, too, is refused until then";
            lines.say(ABOUT, WHAT, Verdict::Unknown, said);
            false
        }
        Err(refused) => {
            lines.refuse(ABOUT, WHAT, of_objects(checking, "s3:GetObject"), &refused);
            false
        }
    }
}

/// One prefix holds one stream.
fn one_stream(
    checking: &Checking<'_>,
    store: &S3Store,
    starts: &[String],
    facts: &StreamFacts,
    lines: &mut Lines,
) {
    for key in starts {
        let Ok(Some(bytes)) = store.get(key, checking.stop) else { continue };
        let start: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match start["stream_arn"].as_str() {
            Some(arn) if arn == facts.arn => {}
            Some(arn) => {
                let said = format!(
                    "{key} says that here lies the archive of {arn}: give this one a prefix of its own"
                );
                return lines.say(ABOUT, "archive", Verdict::Failed, said);
            }
            None => {
                let said = format!("{key} cannot be read: restore its older version");
                return lines.say(ABOUT, "archive", Verdict::Failed, said);
            }
        }
    }
    if !starts.is_empty() {
        lines.say(ABOUT, "archive", Verdict::Ok, "holds this stream and no other");
    }
}

/// A put that stores nothing: where the stream's start lies already, the same again, as every start of `run`
/// does it; else one that S3 refuses for its checksum, after it has looked at the permissions.
fn writing(checking: &Checking<'_>, store: &S3Store, start: Option<&str>, keys: &Keys, lines: &mut Lines) {
    const WHAT: &str = "PutObject";
    let there = start.and_then(|key| Some((key, store.get(key, checking.stop).ok()??)));
    let probe = format!("{}_check/not-stored", keys.root());
    let (key, body, sha256) = match &there {
        Some((key, bytes)) => (*key, bytes.as_slice(), sha256_hex(bytes)),
        None => (probe.as_str(), NOT_STORED, sha256_hex(b"")),
    };
    let attributes = Attributes { content_type: "application/json", sha256, ..Attributes::default() };
    let outcome = store.put_if_absent(key, Body::Bytes(body), &attributes, checking.stop);
    let retention = checking.config.archive.object_lock_days > 0;
    let action = if retention { "s3:PutObject, s3:PutObjectRetention" } else { "s3:PutObject" };
    match (outcome, there.is_some()) {
        (Ok(Put::Taken), _) => {
            let said = "allowed, and If-None-Match is kept: what is there was not overwritten";
            lines.say(ABOUT, WHAT, Verdict::Ok, said);
        }
        (Err(error), _) if error.kind == StoreErrorKind::BadDigest => {
            let said = "allowed: S3 refused a body with a wrong checksum, as it must, and nothing was stored";
            lines.say(ABOUT, WHAT, Verdict::Ok, said);
        }
        (Ok(Put::Stored(_)), true) => {
            let said = "the store ignores If-None-Match: it is not Amazon S3, and run refuses it";
            lines.say(ABOUT, WHAT, Verdict::Failed, said);
        }
        (Ok(Put::Stored(_)), false) => {
            let said = format!("the store does not look at checksums: it is not Amazon S3; delete {key}");
            lines.say(ABOUT, WHAT, Verdict::Warning, said);
        }
        (Err(error), _) => {
            let denied = error.kind == StoreErrorKind::AccessDenied;
            let kind = if denied { RefusedKind::Denied } else { RefusedKind::Other };
            let refused = Refused { kind, code: String::new(), said: error.message };
            lines.refuse(ABOUT, WHAT, of_objects(checking, action), &refused);
        }
    }
    if let Some(key) = &checking.config.archive.sse_kms_key_id {
        let said = format!("not tried: only an object that is stored would tell; needed on {key}");
        lines.say(ABOUT, "kms:GenerateDataKey, kms:Decrypt", Verdict::Unknown, said);
    }
}

/// Ledger objects must never expire.
fn lifecycle(checking: &Checking<'_>, bucket: &BucketTrial, keys: &Keys, lines: &mut Lines) {
    const WHAT: &str = "lifecycle rules";
    let rules = match bucket.expiring(keys.root(), checking.clock.now()) {
        Ok(rules) => rules,
        Err(refused) => {
            let need = of_bucket(checking, "s3:GetLifecycleConfiguration");
            return lines.refuse(ABOUT, WHAT, need, &refused);
        }
    };
    if rules.is_empty() {
        return lines.say(ABOUT, WHAT, Verdict::Ok, "none deletes anything of the archive or its ledger");
    }
    for rule in rules {
        let (verdict, said) = judge(&rule, &keys.ledgers());
        lines.say(ABOUT, WHAT, verdict, said);
    }
}

fn judge(rule: &Expiring, ledger: &str) -> (Verdict, String) {
    let name = if rule.rule.is_empty() { "a rule without a name" } else { &rule.rule };
    let does = match rule.deletes_after {
        Some(after) => format!("deletes after {} days", after.as_secs() / 86_400),
        None => "moves to an archive class".to_owned(),
    };
    let meets_ledger = rule.prefix.starts_with(ledger) || ledger.starts_with(&rule.prefix);
    match (meets_ledger, rule.conditional) {
        (true, false) => {
            let mend = "give the rule a prefix that leaves it out, such as that of the dt= folders";
            (
                Verdict::Failed,
                format!("{name} {does} also the ledger under {ledger}, which must stay: {mend}"),
            )
        }
        (true, true) => {
            let mend = "see to it that it never meets the ledger";
            (
                Verdict::Warning,
                format!("{name} {does} what has certain tags or sizes, also under {ledger}: {mend}"),
            )
        }
        (false, _) => (Verdict::Ok, format!("{name} {does} objects under {}", rule.prefix)),
    }
}

/// What only `check` looks at: `run` works without these permissions.
fn settings(checking: &Checking<'_>, bucket: &BucketTrial, lines: &mut Lines) {
    let unknown = |refused: &Refused, action: &str| {
        if refused.kind == RefusedKind::Denied {
            format!("not known: only check would need {action}")
        } else {
            format!("not known: {}", refused.said)
        }
    };
    match bucket.keeps_versions() {
        Ok(true) => lines.say(ABOUT, "versions", Verdict::Ok, "kept"),
        Ok(false) => {
            let said = "not kept: what somebody else overwrites or deletes is gone";
            lines.say(ABOUT, "versions", Verdict::Warning, said);
        }
        Err(refused) => {
            lines.say(ABOUT, "versions", Verdict::Unknown, unknown(&refused, "s3:GetBucketVersioning"));
        }
    }
    let days = checking.config.archive.object_lock_days;
    if days == 0 {
        return;
    }
    const LOCK: &str = "object lock";
    match bucket.locks_objects() {
        Ok(true) => {
            lines.say(ABOUT, LOCK, Verdict::Ok, format!("the bucket can lock objects for {days} days"))
        }
        Ok(false) => {
            let said = "archive.object_lock_days is set, and the bucket has no Object Lock: every put would be refused";
            lines.say(ABOUT, LOCK, Verdict::Failed, said);
        }
        Err(refused) => {
            lines.say(
                ABOUT,
                LOCK,
                Verdict::Unknown,
                unknown(&refused, "s3:GetBucketObjectLockConfiguration"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rule(prefix: &str, days: Option<u64>, conditional: bool) -> Expiring {
        let deletes_after = days.map(|days| Duration::from_secs(days * 86_400));
        Expiring { rule: "r".into(), prefix: prefix.into(), deletes_after, conditional }
    }

    #[test]
    fn a_rule_that_meets_the_ledger_stands_in_the_way() {
        let ledger = "raw/s/_ledger/";
        for (prefix, days, conditional, expected) in [
            ("", Some(30), false, Verdict::Failed),
            ("raw/s/", None, false, Verdict::Failed),
            ("raw/s/_ledger/shardId-0", Some(1), false, Verdict::Failed),
            ("raw/", Some(30), true, Verdict::Warning),
            ("raw/s/dt=", Some(30), false, Verdict::Ok),
        ] {
            let (verdict, said) = judge(&rule(prefix, days, conditional), ledger);
            assert_eq!(verdict, expected, "{prefix}: {said}");
        }
        let (_, said) = judge(&rule("", Some(30), false), ledger);
        assert!(said.starts_with("r deletes after 30 days also the ledger under raw/s/_ledger/"), "{said}");
        assert!(judge(&rule("", None, false), ledger).1.starts_with("r moves to an archive class also"));
    }
}
