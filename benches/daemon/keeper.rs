//! The daemon as a process, and the servers as another: starting, asking, measuring, ending.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::servers::{Ask, Opened, Plan, State};
use super::{Outcome, ROLE, process};

const LOOK: Duration = Duration::from_millis(50);
/// Nothing that is waited for takes so many looks.
const LONGEST: u32 = 20 * 300;

/// The servers, and how to ask them how far it went.
pub struct Servers {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub plan: Plan,
    pub opened: Opened,
}

impl Servers {
    pub fn start(plan: Plan) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let role = format!("servers {}", serde_json::to_string(&plan)?);
        let mut child = command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let ask = child.stdin.take().ok_or("no standard input")?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut told = String::new();
        answers.read_line(&mut told)?;
        Ok(Self { child, ask, answers, plan, opened: serde_json::from_str(&told)? })
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.opened.port)
    }

    /// Bytes in all shards together.
    pub fn payload(&self) -> u64 {
        self.opened.payload * self.plan.shards()
    }

    pub fn ask(&mut self, ask: Ask) -> Outcome<State> {
        writeln!(self.ask, "{}", serde_json::to_string(&ask)?)?;
        let mut told = String::new();
        self.answers.read_line(&mut told)?;
        Ok(serde_json::from_str(&told)?)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // A benchmark that fails leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon, and its state directory.
pub struct Keeper {
    child: Child,
    _folder: tempfile::TempDir,
    /// Peak resident memory in MiB, as last seen.
    pub memory: u64,
}

impl Keeper {
    /// Starts it with its defaults, but for what is given: the level, and the age of a batch in seconds. Its
    /// warnings are not shown: that a busy machine does not keep up is said by the numbers.
    pub fn start(servers: &Servers, level: u32, max_age: u64) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("keeper.toml");
        let state = folder.path().join("state");
        fs::write(
            &config,
            format!(
                "[stream]\nname = \"bench\"\n[archive]\nbucket = \"bench\"\nlevel = {level}\n\
                 [batch]\nmax_age = \"{max_age}s\"\n[disk]\nstate_dir = \"{}\"\nkeep = \"0s\"\n\
                 [log]\nlevel = \"error\"\n[aws]\nregion = \"us-east-1\"\nendpoint_url = \"{}\"\n",
                state.display(),
                servers.endpoint()
            ),
        )?;
        let program = std::env::var("KEEPER_BENCH_PROGRAM");
        let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_kinesis-keeper").to_owned());
        let mut command = Command::new(program);
        command.arg("run").arg(&config).env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        let child = command.stdin(Stdio::null()).spawn()?;
        Ok(Self { child, _folder: folder, memory: 0 })
    }

    /// So far.
    pub fn cpu_seconds(&self) -> Outcome<f64> {
        process::cpu_seconds(&self.child.id().to_string())
    }

    /// Waits until `done`; looks at the memory meanwhile.
    pub fn wait(&mut self, what: &str, mut done: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
        for _ in 0..LONGEST {
            if done()? {
                return Ok(());
            }
            if self.has_ended()? {
                return Err(format!("the daemon has ended before this: {what}").into());
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("it takes too long: {what}").into())
    }

    /// Looks at it for a while.
    pub fn watch(&mut self, seconds: u64) -> Outcome<()> {
        let mut looks = seconds * 1000 / u64::try_from(LOOK.as_millis())?;
        self.wait("it was watched", || {
            looks = looks.saturating_sub(1);
            Ok(looks == 0)
        })
    }

    /// Tells it to stop, waits for its end: CPU seconds of its whole life.
    pub fn stop(mut self) -> Outcome<(f64, u64)> {
        let pid = i32::try_from(self.child.id())?;
        kill_process(Pid::from_raw(pid).ok_or("no process")?, Signal::TERM)?;
        for _ in 0..LONGEST {
            if self.has_ended()? {
                return Ok((self.cpu_seconds()?, self.memory));
            }
            std::thread::sleep(LOOK);
        }
        Err("it does not end".into())
    }

    /// Nobody has waited for it yet, so that what it took is still there.
    fn has_ended(&mut self) -> Outcome<bool> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(kib) = value("VmHWM:").and_then(|line| line.split_whitespace().next()) {
            self.memory = kib.parse::<u64>()? / 1024;
        }
        Ok(value("State:").is_some_and(|state| state.starts_with('Z')))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Ended by itself if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
