//! The product's own proof of the archive: `verify` finds no fault in what any run left behind.

use std::sync::Arc;
use std::time::Duration;

use kinesis_keeper::archive::fault::{Fault, FaultKind};
use kinesis_keeper::archive::verify::{Options, verify};
use kinesis_keeper::archive::{Archive, Selection};
use kinesis_keeper::stop::Stop;
use kinesis_keeper::testing::{MemoryDisk, MemoryStore, Trouble};

use crate::driver::Driver;
use crate::keeper::keys;

/// Only faults that lie in what happened, and not in the archive.
pub fn check(driver: &Driver) -> Result<(), String> {
    let faults = faults(driver)?;
    // Of a deleted stream only the writer's own spool can complete an entry, and nobody can begin a shard that was
    // not seen before; `verify` rightly names both. And a child that came and went is told by whoever finds out.
    let deleted = driver.stream.history().iter().any(|shard| shard.deleted.is_some());
    let told = driver.keepers.iter().any(|keeper| keeper.meter.errors("never_begun") > 0);
    let known = |fault: &&Fault| match fault.kind {
        FaultKind::ObjectMissing => deleted,
        FaultKind::LineageBroken => deleted || told,
        _ => false,
    };
    match faults.iter().find(|fault| !known(fault)) {
        None => Ok(()),
        Some(fault) => Err(format!("verify finds {} faults, one of them: {fault:?}", faults.len())),
    }
}

/// All that `verify` finds.
pub fn faults(driver: &Driver) -> Result<Vec<Fault>, String> {
    let random = fastrand::Rng::with_seed(driver.plan.seed);
    let trouble = Trouble::new(Arc::clone(&driver.world), "verifier", random);
    let disk = MemoryDisk::new(Arc::clone(&trouble));
    let store = MemoryStore::new(Arc::clone(&driver.bucket), disk, trouble);
    let archive = Archive { store, keys: keys(), has_metadata: true };
    let options = Options {
        selection: Selection::default(),
        at_once: 1,
        known: Vec::new(),
        on_its_way: Duration::from_secs(3600),
    };
    let report =
        verify(&archive, &options, |_| (), &|_| (), &Stop::new()).map_err(|error| error.to_string())?;
    Ok(report.faults)
}
