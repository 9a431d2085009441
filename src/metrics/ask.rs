//! Asks the HTTP server of a running keeper how it stands.
//!
//! Owns the one request and its limits; nothing is changed by it. What the answer means is `status`'s.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::status::{Status, VERSION};

/// From the connection to the last byte. The server is on this machine or near it.
const DEADLINE: Duration = Duration::from_secs(5);

/// With a thousand shards the answer is a megabyte or two.
const MOST_BYTES: usize = 64 << 20;

/// Why there is no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStatus {
    /// Nobody listens there.
    #[error("nobody answers at {0}")]
    Nobody(SocketAddr),
    /// Somebody does, who is not a keeper or says nothing in time.
    #[error("what answers at {address} does not say how a keeper stands: {why}")]
    Strange {
        /// Where.
        address: SocketAddr,
        /// What is wrong.
        why: String,
    },
}

/// The status that the keeper at `address` (as `metrics.http` has it) tells of itself. To be called on
/// a runtime.
pub async fn ask(address: SocketAddr) -> Result<Status, NoStatus> {
    let address = reachable(address);
    let strange = |why: String| NoStatus::Strange { address, why };
    match timeout(DEADLINE, fetch(address)).await {
        Err(_) => Err(strange(format!("no whole answer within {} s", DEADLINE.as_secs()))),
        Ok(Err(None)) => Err(NoStatus::Nobody(address)),
        Ok(Err(Some(why))) => Err(strange(why)),
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

/// The body of the answer; `Err(None)` where no connection came about.
async fn fetch(address: SocketAddr) -> Result<Bytes, Option<String>> {
    let socket = TcpStream::connect(address).await.map_err(|_| None)?;
    let broken = |error: hyper::Error| Some(error.to_string());
    let (mut sender, connection) = handshake(TokioIo::new(socket)).await.map_err(broken)?;
    // Ends with the exchange; what goes wrong in it shows there.
    let driver = tokio::spawn(connection);
    let request = Request::get("/status.json")
        .header(HOST, address.to_string())
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Some(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    if answer.status() != StatusCode::OK {
        driver.abort();
        return Err(Some(format!("HTTP {}", answer.status())));
    }
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
    driver.abort();
    body.map(http_body_util::Collected::to_bytes).map_err(|error| Some(error.to_string()))
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
        let status = runtime.block_on(ask(server.address())).unwrap();
        assert_eq!((status.stream.as_str(), status.version), ("clicks", VERSION));
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, server.address().port()));
        assert_eq!(runtime.block_on(ask(everywhere)).unwrap().stream, "clicks");
    }

    #[test]
    fn nobody_and_somebody_else_are_told_apart() {
        let runtime = runtime();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(runtime.block_on(ask(free)), Err(NoStatus::Nobody(free)));
        for (answer, expected) in [
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "its JSON: "),
            ("SSH-2.0-OpenSSH_9.2\r\n", "invalid HTTP version"),
        ] {
            let told = runtime.block_on(ask(server(answer))).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
        }
    }
}
