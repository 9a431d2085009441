//! The real binary as a child process: its configuration, its signals, its log and its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process, prlimit};
use tempfile::TempDir;

use super::{http, servers, wait_for};

/// The real binary.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_kinesis-keeper")
}

/// Longer than any test should need for anything.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A configuration file with a folder of its own, which also holds the state directory.
pub struct Setting {
    /// Holds `keeper.toml` and, under `state`, the state directory.
    pub folder: Arc<TempDir>,
    /// The stream.
    pub stream: String,
    /// The bucket.
    pub bucket: String,
    /// Where Kinesis is reached.
    pub kinesis: String,
    /// Where S3 is reached.
    pub s3: String,
    /// Where SNS is reached.
    pub sns: String,
    /// Where CloudWatch is reached.
    pub cloudwatch: String,
    values: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

impl Setting {
    /// The servers themselves, a quick refresh, and everything else as it is by default.
    pub fn new(stream: &str, bucket: &str) -> Self {
        let ministack = servers::ministack().endpoint();
        let setting = Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            stream: stream.to_owned(),
            bucket: bucket.to_owned(),
            kinesis: servers::kinesis().endpoint().to_owned(),
            s3: ministack.to_owned(),
            sns: ministack.to_owned(),
            cloudwatch: ministack.to_owned(),
            values: BTreeMap::new(),
        };
        let state = setting.state().display().to_string();
        setting
            .text("stream", "name", stream)
            .text("stream", "refresh", "1s")
            .text("archive", "bucket", bucket)
            .text("disk", "state_dir", &state)
    }

    /// Sets a key to a text.
    pub fn text(self, section: &'static str, key: &'static str, value: &str) -> Self {
        self.value(section, key, &format!("\"{value}\""))
    }

    /// Sets a key to a number, a truth value or whatever else TOML has.
    pub fn value(mut self, section: &'static str, key: &'static str, value: &str) -> Self {
        self.values.entry(section).or_default().insert(key, value.to_owned());
        self
    }

    /// `batch.max_age`.
    pub fn max_age(self, age: &str) -> Self {
        self.text("batch", "max_age", age)
    }

    /// `batch.max_records`.
    pub fn max_records(self, records: u64) -> Self {
        self.value("batch", "max_records", &records.to_string())
    }

    /// Turns the HTTP endpoint on; gives its address as well.
    pub fn with_http(self) -> (Self, String) {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port();
        let address = format!("127.0.0.1:{port}");
        (self.text("metrics", "http", &address), format!("http://{address}"))
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("keeper.toml")
    }

    /// Writes the configuration file.
    pub fn write(&self) {
        let mut text = String::new();
        for (section, values) in &self.values {
            text.push_str(&format!("[{section}]\n"));
            for (key, value) in values {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        fs::write(self.file(), text).unwrap();
    }

    /// Writes the file and runs the binary with it.
    pub fn start(&self) -> Keeper {
        self.start_with(&[])
    }

    /// As [`Self::start`]; the process kills itself when it comes to `point` for the `nth` time.
    pub fn start_to_crash(&self, point: &str, nth: u64) -> Keeper {
        let keeper = self.start_with(&[("KEEPER_TEST_CRASH_AT", &format!("{point}:{nth}"))]);
        keeper.life.may_end.store(true, Ordering::SeqCst);
        keeper
    }

    /// As [`Self::start`]; writes beyond [`Keeper::limit_files`] fail, where they would end a process by default.
    pub fn start_with_writes_that_fail(&self) -> Keeper {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_kinesis-keeper")]);
        self.spawn(shell, &[])
    }

    /// As [`Self::start_with_writes_that_fail`]; all of them do from the beginning, until [`Keeper::limit_files`] lets them.
    pub fn start_without_room(&self) -> Keeper {
        let mut shell = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -S -f 0; exec \"$0\" \"$@\"";
        shell.args(["-c", script, env!("CARGO_BIN_EXE_kinesis-keeper")]);
        self.spawn(shell, &[])
    }

    /// As [`Self::start`]; the process trusts the certificate in this file, and no other.
    pub fn start_trusting(&self, certificate: &Path) -> Keeper {
        self.start_with(&[("SSL_CERT_FILE", certificate.to_str().unwrap())])
    }

    /// As [`Self::start`], with more environment variables.
    pub fn start_with(&self, more: &[(&str, &str)]) -> Keeper {
        self.spawn(Command::new(binary()), more)
    }

    fn spawn(&self, mut command: Command, more: &[(&str, &str)]) -> Keeper {
        self.write();
        command.arg("run").arg(self.file()).envs(self.environment()).envs(more.iter().copied());
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        Keeper::spawn(command, &self.folder)
    }

    /// What the AWS SDK's default chain needs to find the test servers.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
            ("AWS_ENDPOINT_URL_KINESIS", self.kinesis.clone()),
            ("AWS_ENDPOINT_URL_S3", self.s3.clone()),
            ("AWS_ENDPOINT_URL_SNS", self.sns.clone()),
            ("AWS_ENDPOINT_URL_CLOUDWATCH", self.cloudwatch.clone()),
        ]
    }

