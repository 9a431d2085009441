//! HTTP/1.1 over plain TCP, whole messages only: what the proxy forwards and what the tests ask by hand.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A request or a response, its body whole and without transfer coding.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// `POST / HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub start: String,
    /// As they came.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Message {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Takes every header of this name away.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    /// Replaces every header of this name.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    /// The second word of the start line: a request's path, a response's status.
    pub fn second(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("")
    }

    /// A response's status.
    pub fn status(&self) -> u16 {
        self.second().parse().unwrap_or(0)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A response.
    pub fn response(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            start: format!("HTTP/1.1 {status} Scripted"),
            headers: vec![("Content-Type".into(), content_type.into())],
            body: body.into(),
        }
    }

    /// The bytes for the wire. `length` overrides Content-Length, as the answer to a HEAD has it.
    pub fn to_bytes(&self, length: Option<&str>) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.start).into_bytes();
        for (name, value) in &self.headers {
            let framing =
                ["content-length", "transfer-encoding"].iter().any(|f| name.eq_ignore_ascii_case(f));
            if !framing {
                out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
        }
        let length = length.map_or_else(|| self.body.len().to_string(), str::to_owned);
        out.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
        out.extend_from_slice(&self.body);
        out
    }
}

/// Reads start line and headers; `None` at the end of the connection.
pub fn read_head(from: &mut impl BufRead) -> io::Result<Option<Message>> {
    let Some(start) = read_line(from)? else { return Ok(None) };
    let mut head = Message { start, ..Message::default() };
    while let Some(line) = read_line(from)? {
        if line.is_empty() {
            return Ok(Some(head));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
        head.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Err(invalid("the connection ended within the headers"))
}

/// Reads the body that the head announces; `until_end` where a message without a length has one all the same.
pub fn read_body(from: &mut impl BufRead, head: &mut Message, until_end: bool) -> io::Result<()> {
    if head.header("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"))
    {
        return read_chunks(from, &mut head.body);
    }
    match head.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => {
            head.body.resize(length, 0);
            from.read_exact(&mut head.body)
        }
        None if until_end => from.read_to_end(&mut head.body).map(|_| ()),
        None => Ok(()),
    }
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(from)?.ok_or_else(|| invalid("the connection ended within a chunk"))?;
        let size = line.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| invalid("a chunk without a size"))?;
        if size == 0 {
            while read_line(from)?.is_some_and(|trailer| !trailer.is_empty()) {}
            return Ok(());
        }
        let at = body.len();
        body.resize(at + size, 0);
        from.read_exact(&mut body[at..])?;
        read_line(from)?;
    }
}

fn read_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if from.take(64 << 10).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Sends one request on a connection of its own and reads the answer whole.
pub fn exchange(host: &str, request: &Message, limit: Duration) -> io::Result<Message> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut request = request.clone();
    request.set("Connection", "close");
    request.remove("Expect");
    stream.write_all(&request.to_bytes(None))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut answer =
            read_head(&mut reader)?.ok_or_else(|| invalid("the server closed without an answer"))?;
        let status = answer.status();
        if (100..200).contains(&status) {
            continue;
        }
        let bodiless = request.start.starts_with("HEAD ") || matches!(status, 204 | 304);
        if !bodiless {
            read_body(&mut reader, &mut answer, true)?;
        }
        return Ok(answer);
    }
}

/// Asks `endpoint` (`http://host:port`) by hand.
pub fn ask(
    endpoint: &str,
    method_and_path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    limit: Duration,
) -> io::Result<Message> {
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut request =
        Message { start: format!("{method_and_path} HTTP/1.1"), headers: vec![], body: body.to_vec() };
    request.set("Host", host);
    for (name, value) in headers {
        request.set(name, *value);
    }
    exchange(host, &request, limit)
}

/// GET, for `/metrics` and `/healthz`; `None` while nobody answers.
pub fn get(endpoint: &str, path: &str) -> Option<Message> {
    ask(endpoint, &format!("GET {path}"), &[], &[], Duration::from_secs(5)).ok()
}
