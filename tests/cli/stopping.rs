//! What a closed terminal does to a command that ends by itself: the same as SIGTERM.
#![allow(clippy::disallowed_methods, reason = "it waits on the real clock, with a deadline")]

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A wait that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);
const KEEPER: &str = env!("CARGO_BIN_EXE_kinesis-keeper");

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stdout.take().unwrap()).lines().map(Result::unwrap)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Its first connection to this server; until then it may not end.
    fn first_call(&mut self, server: &TcpListener) -> TcpStream {
        server.set_nonblocking(true).unwrap();
        let begun = Instant::now();
        loop {
            match server.accept() {
                Ok((connection, _)) => return connection,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(self.0.try_wait().unwrap().is_none(), "it has ended without a call");
            assert!(begun.elapsed() < LIMIT, "it makes no call");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How it ended, and what it said on standard error.
    fn end(mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status, said)
    }
}

/// A configuration file whose AWS is at this port.
fn configuration(folder: &Path, port: u16) -> PathBuf {
    let file = folder.join("s.toml");
    let state = folder.display();
    let text = format!(
        "[stream]\nname = \"s\"\n[archive]\nbucket = \"my-archive\"\n[disk]\nstate_dir = \"{state}\"\n\
         [aws]\nregion = \"us-east-1\"\nendpoint_url = \"http://127.0.0.1:{port}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn watching(folder: &Path) -> Vec<String> {
    let file = configuration(folder, 9).display().to_string();
    ["status", &file, "--json", "--watch", "100ms"].map(str::to_owned).to_vec()
}

#[test]
fn a_closed_terminal_ends_a_command_that_waits_for_aws_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    for command in [&["check"][..], &["verify"], &["read"], &["replay", "--to-stream", "t"]] {
        // It takes connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let file = configuration(folder.path(), silent.local_addr().unwrap().port());
        let mut process = Command::new(KEEPER);
        process.arg(command[0]).arg(&file).args(&command[1..]).envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ]);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            process.env_remove(proxy);
        }
        let mut running = Running::start(&mut process);
        let _connection = running.first_call(&silent);
        running.signal(Signal::HUP);
        // As the shell and the system may both send one.
        running.signal(Signal::HUP);
        let (status, said) = running.end();
        assert_eq!(status.code(), Some(1), "{command:?}: {status}, {said}");
        assert!(said.contains("interrupted") || said.contains("stopped"), "{command:?}: {said}");
    }
}

#[test]
fn a_closed_terminal_ends_a_watch_and_a_signal_that_means_nothing_to_it_does_what_it_does_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, code, ended_by) in
        [(Signal::HUP, Some(0), None), (Signal::USR1, None, Some(Signal::USR1.as_raw()))]
    {
        let mut watch = Running::start(Command::new(KEEPER).args(watching(folder.path())));
        let mut lines = watch.lines();
        assert!(lines.next().is_some());
        watch.signal(signal);
        let (status, said) = watch.end();
        // Not before: a watch that nobody reads ends by itself.
        drop(lines);
        assert_eq!((status.code(), status.signal()), (code, ended_by), "{said}");
    }
}

#[test]
fn a_command_under_nohup_survives_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", KEEPER]).args(watching(folder.path()));
    let mut watch = Running::start(&mut shell);
    let mut lines = watch.lines();
    assert!(lines.next().is_some());
    watch.signal(Signal::HUP);
    assert_eq!(lines.by_ref().take(3).count(), 3, "it goes on");
    watch.signal(Signal::TERM);
    let (status, said) = watch.end();
    drop(lines);
    assert_eq!(status.code(), Some(0), "{said}");
}

#[cfg(feature = "demo")]
#[test]
fn a_closed_terminal_ends_a_demo_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Running::start(Command::new(KEEPER).arg("demo").arg(folder.path().join("demo")));
    let mut lines = demo.lines();
    assert!(lines.any(|line| line.starts_with("putting ")), "it has begun");
    demo.signal(Signal::HUP);
    let (status, said) = demo.end();
    drop(lines);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted: the keeper stopped in good order"), "{said}");
}
