//! The independent servers that the tests run against: npm `kinesis-local` for Kinesis, PyPI `ministack` for
//! S3, SNS, SQS and CloudWatch.
//!
//! Pinned by lock files beside this one, installed under `target/test-servers/` on first use, one of each a
//! test binary, on a free port of the loopback interface. Each ends when its standard input closes, so a test
//! run that is aborted leaves nothing behind. A server that can't be had fails the test that wants it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{http, sha256};

/// A running server; it lives as long as the test binary.
pub struct Server {
    endpoint: String,
    _child: Child,
    _alive_while_open: ChildStdin,
}

impl Server {
    /// `http://127.0.0.1:port`
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

/// Kinesis.
pub fn kinesis() -> &'static Server {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    have(&SERVER, "kinesis-local", start_kinesis)
}

/// A Kinesis of a test's own: for one that keeps its only thread so busy that other tests would wait too long.
pub fn own_kinesis() -> Server {
    match start_kinesis() {
        Ok(server) => server,
        Err(why) => panic!("another kinesis-local can't be had: {why}"),
    }
}

fn start_kinesis() -> Result<Server, String> {
    let folder = install("kinesis-local", &npm_pin(), install_npm)?;
    start(&|port| kinesis_command(&folder, port), &kinesis_answers)
}

/// S3, SNS, SQS and CloudWatch.
pub fn ministack() -> &'static Server {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    have(&SERVER, "ministack", || {
        let folder = install_ministack()?;
        start(&|port| ministack_command(&folder, port), &ministack_answers)
    })
}

/// The Python that has what `python/requirements.txt` names.
pub fn python() -> PathBuf {
    match install_ministack() {
        Ok(folder) => python_in(&folder),
        Err(why) => panic!("Python with its packages can't be had: {why}"),
    }
}

/// The Python that has the tools of others: DuckDB, the AWS CLI, zstd. Large, and so apart.
pub fn tools() -> PathBuf {
    let pin = pin(&["python/requirements-tools.txt"]);
    match install("tools", &pin, |folder| install_python_from(folder, "requirements-tools.txt")) {
        Ok(folder) => folder.join("venv/bin"),
        Err(why) => panic!("DuckDB, the AWS CLI and zstandard can't be had: {why}"),
    }
}

fn install_ministack() -> Result<PathBuf, String> {
    install("ministack", &python_pin(), install_python)
}

/// HTTP/2 over TLS in front of the server at `upstream`. Its certificate lies in `folder`, as `cert.pem`.
pub fn http2_front(upstream: &str, folder: &Path) -> Server {
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]);
    // It is its own root, and no authority.
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]).arg("-keyout").arg(&key);
    run(openssl.arg("-out").arg(&cert), "openssl req").unwrap();
    let command = |port: u16| {
        let mut command = Command::new("node");
        command.arg(sources().join("npm/front.js")).env("PORT", port.to_string());
        command.env("UPSTREAM", upstream).env("KEY", &key).env("CERT", &cert);
        Ok(command)
    };
    let listens = |endpoint: &str| TcpStream::connect(endpoint.trim_start_matches("http://")).is_ok();
    let server = start(&command, &listens).unwrap();
    Server { endpoint: server.endpoint.replacen("http", "https", 1), ..server }
}

/// A program that is installed beside `ministack`, from the same pin.
pub fn python_program(name: &str) -> PathBuf {
    match install_ministack() {
        Ok(folder) => folder.join("venv/bin").join(name),
        Err(why) => panic!("{name} can't be had: {why}"),
    }
}

fn have(
    server: &'static OnceLock<Result<Server, String>>,
    name: &str,
    bring_up: impl FnOnce() -> Result<Server, String>,
) -> &'static Server {
    match server.get_or_init(bring_up) {
        Ok(server) => server,
        Err(why) => panic!("the test server {name} can't be had: {why}"),
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support")
}

fn npm_pin() -> String {
    pin(&["npm/package.json", "npm/package-lock.json"])
}

fn python_pin() -> String {
    pin(&["python/requirements.txt"])
}

fn pin(files: &[&str]) -> String {
    let bytes: Vec<u8> =
        files.iter().flat_map(|file| fs::read(sources().join(file)).unwrap_or_default()).collect();
    sha256(&bytes)
}

