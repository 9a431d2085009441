//! Keeps a thread for each shard: decides purely what to start and stop, then carries it out; signals.
