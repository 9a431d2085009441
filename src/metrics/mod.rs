//! The numbers, and who gets them: CloudWatch, statsd, HTTP.
//!
//! Owns what is counted since the start of the process ([`Registry`]), how it is written as OpenMetrics and as the
//! status page, the little HTTP server and its socket in the state directory, the statsd sink and the threads that
//! push once a minute.
//! Not here: what the numbers mean (`shard/` reports them) and the call to CloudWatch (`aws/`).

pub mod ask;
pub mod families;
pub mod health;
pub mod history;
pub mod http;
pub mod local;
mod meter;
mod open_metrics;
pub mod pusher;
pub mod registry;
pub mod snapshot;
pub mod statsd;
pub mod status;
mod tally;
#[cfg(test)]
mod test_clock;
mod uploads;

pub use http::{Server, serve};
pub use local::{LocalServer, serve_locally};
pub use pusher::Pusher;
pub use registry::Registry;
pub use snapshot::Snapshot;
pub use statsd::Statsd;
pub use status::Status;
