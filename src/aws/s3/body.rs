//! Bodies of objects: whole into memory, or as a blocking stream of bytes.

use std::io::{self, Read};
use std::time::Duration;

use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, ByteStreamError};
use bytes::{Buf, Bytes};

use super::{SMALL_DEADLINE, limits};
use crate::aws::blocking::{Blocking, Cut, Until};
use crate::aws::errors::chain;
use crate::stop::Stop;

/// Between two chunks of a body; the SDK gives up on a stalled one before.
const CHUNK_DEADLINE: Duration = Duration::from_secs(30);
/// A body that breaks off so often without a byte in between is given up.
const MOST_BROKEN: u32 = 3;

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
///
/// Whoever reads slowly (into a stream with a limit) leaves the connection idle for longer than S3 keeps it:
/// a body that breaks off is asked for again from there on. What comes is proved by its hash in the end.
pub(super) struct Reader {
    content: ByteStream,
    chunk: Bytes,
    /// Bytes that came.
    at: u64,
    /// How often it broke off since the last of them.
    broken: u32,
    again: GetObjectFluentBuilder,
    blocking: Blocking,
    stop: Stop,
}

impl Reader {
    /// `again` asks for all of `content`.
    pub(super) const fn new(
        content: ByteStream,
        again: GetObjectFluentBuilder,
        blocking: Blocking,
        stop: Stop,
    ) -> Self {
        Self { content, chunk: Bytes::new(), at: 0, broken: 0, again, blocking, stop }
    }

    /// Goes on behind what came, in place of failing with `error`.
    fn go_on(&mut self, error: io::Error) -> io::Result<()> {
        self.broken += 1;
        if self.broken > MOST_BROKEN {
            return Err(error);
        }
        let request = self.again.clone().range(format!("bytes={}-", self.at));
        let sending = request.customize().config_override(limits(SMALL_DEADLINE)).send();
        match self.blocking.run(SMALL_DEADLINE, &self.stop, Until::Stopped, sending) {
            // A store that knows no ranges begins anew.
            Ok(Ok(output)) if self.at > 0 && output.content_range.is_none() => Err(error),
            Ok(Ok(output)) => {
                self.content = output.body;
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(error),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !into.is_empty() {
            let next = self.content.try_next();
            match self.blocking.run_here(CHUNK_DEADLINE, &self.stop, Until::Stopped, next) {
                Ok(Ok(Some(chunk))) => {
                    self.at += chunk.len() as u64;
                    self.broken = 0;
                    self.chunk = chunk;
                }
                Ok(Ok(None)) => return Ok(0),
                Ok(Err(broken)) => {
                    self.go_on(io::Error::new(io::ErrorKind::ConnectionReset, chain(&broken)))?;
                }
                // Not `Interrupted`, which readers answer by trying again.
                Err(cut @ Cut::Stopped) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, cut.to_string()));
                }
                Err(cut @ Cut::Deadline(_)) => {
                    self.go_on(io::Error::new(io::ErrorKind::TimedOut, cut.to_string()))?;
                }
            }
        }
        let len = into.len().min(self.chunk.len());
        into[..len].copy_from_slice(&self.chunk[..len]);
        self.chunk.advance(len);
        Ok(len)
    }
}
