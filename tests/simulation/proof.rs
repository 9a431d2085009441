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

pub fn check(driver: &Driver) -> Result<(), String> {
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
    // Of a deleted stream only the writer's own spool can complete an entry; `verify` rightly names it.
    let deleted = driver.stream.history().iter().any(|shard| shard.deleted.is_some());
    let known = |fault: &&Fault| deleted && fault.kind == FaultKind::ObjectMissing;
    match report.faults.iter().find(|fault| !known(fault)) {
        None => Ok(()),
        Some(fault) => Err(format!("verify finds {} faults, one of them: {fault:?}", report.faults.len())),
    }
}
