//! A proxy that makes faults: it stands in front of a test server and does what the test's rules say.
//!
//! A rule has a condition on the request and what to do; the first that fits and is not used up decides.
//! What no rule wants goes through unchanged. Signatures name the proxy's host; the servers don't check them.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::http::{self, Message};

const LIMIT: Duration = Duration::from_secs(60);

/// A request as a rule sees it.
pub struct Request {
    /// `PUT`
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The operation's name, where there is an `X-Amz-Target`, such as `GetRecords`, or an `Action` in the form.
    pub operation: String,
    /// All of it.
    pub message: Message,
}

impl Request {
    /// Whether it is this method on a key that contains `part`.
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }

    /// Whether it puts a data object of the archive.
    pub fn puts_object(&self) -> bool {
        self.method == "PUT" && self.path.contains(".ndjson.gz") && !self.path.contains("_ledger/")
    }

    /// Whether it puts an entry of a shard's ledger, from serial 1 on.
    pub fn puts_entry(&self) -> bool {
        let numbered = self.path.contains("_ledger/shardId-") && !self.path.contains("/000000000000.json");
        self.method == "PUT" && numbered
    }
}

/// Makes an answer of a request and of a way to ask the server.
pub type Around =
    Arc<dyn Fn(&Request, &dyn Fn(&Message) -> io::Result<Message>) -> io::Result<Message> + Send + Sync>;

