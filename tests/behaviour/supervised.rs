//! Under a real supervisord, with the example that the package ships: start, stop, reload, crash and restart.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::exactly_once::wait_read;
use crate::support::keeper::{LIMIT, Setting, binary};
use crate::support::scene::Scene;
use crate::support::servers::python_program;
use crate::support::wait_for;

const PROGRAM: &str = "kinesis-keeper-clickstream";

struct Supervisord {
    child: Child,
    file: PathBuf,
    /// Outlives whoever works in it.
    _folder: Arc<TempDir>,
}

impl Supervisord {
    /// With the shipped example, whose paths are this test's.
    fn start(setting: &Setting) -> Self {
        setting.write();
        let folder = setting.folder.path();
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/supervisor/kinesis-keeper.conf");
        let environment: Vec<String> =
            setting.environment().iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let program = fs::read_to_string(example)
            .unwrap()
            .replace("/usr/bin/kinesis-keeper", binary())
            .replace("/etc/kinesis-keeper/clickstream.toml", &setting.file().display().to_string())
            .replace("/var/log/kinesis-keeper/clickstream.log", &folder.join("log").display().to_string())
            .replace("HOME=\"/var/lib/kinesis-keeper\"", &environment.join(","))
            .replace("user=kinesis-keeper\n", "")
            .replace("startsecs=5", "startsecs=1");
        let own = folder.display();
        let text = format!(
            "[supervisord]\nnodaemon=true\nlogfile={own}/supervisord.log\npidfile={own}/supervisord.pid\n\
             childlogdir={own}\n[unix_http_server]\nfile={own}/supervisor.sock\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{own}/supervisor.sock\n{program}"
        );
        let file = folder.join("supervisord.conf");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(python_program("supervisord"));
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), file, _folder: Arc::clone(&setting.folder) }
    }

    /// What supervisorctl says.
    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new(python_program("supervisorctl"));
        let output = command.arg("-c").arg(&self.file).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn wait(&self, state: &str) {
        wait_for(state, LIMIT, || self.ask(&["status", PROGRAM]).contains(state).then_some(()));
    }

    /// The running process; `None` while there is none.
    fn id(&self) -> Option<u32> {
        self.ask(&["pid", PROGRAM]).trim().parse().ok().filter(|id| *id > 0)
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        // It stops its program first, and may not be ended before that: nobody else would.
        self.ask(&["shutdown"]);
        let end = std::time::Instant::now() + LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn under_supervisord_a_stop_a_reload_and_a_crash_lose_nothing() {
    let mut scene = Scene::new("supervised", 2);
    scene.put(100);
    let (setting, http) = scene.setting().with_http();
    let supervisord = Supervisord::start(&setting);
    supervisord.wait("RUNNING");
    wait_read(&http, 100);
    assert!(supervisord.ask(&["stop", PROGRAM]).contains("stopped"));
    supervisord.wait("STOPPED");
    scene.wait_all_archived(LIMIT);
    assert_eq!(scene.check().reasons(), ["shutdown"; 2]);
    scene.put(100);
    supervisord.ask(&["start", PROGRAM]);
    supervisord.wait("RUNNING");
    wait_read(&http, 100);
    setting.max_records(10).max_age("2s").write();
    let before = wait_for("its process", LIMIT, || supervisord.id());
    supervisord.ask(&["signal", "HUP", PROGRAM]);
    scene.wait_all_archived(LIMIT);
    let after = wait_for("its process", LIMIT, || supervisord.id());
    assert_eq!(after, before, "a reload is no restart");
    scene.put(100);
    supervisord.ask(&["signal", "KILL", PROGRAM]);
    wait_for("another process", LIMIT, || supervisord.id().filter(|id| *id != before));
    scene.wait_all_archived(LIMIT);
    supervisord.ask(&["stop", PROGRAM]);
    supervisord.wait("STOPPED");
    scene.check();
}

#[test]
fn under_supervisord_a_wrong_file_does_not_count_as_running() {
    let scene = Scene::new("wrong", 1);
    let setting = scene.setting().value("batch", "max_recrods", "5");
    let supervisord = Supervisord::start(&setting);
    // How it ends depends on whether the second was over; both are seen by whoever looks.
    wait_for("an end that is seen", LIMIT, || {
        let status = supervisord.ask(&["status", PROGRAM]);
        ["BACKOFF", "EXITED", "FATAL"].iter().any(|state| status.contains(state)).then_some(())
    });
    let log = fs::read_to_string(setting.folder.path().join("log")).unwrap();
    assert!(log.contains("max_recrods"), "{log}");
}
