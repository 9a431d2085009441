//! The numbers as the supervisor sees them.

use std::sync::Arc;

use super::watchdog::Overdue;
use crate::metrics::Registry;
use crate::model::metric::Service;
use crate::model::shard::ShardId;
use crate::ports::{Meter, ShardState};

/// Takes the stream's numbers and gives each shard a meter; never blocks, never fails.
pub trait MeterSource: Send + Sync {
    /// The meter of a shard whose thread is about to run.
    fn shard(&self, shard: &ShardId) -> Arc<dyn Meter>;

    /// No thread runs for the shard any more, and none will.
    fn retire(&self, shard: &ShardId);

    /// A shard's thread had died and was started again.
    fn shard_restarted(&self, shard: &ShardId);

    /// How many shards have a running thread.
    fn shards_running(&self, shards: usize);

    /// The share of the hash key space that running shards cover; 1 is healthy.
    fn key_space_covered(&self, share: f64);

    /// Bytes of open batches and replies in flight, all shards.
    fn batch_memory(&self, bytes: u64);

    /// Why the stream as a whole is not being archived; `None`: it is.
    fn stream_state(&self, state: Option<String>);

    /// A call that belongs to no shard failed.
    fn error(&self, service: Service, kind: &'static str);

    /// How many notices of hours wait on this disk, and what keeps them from going out.
    fn hour_notices(&self, waiting: usize, trouble: Option<&str>);

    /// The running shards that should have made progress by now.
    fn overdue(&self) -> Vec<Overdue>;
}

impl MeterSource for Registry {
    fn shard(&self, shard: &ShardId) -> Arc<dyn Meter> {
        Self::shard(self, shard)
    }

    fn retire(&self, shard: &ShardId) {
        Self::retire(self, shard);
    }

    fn shard_restarted(&self, shard: &ShardId) {
        Self::shard_restarted(self, shard);
    }

    fn shards_running(&self, shards: usize) {
        Self::shards_running(self, shards);
    }

    fn key_space_covered(&self, share: f64) {
        Self::key_space_covered(self, share);
    }

    fn batch_memory(&self, bytes: u64) {
        Self::batch_memory(self, bytes);
    }

    fn stream_state(&self, state: Option<String>) {
        Self::stream_state(self, state);
    }

    fn error(&self, service: Service, kind: &'static str) {
        Self::error(self, service, kind);
    }

    fn hour_notices(&self, waiting: usize, trouble: Option<&str>) {
        Self::hour_notices(self, waiting, trouble);
    }

    fn overdue(&self) -> Vec<Overdue> {
        let overdue = |(shard, state, late): (ShardId, ShardState, _)| {
            let ShardState { activity, troubles, .. } = state;
            Overdue { shard, activity, late, troubles }
        };
        Self::overdue(self).into_iter().map(overdue).collect()
    }
}
