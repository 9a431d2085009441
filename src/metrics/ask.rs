//! Asks a running keeper how it stands: on its socket, or at its HTTP server.
//!
//! Owns the one request and its limits; nothing is changed by it. What the answer means is `status`'s.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::status::{Status, VERSION};

/// From the connection to the last byte. The server is on this machine or near it.
const DEADLINE: Duration = Duration::from_secs(5);

/// With a thousand shards the answer is a megabyte or two.
const MOST_BYTES: usize = 64 << 20;

/// Where a keeper is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its HTTP server, as `metrics.http` has it.
    Http(SocketAddr),
    /// The socket in its state directory.
    Socket(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// Why there is no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStatus {
    /// Nobody listens there.
    #[error("nobody answers at {0}")]
    Nobody(Place),
    /// Nobody may ask there, or not this user.
    #[error("{place} cannot be asked: {why}")]
    Barred {
        /// Where.
        place: Place,
        /// What is in the way.
        why: String,
    },
    /// Somebody does, who is not a keeper or says nothing in time.
    #[error("what answers at {place} does not say how a keeper stands: {why}")]
    Strange {
        /// Where.
        place: Place,
        /// What is wrong.
        why: String,
    },
}

/// How an exchange failed.
enum Failed {
    /// No connection came about.
    Unconnected(io::Error),
    /// It went wrong afterwards.
    Broken(String),
}

/// The status that the keeper at this place tells of itself. To be called on a runtime.
pub async fn ask(place: &Place) -> Result<Status, NoStatus> {
    let place = match place {
        Place::Http(address) => Place::Http(reachable(*address)),
        Place::Socket(_) => place.clone(),
    };
    let strange = |why: String| NoStatus::Strange { place: place.clone(), why };
    match timeout(DEADLINE, fetch(&place)).await {
        Err(_) => Err(strange(format!("no whole answer within {} s", DEADLINE.as_secs()))),
        Ok(Err(Failed::Unconnected(error))) => Err(unconnected(place, &error)),
        Ok(Err(Failed::Broken(why))) => Err(strange(why)),
        Ok(Ok(bytes)) => {
            let status: Status =
                serde_json::from_slice(&bytes).map_err(|error| strange(format!("its JSON: {error}")))?;
            if status.version == VERSION {
                Ok(status)
            } else {
                Err(strange(format!("its version is {}, and this program knows {VERSION}", status.version)))
            }
        }
    }
}

/// A server that listens on every address is asked on the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}

/// A socket that is not there, or that a killed keeper left, is nobody; what this user may not ask is no proof of that.
fn unconnected(place: Place, error: &io::Error) -> NoStatus {
    let nobody = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
    match place {
        Place::Socket(_) if !nobody => NoStatus::Barred { place, why: error.to_string() },
        Place::Socket(_) | Place::Http(_) => NoStatus::Nobody(place),
    }
}

/// The body of the answer.
async fn fetch(place: &Place) -> Result<Bytes, Failed> {
    match place {
        Place::Http(address) => {
            let socket = TcpStream::connect(address).await.map_err(Failed::Unconnected)?;
            fetch_over(socket, &address.to_string()).await
        }
        Place::Socket(path) => {
            let socket = UnixStream::connect(path).await.map_err(Failed::Unconnected)?;
            fetch_over(socket, "localhost").await
        }
    }
}

async fn fetch_over(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
) -> Result<Bytes, Failed> {
    let broken = |error: hyper::Error| Failed::Broken(error.to_string());
    let (mut sender, connection) = handshake(TokioIo::new(socket)).await.map_err(broken)?;
    // Ends with the exchange; what goes wrong in it shows there.
    let driver = tokio::spawn(connection);
    let request = Request::get("/status.json")
        .header(HOST, host)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failed::Broken(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    if answer.status() != StatusCode::OK {
        driver.abort();
        return Err(Failed::Broken(format!("HTTP {}", answer.status())));
    }
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
    driver.abort();
    body.map(http_body_util::Collected::to_bytes).map_err(|error| Failed::Broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;

    use tokio::runtime::Runtime;

    use super::*;
    use crate::metrics::test_clock::TestClock;
    use crate::metrics::{Registry, serve};
    use crate::stop::Stop;

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    }

    /// Answers one connection with these bytes.
    fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut some = [0; 1024];
            let _ = socket.read(&mut some);
            socket.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn a_keeper_tells_how_it_stands() {
        let runtime = runtime();
        let registry = Registry::new("clicks".to_owned(), true, Arc::new(TestClock::default()));
        let server = serve("127.0.0.1:0".parse().unwrap(), registry, runtime.handle(), Stop::new()).unwrap();
        let status = runtime.block_on(ask(&Place::Http(server.address()))).unwrap();
        assert_eq!((status.stream.as_str(), status.version), ("clicks", VERSION));
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, server.address().port()));
        assert_eq!(runtime.block_on(ask(&Place::Http(everywhere))).unwrap().stream, "clicks");
    }

    #[test]
    fn nobody_and_somebody_else_are_told_apart() {
        let runtime = runtime();
        let free = Place::Http(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        assert_eq!(runtime.block_on(ask(&free)), Err(NoStatus::Nobody(free)));
        for (answer, expected) in [
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "its JSON: "),
            ("SSH-2.0-OpenSSH_9.2\r\n", "invalid HTTP version"),
        ] {
            let told = runtime.block_on(ask(&Place::Http(server(answer)))).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
        }
    }
}
