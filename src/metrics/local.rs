//! The HTTP server on a socket in the state directory: what `status` asks, whether `metrics.http` is set or not.
//!
//! Owns the socket's file: made whole under its name in place of one that a killed keeper left, removed at the end.
//! Only who holds the state directory's lock may serve there. That it cannot be made stops nobody.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tokio::runtime::Handle;

use super::Registry;
use super::http::{Serving, serve_on};
use crate::stop::{Stop, StopReason};

/// Its name in the state directory.
const NAME: &str = "status.sock";

/// Until it listens and who may connect is settled; not longer than [`NAME`], for a socket's path has little room.
const UNFINISHED: &str = "status.new";

/// A group that may look into the state directory may ask, too.
const GROUP_LOOKS: u32 = 0o050;
const OWNER: u32 = 0o600;
const OWNER_AND_GROUP: u32 = 0o660;

/// Where the keeper of a state directory is asked.
pub fn socket_in(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// A running server. It ends, and its file goes, when this is dropped; not from a task of the runtime.
#[derive(Debug)]
pub struct LocalServer {
    path: PathBuf,
    stop: Stop,
    serving: Option<Serving>,
}

/// Serves the registry's numbers in the state directory, whose lock the caller holds. `None`: there it cannot be
/// done, which the log says; `status` makes do without.
pub fn serve_locally(state_dir: &Path, registry: Registry, handle: &Handle) -> Option<LocalServer> {
    let path = socket_in(state_dir);
    if SocketAddr::from_pathname(&path).is_err() {
        tracing::debug!(path = %path.display(), "the path is too long for a socket: status makes do without");
        return None;
    }
    match listen(state_dir, &path, handle) {
        Ok(listener) => {
            let stop = Stop::new();
            let serving = Some(serve_on(listener, registry, handle, stop.clone()));
            Some(LocalServer { path, stop, serving })
        }
        Err(error) => {
            let _ = remove(&state_dir.join(UNFINISHED));
            tracing::warn!(
                path = %path.display(), %error,
                "the socket for status cannot be made; status shows what the disk knows, unless metrics.http is set"
            );
            None
        }
    }
}

fn listen(state_dir: &Path, path: &Path, handle: &Handle) -> io::Result<UnixListener> {
    let unfinished = state_dir.join(UNFINISHED);
    remove(&unfinished)?;
    let listener = StdListener::bind(&unfinished)?;
    let looks = fs::metadata(state_dir)?.mode() & GROUP_LOOKS == GROUP_LOOKS;
    fs::set_permissions(&unfinished, Permissions::from_mode(if looks { OWNER_AND_GROUP } else { OWNER }))?;
    listener.set_nonblocking(true)?;
    let _entered = handle.enter();
    let listener = UnixListener::from_std(listener)?;
    fs::rename(&unfinished, path)?;
    Ok(listener)
}

/// Removes a socket that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        // First, so that nobody comes any more; then those who are there get their answer.
        if let Err(error) = remove(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket for status could not be removed");
        }
        self.stop.stop(StopReason::Requested);
        if let Some(serving) = self.serving.take() {
            serving.join();
        }
    }
}

#[cfg(test)]
mod tests;
