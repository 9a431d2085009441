//! The in-process Kinesis of the demo, as a test server: quick, and throttles where it is told to. It loses
//! records with two PutRecords at once, so that whoever puts into it has one under way.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use ferrokinesis::store::StoreOptions;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// A server that lives until it is dropped.
pub struct Ferro {
    endpoint: String,
    /// Of its own: it can block the worker that runs it.
    runtime: Option<Runtime>,
}

impl Ferro {
    /// With the limits of real shards, or without any.
    pub fn start(enforce_limits: bool) -> Arc<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            let options = StoreOptions {
                create_stream_ms: 0,
                shard_limit: 1_000,
                enforce_limits,
                ..StoreOptions::default()
            };
            let (app, _store) = ferrokinesis::create_app(options);
            let app = app.layer(DefaultBodyLimit::max(16 << 20));
            let _ = ferrokinesis::serve_plain_http(listener, app, std::future::pending()).await;
        });
        Arc::new(Self { endpoint, runtime: Some(runtime) })
    }

    /// Where it answers.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Ferro {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
