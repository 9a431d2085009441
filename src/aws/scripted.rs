//! A loopback HTTP server that answers from a script and keeps what it was asked; and the ports
//! that adapters need beside it. Only for tests.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::blocking::Blocking;
use super::clients::{AwsSettings, Clients};
use crate::model::timestamp::Timestamp;
use crate::ports::{Clock, Disk, FileInfo};

/// What a service says: status, headers but the length, body.
pub(super) struct Answer(pub u16, pub &'static [(&'static str, &'static str)], pub &'static str);

/// What a service was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `GET /path HTTP/1.1`
    pub line: String,
    /// Header lines in lower case.
    pub headers: Vec<String>,
    pub body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// The server, and clients that speak to it.
pub(super) struct Scripted {
    runtime: Runtime,
    pub clients: Clients,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    /// Serves these answers in order; whatever is asked after them finds the connection closed.
    pub(super) fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (keep, mut answers) = (Arc::clone(&asked), VecDeque::from(answers));
        std::thread::spawn(move || {
            while let Some(answer) = answers.pop_front() {
                let Ok((connection, _)) = listener.accept() else { return };
                keep.lock().unwrap().push(serve(&connection, &answer).unwrap());
            }
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let settings = AwsSettings::local(url);
        let clients = Clients::load(runtime.handle(), &settings).unwrap();
        Self { runtime, clients, asked }
    }

    pub(super) fn blocking(&self) -> Blocking {
        Blocking::new(self.runtime.handle().clone())
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(connection: &TcpStream, answer: &Answer) -> io::Result<Asked> {
    let mut reader = BufReader::new(connection);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0);
    let headers = lines.iter().map(|line| line.to_ascii_lowercase()).collect();
    let mut asked = Asked { line, headers, body: String::new() };
    let mut body = vec![0; asked.header("content-length").map_or(0, |len| len.parse().unwrap())];
    reader.read_exact(&mut body)?;
    asked.body = String::from_utf8_lossy(&body).into_owned();
    let Answer(status, headers, body) = answer;
    let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in *headers {
        text += &format!("{name}: {value}\r\n");
    }
    (&mut &*connection).write_all(format!("{text}\r\n{body}").as_bytes())?;
    Ok(asked)
}

/// A clock that stands still at an hour past the epoch.
pub(super) struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(3600)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A folder, of which only the path is asked.
pub(super) struct Folder(pub PathBuf);

fn unasked<T>() -> io::Result<T> {
    Err(io::Error::other("adapters only ask for the path"))
}

impl Disk for Folder {
    fn read(&self, _path: &Path) -> io::Result<Option<Vec<u8>>> {
        unasked()
    }

    fn open(&self, _path: &Path) -> io::Result<Option<Box<dyn Read + Send>>> {
        unasked()
    }

    fn write(&self, _path: &Path, _parts: &[&[u8]]) -> io::Result<()> {
        unasked()
    }

    fn write_at(&self, _path: &Path, _at: u64, _parts: &[&[u8]]) -> io::Result<()> {
        unasked()
    }

    fn persist(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        unasked()
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        unasked()
    }

    fn link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        unasked()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        unasked()
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<FileInfo>> {
        unasked()
    }

    fn full_path(&self, path: &Path) -> PathBuf {
        self.0.join(path)
    }
}
