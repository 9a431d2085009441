//! The seam between the loop and the state machine of a shard.

use std::io;
use std::sync::Arc;

use crate::shard::ShardWorker;
use crate::shard::setup::{Next, Ports, Setup, Shared};
use crate::stop::Stop;

/// The state machine of one shard; its thread turns it.
pub trait Worker {
    /// One step.
    fn step(&mut self) -> Next;
}

/// Makes the state machines, each on its own thread.
pub trait Workers: Send + Sync {
    /// Of one shard; an error of the disk is tried again later.
    fn open(
        &self,
        setup: Setup,
        ports: Ports,
        shared: Arc<Shared>,
        stop: Stop,
        random: fastrand::Rng,
    ) -> io::Result<Box<dyn Worker>>;
}

/// The real state machines.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardWorkers;

impl Workers for ShardWorkers {
    fn open(
        &self,
        setup: Setup,
        ports: Ports,
        shared: Arc<Shared>,
        stop: Stop,
        random: fastrand::Rng,
    ) -> io::Result<Box<dyn Worker>> {
        Ok(Box::new(ShardWorker::open(setup, ports, shared, stop, random)?))
    }
}

impl Worker for ShardWorker {
    fn step(&mut self) -> Next {
        Self::step(self)
    }
}