    /// Deletes the state directory, as if the disk were lost.
    pub fn lose_disk(&self) {
        if self.state().exists() {
            fs::remove_dir_all(self.state()).unwrap();
        }
    }

    /// Copies the state directory aside, for [`Self::put_back`].
    pub fn copy_state(&self) -> PathBuf {
        let copy = self.folder.path().join("copy");
        copy_folder(&self.state(), &copy);
        copy
    }

    /// Puts a copy of the state directory in its place.
    pub fn put_back(&self, copy: &Path) {
        self.lose_disk();
        copy_folder(copy, &self.state());
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            // What `status` asks is a socket, which holds nothing.
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Whether a process runs, and whether it should.
#[derive(Default)]
struct Life {
    ended: AtomicBool,
    may_end: AtomicBool,
}

thread_local! {
    /// The processes of this test.
    static STARTED: RefCell<Vec<Weak<Life>>> = const { RefCell::new(Vec::new()) };
}

/// Whether a process that this test started ended although nothing told it to: waiting on is in vain.
pub fn one_ended_by_itself() -> bool {
    let by_itself =
        |life: Arc<Life>| life.ended.load(Ordering::SeqCst) && !life.may_end.load(Ordering::SeqCst);
    STARTED.with_borrow(|lives| lives.iter().filter_map(Weak::upgrade).any(by_itself))
}

/// A running (or ended) process; dropping it kills it, and prints its log if the test failed.
pub struct Keeper {
    child: Child,
    life: Arc<Life>,
    /// The state directory outlives whoever works in it.
    _folder: Arc<TempDir>,
    log: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Keeper {
    fn spawn(mut command: Command, folder: &Arc<TempDir>) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let life = Arc::new(Life::default());
        STARTED.with_borrow_mut(|lives| lives.push(Arc::downgrade(&life)));
        let out = child.stdout.take().map(|out| collect(out, &log, &life));
        let err = child.stderr.take().map(|err| collect(err, &log, &life));
        let readers = out.into_iter().chain(err).collect();
        Self { child, life, _folder: Arc::clone(folder), log, readers, status: None }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }

    /// Waits until its log contains `text`.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) {
        wait_for(&format!("`{text}` in the log"), limit, || {
            self.log().contains(text).then_some(()).or_else(|| {
                assert!(self.is_running(), "it ended before it said `{text}`: {:?}", self.status);
                None
            })
        });
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_none()
    }

    /// Sends a signal, as soon as the process has made its arrangements for signals.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) {
        if signal != Signal::KILL {
            wait_for("the process to catch signals", LIMIT, || self.catches(signal).then_some(()));
        }
        assert!(self.is_running(), "it should run and ended with {:?}", self.status);
        if matches!(signal, Signal::TERM | Signal::INT | Signal::KILL) {
            self.life.may_end.store(true, Ordering::SeqCst);
        }
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).unwrap();
    }

    /// Lets no file grow beyond so many bytes from now on; `None`: lets them grow again.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let maximum = getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit { current: bytes.or(maximum), maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    fn catches(&mut self, signal: Signal) -> bool {
        let caught = self.status_line("SigCgt:").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
        !self.is_running() || caught.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
    }

    /// A line of the kernel's account of the process.
    fn status_line(&self, name: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        self.life.may_end.store(true, Ordering::SeqCst);
        let status = wait_for("the process to end", limit, || {
            self.is_running();
            self.status
        });
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// SIGTERM; it must end with 0 in time.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_exit(Duration::from_secs(10));
        assert!(status.success(), "it ended with {status} after SIGTERM");
    }

    /// SIGKILL, and waits until it is gone.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_exit(LIMIT);
    }

    /// Waits until it killed itself at a crash point.
    #[track_caller]
    pub fn wait_crash(&mut self) {
        use std::os::unix::process::ExitStatusExt;
        let status = self.wait_exit(LIMIT);
        assert_eq!(status.signal(), Some(9), "it should have killed itself and ended with {status}");
    }

    /// The most memory that it ever had resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let line = self.status_line("VmHWM:").unwrap();
        line.trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}

fn collect(
    mut from: impl Read + Send + 'static,
    log: &Arc<Mutex<Vec<u8>>>,
    life: &Arc<Life>,
) -> JoinHandle<()> {
    let (log, life) = (Arc::clone(log), Arc::clone(life));
    std::thread::spawn(move || {
        let mut some = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut some) {
            log.lock().unwrap().extend_from_slice(&some[..count]);
        }
        // Nobody but the end of the process closes these.
        life.ended.store(true, Ordering::SeqCst);
    })
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("--- log of process {}, {:?}\n{}---", self.id(), self.status, self.log());
        }
    }
}

/// The value of one line of `/metrics` whose name begins with `name` and whose labels contain all of `labels`;
/// the sum where there are several.
pub fn metric(http: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let page = http::get(http, "/metrics").filter(|page| page.status() == 200)?.text();
    let lines = page.lines().filter(|line| {
        let named = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        named && labels.iter().all(|label| line.contains(label))
    });
    let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
