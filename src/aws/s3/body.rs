//! Bodies of objects: whole into memory, or as a blocking stream of bytes.

use std::io::{self, Read};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, ByteStreamError};
use bytes::{Buf, Bytes};

use crate::aws::blocking::{Blocking, Cut, Until};
use crate::aws::errors::chain;
use crate::stop::Stop;

/// Between two chunks of a body; the SDK gives up on a stalled one before.
const CHUNK_DEADLINE: Duration = Duration::from_secs(30);

/// The whole body; `None` if it is longer than `most`.
pub(super) async fn whole(mut content: ByteStream, most: u64) -> Result<Option<Vec<u8>>, ByteStreamError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = content.try_next().await? {
        if (bytes.len() + chunk.len()) as u64 > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// A body, read by a thread outside of the runtime. A stop or a deadline is an error.
pub(super) struct Reader {
    content: ByteStream,
    chunk: Bytes,
    blocking: Blocking,
    stop: Stop,
}

impl Reader {
    pub(super) const fn new(content: ByteStream, blocking: Blocking, stop: Stop) -> Self {
        Self { content, chunk: Bytes::new(), blocking, stop }
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !into.is_empty() {
            let next = self.content.try_next();
            match self.blocking.run(CHUNK_DEADLINE, &self.stop, Until::Stopped, next) {
                Ok(Ok(Some(chunk))) => self.chunk = chunk,
                Ok(Ok(None)) => return Ok(0),
                Ok(Err(broken)) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionReset, chain(&broken)));
                }
                // Not `Interrupted`, which readers answer by trying again.
                Err(cut @ Cut::Stopped) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, cut.to_string()));
                }
                Err(cut @ Cut::Deadline(_)) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, cut.to_string()));
                }
            }
        }
        let len = into.len().min(self.chunk.len());
        into[..len].copy_from_slice(&self.chunk[..len]);
        self.chunk.advance(len);
        Ok(len)
    }
}
