//! The HTTP server: `/metrics` and `/healthz`, for a scraper and a probe.
//!
//! Owns the socket and its limits. A connection serves one request and lives for ten seconds at
//! most, so that idle or slow peers cannot use up the connections or the memory.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
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
    /// `/metrics` answers at a time: with a thousand shards each is megabytes.
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

/// A running server. It ends when the [`Stop`] it was given does, or when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
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
    let failed = |error: std::io::Error| {
        let hint = "choose a free address of this machine as metrics.http";
        Failure::failed(format!("cannot serve metrics on {addr}: {error}; {hint}"))
    };
    let listener = StdListener::bind(addr).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let entered = handle.enter();
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    drop(entered);
    let door = Door {
        limits,
        registry,
        connections: Arc::new(Semaphore::new(limits.connections)),
        renderings: Arc::new(Semaphore::new(limits.renderings)),
    };
    let task = handle.spawn(accept(listener, door, stop));
    Ok(Server { address, handle: handle.clone(), task: Some(task) })
}

impl Server {
    /// Where it listens: the port that was chosen, where the configured one is 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the last answer was sent after a stop, a few seconds at most. Not to be called
    /// from a task of the runtime.
    pub fn join(mut self) {
        if let Some(task) = self.task.take() {
            // An error means that the task panicked or was cancelled: it is over in any case.
            let _ = self.handle.block_on(task);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
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

async fn accept(listener: TcpListener, door: Door, stop: Stop) {
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

async fn next_peer(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(std::io::Error::other)?;
    let (socket, _) = listener.accept().await?;
    Ok((socket, permit))
}

async fn connection(socket: TcpStream, _permit: OwnedSemaphorePermit, door: Door) {
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
    if !matches!(path, "/metrics" | "/healthz") {
        return plain(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n".to_owned());
    }
    if request.method() != Method::GET {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return refused;
    }
    if path == "/healthz" {
        let health = door.registry.health();
        let status = if health.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return plain(status, health.to_string());
    }
    if let Ok(permit) = Arc::clone(&door.renderings).acquire_owned().await {
        *rendering.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }
    let registry = door.registry.clone();
    let rendered = tokio::task::spawn_blocking(move || open_metrics::render(&registry.snapshot())).await;
    rendered.map_or_else(
        |_| plain(StatusCode::INTERNAL_SERVER_ERROR, "the numbers could not be written\n".to_owned()),
        |text| respond(StatusCode::OK, open_metrics::CONTENT_TYPE, text),
    )
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text)
}

fn respond(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