/// What to do with a request.
#[derive(Clone)]
pub enum Action {
    /// Let it through.
    Pass,
    /// Answer in the server's stead.
    Answer(u16, &'static str, String),
    /// Answer in the server's stead as the test works it out.
    Compute(Arc<dyn Fn(&Request) -> Message + Send + Sync>),
    /// Answer as the test works it out, which may ask the server as often as it likes.
    Around(Around),
    /// Close the connection without asking the server.
    Close,
    /// Wait, then let it through.
    Delay(Duration),
    /// Let it through, and cut the answer's body after so many bytes.
    CutAnswer(usize),
    /// Let it through, then answer as if it had failed.
    ApplyThenAnswer(u16, &'static str, String),
    /// Let it through, then close the connection without an answer.
    ApplyThenClose,
    /// Keep it until the gate opens, then let it through.
    Hold(Gate),
    /// Let it through, keep the answer until the gate opens.
    ApplyThenHold(Gate),
    /// Change one byte of the request's body on its way.
    CorruptBody,
    /// Take a header away on its way.
    StripHeader(&'static str),
}

/// The error that an S3 answers with.
pub fn s3_error(status: u16, code: &str) -> Action {
    Action::Answer(status, "application/xml", xml(code))
}

/// Stores the object, then answers with an error all the same.
pub fn applied_but_failed(status: u16, code: &str) -> Action {
    Action::ApplyThenAnswer(status, "application/xml", xml(code))
}

fn xml(code: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>scripted</Message></Error>"#
    )
}

/// The error that a Kinesis answers with.
pub fn kinesis_error(code: &str) -> Action {
    let body = format!(r#"{{"__type":"{code}","message":"scripted"}}"#);
    Action::Answer(400, "application/x-amz-json-1.1", body)
}

/// Too many calls.
pub fn throttle() -> Action {
    kinesis_error("ProvisionedThroughputExceededException")
}

/// The iterator is too old.
pub fn expired_iterator() -> Action {
    kinesis_error("ExpiredIteratorException")
}

/// What holds a request back until the test opens it.
#[derive(Clone, Default)]
pub struct Gate {
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    /// Lets go of all that it holds, now and later.
    pub fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }

    fn wait(&self) {
        let open = self.open.0.lock().unwrap();
        drop(self.open.1.wait_timeout_while(open, LIMIT, |open| !*open));
    }
}

/// A rule in force; dropping this does not end it.
#[derive(Clone)]
pub struct Rule {
    state: Arc<RuleState>,
}

struct RuleState {
    fits: Box<dyn Fn(&Request) -> bool + Send + Sync>,
    action: Action,
    left: AtomicU64,
    used: AtomicU64,
}

impl Rule {
    /// How many requests it decided.
    pub fn used(&self) -> u64 {
        self.state.used.load(Ordering::SeqCst)
    }

    /// Ends it.
    pub fn end(&self) {
        self.state.left.store(0, Ordering::SeqCst);
    }

    fn take(&self, request: &Request) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        let taken = (self.state.fits)(request)
            && self.state.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        if taken {
            self.state.used.fetch_add(1, Ordering::SeqCst);
        }
        taken
    }
}

struct Shared {
    upstream: String,
    rules: Mutex<Vec<Rule>>,
    open: Mutex<Vec<TcpStream>>,
    closing: AtomicBool,
}

/// A proxy in front of one server.
pub struct Proxy {
    endpoint: String,
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// In front of `upstream` (`http://host:port`); without rules all goes through.
    pub fn new(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            rules: Mutex::default(),
            open: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let listener = std::thread::spawn(move || accept(&listener, &accepting));
        Self { endpoint: format!("http://{address}"), address, shared, listener: Some(listener) }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From now on, `action` for every request that `fits`.
    pub fn always(&self, fits: impl Fn(&Request) -> bool + Send + Sync + 'static, action: Action) -> Rule {
        self.first(u64::MAX, fits, action)
    }

    /// From now on, `action` for the first `times` requests that fit.
    pub fn first(
        &self,
        times: u64,
        fits: impl Fn(&Request) -> bool + Send + Sync + 'static,
        action: Action,
    ) -> Rule {
        let state =
            RuleState { fits: Box::new(fits), action, left: AtomicU64::new(times), used: AtomicU64::new(0) };
        let rule = Rule { state: Arc::new(state) };
        self.shared.rules.lock().unwrap().push(rule.clone());
        rule
    }

    /// Counts the requests that fit, as far as no earlier rule decides them, and lets them through.
    pub fn count(&self, fits: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Rule {
        self.always(fits, Action::Pass)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The listener sees `closing` when one more connection comes.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(copy) = stream.try_clone() {
            shared.open.lock().unwrap().push(copy);
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that goes away in the middle is none of the proxy's business.
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(mut message) = http::read_head(&mut reader)? {
        if message.header("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        http::read_body(&mut reader, &mut message, false)?;
        let request = request(message);
        let rule = shared.rules.lock().unwrap().iter().find(|rule| rule.take(&request)).cloned();
        let action = rule.map_or(Action::Pass, |rule| rule.state.action.clone());
        if !act(action, request, stream, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

fn request(message: Message) -> Request {
    let method = message.start.split(' ').next().unwrap_or("").to_owned();
    let path = message.second().to_owned();
    let operation = match message.header("x-amz-target") {
        Some(target) => target.rsplit('.').next().unwrap_or("").to_owned(),
        None if method == "POST" => {
            let form = String::from_utf8_lossy(&message.body);
            form.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or("").to_owned()
        }
        None => String::new(),
    };
    Request { method, path, operation, message }
}

/// Whether the connection goes on.
fn act(action: Action, mut request: Request, stream: &TcpStream, shared: &Shared) -> io::Result<bool> {
    match action {
        Action::Pass => {}
        Action::Answer(status, content_type, body) => {
            return answer(stream, &request, &Message::response(status, content_type, body));
        }
        Action::Compute(work_out) => return answer(stream, &request, &work_out(&request)),
        Action::Around(work_out) => {
            let ask = |message: &Message| http::exchange(&shared.upstream, message, LIMIT);
            return answer(stream, &request, &work_out(&request, &ask)?);
        }
        Action::Close => return Ok(false),
        Action::Delay(time) => std::thread::sleep(time),
        Action::CutAnswer(after) => {
            let bytes = forward(&request, shared)?;
            let whole = bytes.to_bytes(None);
            let head = whole.len() - bytes.body.len();
            let mut stream = stream;
            stream.write_all(&whole[..(head + after).min(whole.len())])?;
            return Ok(false);
        }
        Action::ApplyThenAnswer(status, content_type, body) => {
            forward(&request, shared)?;
            return answer(stream, &request, &Message::response(status, content_type, body));
        }
        Action::ApplyThenClose => {
            forward(&request, shared)?;
            return Ok(false);
        }
        Action::Hold(gate) => gate.wait(),
        Action::ApplyThenHold(gate) => {
            let answered = forward(&request, shared)?;
            gate.wait();
            return answer(stream, &request, &answered);
        }
        Action::CorruptBody => {
            if let Some(byte) = request.message.body.last_mut() {
                *byte ^= 0x55;
            }
        }
        Action::StripHeader(name) => request.message.remove(name),
    }
    let answered = forward(&request, shared)?;
    answer(stream, &request, &answered)
}

fn forward(request: &Request, shared: &Shared) -> io::Result<Message> {
    http::exchange(&shared.upstream, &request.message, LIMIT)
}

fn answer(mut stream: &TcpStream, request: &Request, message: &Message) -> io::Result<bool> {
    let mut message = message.clone();
    message.remove("connection");
    message.remove("keep-alive");
    let length = message.header("content-length").map(str::to_owned);
    let length = if request.method == "HEAD" {
        message.body.clear();
        length.or_else(|| Some("0".to_owned()))
    } else {
        None
    };
    stream.write_all(&message.to_bytes(length.as_deref()))?;
    Ok(true)
}
