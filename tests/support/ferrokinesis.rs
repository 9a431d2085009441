//! The Kinesis that is embedded in the demo, in the test's own process: subscriptions with a life as short
//! as a test wants. One writer at a time, or it loses records; it replays a subscription from the start.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use ferrokinesis::store::StoreOptions;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// A running server; dropping it ends it.
pub struct Ferrokinesis {
    endpoint: String,
    runtime: Option<Runtime>,
}

impl Ferrokinesis {
    /// Subscriptions live so many milliseconds.
    pub fn start(session_millis: u64) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let options = StoreOptions {
            create_stream_ms: 50,
            subscribe_to_shard_session_ms: session_millis,
            ..StoreOptions::default()
        };
        runtime.spawn(async move {
            let (kinesis, _store) = ferrokinesis::create_app(options);
            let app = kinesis.layer(from_fn(named));
            let _ = ferrokinesis::serve_plain_http(listener, app, std::future::pending()).await;
        });
        Self { endpoint, runtime: Some(runtime) }
    }

    /// `http://127.0.0.1:port`
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Ferrokinesis {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// It knows streams by name only, but for the calls about consumers.
async fn named(request: Request, next: Next) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    if target.is_some_and(|target| target.ends_with("Consumer")) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let bytes = to_bytes(body, 12 << 20).await.unwrap();
    let bytes = with_name(&bytes).unwrap_or_else(|| bytes.to_vec());
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

fn with_name(body: &[u8]) -> Option<Vec<u8>> {
    let mut request: serde_json::Value = serde_json::from_slice(body).ok()?;
    let arn = request.as_object_mut()?.remove("StreamARN")?;
    request["StreamName"] = arn.as_str()?.rsplit_once('/')?.1.into();
    serde_json::to_vec(&request).ok()
}
