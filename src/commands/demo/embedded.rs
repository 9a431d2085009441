//! The AWS inside the program: a Kinesis in memory and an S3 on a folder, behind one loopback address.
//!
//! Owns the two emulators, the runtime they live on, and what stands between them and the SDK
//! where they answer otherwise than AWS does. Not part of the keeper: it is only what the keeper
//! talks to, over real HTTP.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use aws_credential_types::Credentials;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use ferrokinesis::store::StoreOptions;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// The access key that the embedded S3 knows, and its secret; they protect nothing.
const KEYS: (&str, &str) = ("demo", "demo-secret");
/// The region both pretend to be in.
pub const REGION: &str = "us-east-1";
/// The bucket. Short: the emulator turns bucket and key into one file name.
pub const BUCKET: &str = "kinesis-keeper-demo";

/// Largest request: a PutRecords of 500 small events is far below, an object of the demo too.
const MAX_REQUEST: usize = 12 << 20;

/// The credentials that both take.
pub fn credentials() -> Credentials {
    Credentials::new(KEYS.0, KEYS.1, None, None, "kinesis-keeper demo")
}

/// Both emulators, running until dropped.
pub struct Embedded {
    address: SocketAddr,
    /// Of their own: the Kinesis can block the worker that runs it.
    runtime: Option<Runtime>,
    shutdown: Option<oneshot::Sender<()>>,
}

impl Embedded {
    /// Starts both on a free loopback port, with the buckets of S3 as folders of `folder`.
    pub fn start(folder: &Path) -> io::Result<Self> {
        // The S3 answers 200 to a put into a bucket that is not there: make it first.
        std::fs::create_dir_all(folder.join(BUCKET))?;
        let files =
            s3s_fs::FileSystem::new(folder).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEYS.0, KEYS.1));
        let s3 = builder.build();

        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("embedded-aws")
            .enable_io()
            .enable_time()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let (shutdown, stopped) = oneshot::channel::<()>();
        runtime.spawn(async move {
            let options = StoreOptions {
                create_stream_ms: 50,
                aws_region: REGION.to_owned(),
                ..StoreOptions::default()
            };
            let (kinesis, _store) = ferrokinesis::create_app(options);
            let app = kinesis
                .layer(middleware::from_fn(move |request, next| route(s3.clone(), request, next)))
                .layer(DefaultBodyLimit::max(MAX_REQUEST));
            let ended = async move {
                let _ = stopped.await;
            };
            // An error here shows as refused connections, which the keeper reports.
            let _ = ferrokinesis::serve_plain_http(listener, app, ended).await;
        });
        Ok(Self { address, runtime: Some(runtime), shutdown: Some(shutdown) })
    }

    /// Where both answer.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(runtime) = self.runtime.take() {
            // Nothing of value is in flight: the keeper and the producer have ended before.
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

/// Kinesis calls carry a target; everything else is S3's.
async fn route(s3: S3Service, request: Request, next: Next) -> Response {
    if request.headers().contains_key("x-amz-target") {
        return match with_stream_name(request).await {
            Ok(request) => next.run(request).await,
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        };
    }
    if request.method() == Method::GET && is_lifecycle(request.uri().query()) {
        return no_lifecycle();
    }
    match s3.call(request.map(s3s::Body::http_body_unsync)).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
    }
}

/// The embedded Kinesis knows streams by name only, where AWS prefers the ARN.
async fn with_stream_name(request: Request) -> Result<Request, axum::Error> {
    let (mut parts, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_REQUEST).await?;
    let renamed = stream_name_for_arn(&bytes);
    if let Some(renamed) = &renamed {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(renamed.len()));
    }
    Ok(Request::from_parts(parts, renamed.map_or_else(|| Body::from(bytes), Body::from)))
}

/// The request's JSON with the name in place of the ARN; `None` where there is no ARN.
fn stream_name_for_arn(body: &[u8]) -> Option<Vec<u8>> {
    // Most requests are large and have none: look before parsing.
    memchr::memmem::find(body, b"\"StreamARN\"")?;
    let mut request: serde_json::Value = serde_json::from_slice(body).ok()?;
    let fields = request.as_object_mut()?;
    let arn = fields.remove("StreamARN")?;
    let (_, name) = arn.as_str()?.rsplit_once('/')?;
    fields.entry("StreamName").or_insert_with(|| name.into());
    serde_json::to_vec(&request).ok()
}

fn is_lifecycle(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|part| part == "lifecycle" || part == "lifecycle="))
}

/// What AWS says of a bucket without lifecycle rules; the embedded S3 says "not implemented".
fn no_lifecycle() -> Response {
    let body = concat!(
        r#"<?xml version="1.0" encoding="UTF-8"?>"#,
        "<Error><Code>NoSuchLifecycleConfiguration</Code>",
        "<Message>The lifecycle configuration does not exist</Message></Error>"
    );
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}

#[cfg(test)]
mod tests;
