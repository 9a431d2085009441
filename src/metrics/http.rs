//! The HTTP server: `/metrics` and `/healthz` for a scraper and a probe, `/` and `/status.json` for a person.
//!
//! Owns what is answered and its limits; where it listens is [`serve`]'s address, or the socket of [`super::local`].
//! A connection serves one request and lives for ten seconds at most, so that idle or slow peers cannot use up the
//! connections or the memory. Nothing can be changed through it, and the page asks nobody but this server.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::{Registry, open_metrics};
use crate::error::Failure;
use crate::stop::Stop;

/// What a peer may take of us.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at a time; more wait in the kernel's queue.
    connections: usize,
    /// `/metrics` and `/status.json` answers at a time: with a thousand shards each is megabytes.
    renderings: usize,
    /// For the request's head.
    head: Duration,
    /// For everything, from accept to close.
    whole: Duration,
    /// How long open connections may go on after a stop.
    drain: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    renderings: 4,
    head: Duration::from_secs(5),
    whole: Duration::from_secs(10),
    drain: Duration::from_secs(2),
};

/// The status page: one file, without a build step.
const PAGE: &str = include_str!("page.html");

/// What each answer says to browsers: nothing is kept, guessed, framed, or fetched from elsewhere.
const SAID: [(HeaderName, HeaderValue); 4] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
];

/// A running server. It ends when the [`Stop`] it was given does, or when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    serving: Serving,
}

/// Connections are taken and answered, by a task of the runtime.
#[derive(Debug)]
pub(super) struct Serving {
    handle: Handle,
    task: Option<JoinHandle<()>>,
}

/// Serves the registry's numbers at exactly this address until `stop`. Probes want an answer while
/// the archiver drains, too: `stop` is the one that ends last.
pub fn serve(addr: SocketAddr, registry: Registry, handle: &Handle, stop: Stop) -> Result<Server, Failure> {
    serve_within(LIMITS, addr, registry, handle, stop)
}

fn serve_within(
    limits: Limits,
    addr: SocketAddr,
    registry: Registry,
    handle: &Handle,
    stop: Stop,
) -> Result<Server, Failure> {
    let failed = |error: io::Error| {
        let hint = "choose a free address of this machine as metrics.http";
        Failure::failed(format!("cannot serve metrics on {addr}: {error}; {hint}"))
    };
    let listener = StdListener::bind(addr).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let entered = handle.enter();
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    drop(entered);
    Ok(Server { address, serving: Serving::start(limits, listener, registry, handle, stop) })
}

/// Serves on a socket of this machine what [`serve`] serves at an address.
pub(super) fn serve_on(listener: UnixListener, registry: Registry, handle: &Handle, stop: Stop) -> Serving {
    Serving::start(LIMITS, listener, registry, handle, stop)
}

impl Server {
    /// Where it listens: the port that was chosen, where the configured one is 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the last answer was sent after a stop, a few seconds at most. Not to be called
    /// from a task of the runtime.
    pub fn join(self) {
        self.serving.join();
    }
}

impl Serving {
    fn start(
        limits: Limits,
        listener: impl Listener,
        registry: Registry,
        handle: &Handle,
        stop: Stop,
    ) -> Self {
        let door = Door {
            limits,
            registry,
            connections: Arc::new(Semaphore::new(limits.connections)),
            renderings: Arc::new(Semaphore::new(limits.renderings)),
        };
        Self { handle: handle.clone(), task: Some(handle.spawn(accept(listener, door, stop))) }
    }

    /// As [`Server::join`].
    pub(super) fn join(mut self) {
        if let Some(task) = self.task.take() {
            // An error means that the task panicked or was cancelled: it is over in any case.
            let _ = self.handle.block_on(task);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Who takes connections.
trait Listener: Send + Sync + 'static {
    type Peer: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Peer>> + Send;
}

impl Listener for TcpListener {
    type Peer = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(socket, _)| socket)
    }
}

impl Listener for UnixListener {
    type Peer = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(socket, _)| socket)
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Door {
    limits: Limits,
    registry: Registry,
    connections: Arc<Semaphore>,
    renderings: Arc<Semaphore>,
}

async fn accept<L: Listener>(listener: L, door: Door, stop: Stop) {
    let mut open = JoinSet::new();
    let mut stopped = pin!(stop.stopped());
    loop {
        while open.try_join_next().is_some() {}
        let mut peer = pin!(next_peer(&listener, &door.connections));
        let next = poll_fn(|context| match stopped.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => peer.as_mut().poll(context).map(Some),
        });
        match next.await {
            None => break,
            Some(Ok((socket, permit))) => {
                open.spawn(connection(socket, permit, door.clone()));
            }
            Some(Err(error)) => {
                // Out of file descriptors, usually: it passes, and must not spin.
                tracing::debug!(%error, "a connection to the metrics server could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let drained = async { while open.join_next().await.is_some() {} };
    let _ = timeout(door.limits.drain, drained).await;
    // Dropping the set aborts whoever is still connected.
}

async fn next_peer<L: Listener>(
    listener: &L,
    connections: &Arc<Semaphore>,
) -> io::Result<(L::Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.next().await?, permit))
}

async fn connection(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    _permit: OwnedSemaphorePermit,
    door: Door,
) {
    let limits = door.limits;
    // Held until the connection is over, and with it the text that is being sent.
    let rendering: Arc<Mutex<Option<OwnedSemaphorePermit>>> = Arc::default();
    let service = service_fn(|request| {
        let (door, rendering) = (door.clone(), Arc::clone(&rendering));
        async move { Ok::<_, Infallible>(answer(&request, &door, &rendering).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(socket), service);
    // Whatever a peer does wrong is its own affair.
    let _ = timeout(limits.whole, serving).await;
}

async fn answer(
    request: &Request<Incoming>,
    door: &Door,
    rendering: &Mutex<Option<OwnedSemaphorePermit>>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/" | "/status.json" | "/metrics" | "/healthz") {
        let there_are = "there are /, /status.json, /metrics and /healthz\n";
        return plain(StatusCode::NOT_FOUND, there_are.to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/" => respond(StatusCode::OK, "text/html; charset=utf-8", PAGE),
        "/healthz" => {
            let health = door.registry.health();
            let status = if health.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            plain(status, health.to_string())
        }
        "/status.json" => rendered("application/json", door, rendering, status_json).await,
        _ => {
            let metrics = |registry: &Registry| Ok(open_metrics::render(&registry.snapshot()));
            rendered(open_metrics::CONTENT_TYPE, door, rendering, metrics).await
        }
    }
}

fn status_json(registry: &Registry) -> serde_json::Result<String> {
    serde_json::to_string(&registry.status())
}

/// Answers with what may be megabytes: a few at a time, and not on a thread that serves others.
async fn rendered(
    content_type: &'static str,
    door: &Door,
    rendering: &Mutex<Option<OwnedSemaphorePermit>>,
    render: impl FnOnce(&Registry) -> serde_json::Result<String> + Send + 'static,
) -> Response<Full<Bytes>> {
    if let Ok(permit) = Arc::clone(&door.renderings).acquire_owned().await {
        *rendering.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }
    let registry = door.registry.clone();
    match tokio::task::spawn_blocking(move || render(&registry)).await {
        Ok(Ok(text)) => respond(StatusCode::OK, content_type, text),
        Ok(Err(_)) | Err(_) => {
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the numbers could not be written\n".to_owned())
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text)
}

fn respond(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().extend(SAID);
    response
}

#[cfg(test)]
mod tests;
