//! How busy the machine is.

/// The cores that this process may use.
pub trait Cores: Send + Sync {
    /// How much of them was in use lately, by whomever: 0 (all idle) to 1 (none idle). `None`: not known, or
    /// not yet. Cheap: may be asked at every reply of every shard.
    fn in_use(&self) -> Option<f64>;
}