fn said(what: &str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// Installs under `target/test-servers/{name}` unless what lies there was installed whole from the same pin.
fn install(name: &str, pin: &str, how: fn(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-servers");
    fs::create_dir_all(&root).map_err(said("making target/test-servers"))?;
    let lock = File::create(root.join(format!("{name}.lock"))).map_err(said("making the lock file"))?;
    lock.lock().map_err(said("waiting for the lock file"))?;
    let folder = root.join(name);
    let ok = folder.join("ok");
    if fs::read_to_string(&ok).is_ok_and(|found| found == pin) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(said("removing an older installation"))?;
    }
    fs::create_dir_all(&folder).map_err(said("making its folder"))?;
    how(&folder)?;
    fs::write(&ok, pin).map_err(said("marking the installation whole"))?;
    Ok(folder)
}

fn install_npm(folder: &Path) -> Result<(), String> {
    for file in ["package.json", "package-lock.json"] {
        fs::copy(sources().join("npm").join(file), folder.join(file)).map_err(|error| error.to_string())?;
    }
    let flags = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
    run(Command::new("npm").args(flags).current_dir(folder), "npm ci")
}

fn install_python(folder: &Path) -> Result<(), String> {
    install_python_from(folder, "requirements.txt")
}

fn install_python_from(folder: &Path, requirements: &str) -> Result<(), String> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")), "python3 -m venv")?;
    let requirements = sources().join("python").join(requirements);
    let flags = ["-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r"];
    run(Command::new(python_in(folder)).args(flags).arg(requirements), "pip install")
}

fn python_in(folder: &Path) -> PathBuf {
    folder.join("venv/bin/python")
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{what} ended with {}:\n{}", output.status, String::from_utf8_lossy(&said)))
}

fn kinesis_command(folder: &Path, port: u16) -> Result<Command, String> {
    let package = folder.join("node_modules/kinesis-local");
    let mut command = Command::new("node");
    command
        .arg("-r")
        .arg(sources().join("npm/preload.js"))
        .arg("main.js")
        .current_dir(package)
        .env("KINESIS_MOCK_PLAIN_PORT", port.to_string())
        .env("KINESIS_MOCK_TLS_PORT", free_port()?.to_string())
        .env("SHARD_LIMIT", "400")
        .env("CREATE_STREAM_DURATION", "200ms")
        .env("SPLIT_SHARD_DURATION", "200ms")
        .env("MERGE_SHARDS_DURATION", "200ms")
        .env("LOG_LEVEL", "WARN");
    Ok(command)
}

fn ministack_command(folder: &Path, port: u16) -> Result<Command, String> {
    let mut command = Command::new(python_in(folder));
    command
        .arg(sources().join("python/serve.py"))
        .current_dir(folder)
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("SERVICES", "s3,sns,sqs,cloudwatch,kinesis,sts")
        .env("LOG_LEVEL", "WARNING");
    Ok(command)
}

fn kinesis_answers(endpoint: &str) -> bool {
    let headers = [
        ("X-Amz-Target", "Kinesis_20131202.ListStreams"),
        ("Content-Type", "application/x-amz-json-1.1"),
        ("X-Amz-Date", "20261122T000000Z"),
        (
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00",
        ),
    ];
    http::ask(endpoint, "POST /", &headers, b"{}", Duration::from_secs(5)).is_ok_and(|a| a.status() == 200)
}

fn ministack_answers(endpoint: &str) -> bool {
    http::ask(
        endpoint,
        "GET /",
        &[("Authorization", "AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/s3/aws4_request")],
        b"",
        Duration::from_secs(5),
    )
    .is_ok_and(|answer| answer.status() == 200)
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// Five tries: somebody else may take the free port before the server does.
fn start(
    command: &dyn Fn(u16) -> Result<Command, String>,
    answers: &dyn Fn(&str) -> bool,
) -> Result<Server, String> {
    let mut why = String::new();
    for _ in 0..5 {
        let port = free_port()?;
        match try_start(command(port)?, port, answers) {
            Ok(server) => return Ok(server),
            Err(reason) => why = reason,
        }
    }
    Err(format!("it did not come up in five tries; the last: {why}"))
}

fn try_start(mut command: Command, port: u16, answers: &dyn Fn(&str) -> bool) -> Result<Server, String> {
    let mut log = tempfile::tempfile().map_err(|error| error.to_string())?;
    let copy = |file: &File| file.try_clone().map_err(|error| error.to_string());
    command.stdin(Stdio::piped()).stdout(copy(&log)?).stderr(copy(&log)?);
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let stdin = child.stdin.take().ok_or("no pipe to its standard input")?;
    let endpoint = format!("http://127.0.0.1:{port}");
    let end = Instant::now() + Duration::from_secs(30);
    let why = loop {
        if answers(&endpoint) {
            return Ok(Server { endpoint, _child: child, _alive_while_open: stdin });
        }
        if let Ok(Some(status)) = child.try_wait() {
            break format!("it ended with {status}");
        }
        if Instant::now() > end {
            break "it did not answer within 30 s".to_owned();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let _ = child.kill();
    let _ = child.wait();
    let mut said = String::new();
    let _ = log.seek(SeekFrom::Start(0)).and_then(|_| log.read_to_string(&mut said));
    Err(format!("{why}; it said:\n{said}"))
}
