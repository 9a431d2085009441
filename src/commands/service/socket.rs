//! The service manager's notify socket, as sd_notify(3) describes it.
//!
//! Owns how a message is sent: a datagram, never waited for. Both kinds of address are understood, a
//! path and an abstract name (`@…`), which container engines hand in. Ours and not the `sd-notify`
//! crate's, whose send waits without end for a service manager that has stopped reading.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::Manager;

/// Where messages go.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl NotifySocket {
    /// For the address in `NOTIFY_SOCKET`.
    pub(super) fn new(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }
}

impl Manager for NotifySocket {
    fn tell(&self, message: &str) -> io::Result<()> {
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        NotifySocket::new(path.as_os_str()).unwrap().tell("READY=1\n").unwrap();
        assert_eq!(receive(&manager), "READY=1\n");
        let name = format!("kinesis-keeper-test-{}", std::process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        NotifySocket::new(OsStr::new(&format!("@{name}"))).unwrap().tell("STOPPING=1\n").unwrap();
        assert_eq!(receive(&manager), "STOPPING=1\n");
    }

    #[test]
    fn nobody_there_is_an_error_and_a_full_socket_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = NotifySocket::new(path.as_os_str()).unwrap();
        assert!(socket.tell("READY=1\n").is_err());
        let _deaf = UnixDatagram::bind(&path).unwrap();
        // A blocking send would hang here.
        assert!((0..100_000).any(|_| socket.tell("WATCHDOG=1\n").is_err()));
    }
}
