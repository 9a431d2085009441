//! The service manager is told when the stream was reached, of reloads and of the stop, and that there is
//! progress: over a notify socket that the test owns, in the words of sd_notify(3).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::keeper::{Keeper, LIMIT, Setting};
use crate::support::scene::Scene;
use crate::support::{aws, fresh, wait_for};

/// The manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    heard: String,
}

impl Manager {
    fn start(setting: &Setting, more: &[(&str, &str)]) -> (Self, Keeper) {
        let path = setting.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let path = path.display().to_string();
        let keeper = setting.start_with(&[&[("NOTIFY_SOCKET", path.as_str())], more].concat());
        (Self { socket, heard: String::new() }, keeper)
    }

    /// All that was said so far.
    fn heard(&mut self) -> &str {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        &self.heard
    }

    fn times(&mut self, line: &str) -> usize {
        self.heard().lines().filter(|said| said.starts_with(line)).count()
    }

    #[track_caller]
    fn wait(&mut self, line: &str, times: usize) {
        wait_for(&format!("{times} × `{line}`"), LIMIT, || (self.times(line) >= times).then_some(()));
    }
}

#[test]
fn readiness_waits_for_the_stream_and_the_stop_is_told() {
    let mut scene = Scene::new("ready", 1);
    let missing = fresh("notyet");
    let setting = Setting::new(&missing, &scene.bucket);
    let (mut manager, mut keeper) = Manager::start(&setting, &[]);
    manager.wait("STATUS=waiting for stream: it does not exist", 1);
    assert_eq!(manager.times("READY=1"), 0);
    aws::create_stream(&missing, 1);
    manager.wait("READY=1", 1);
    manager.wait("STATUS=archiving ", 1);
    scene.stream = missing;
    scene.put(50);
    keeper.signal(Signal::TERM);
    manager.wait("STOPPING=1", 1);
    assert!(keeper.wait_exit(LIMIT).success());
    assert_eq!(manager.times("WATCHDOG=1"), 0, "nobody asked for it");
}

#[test]
fn a_reload_is_announced_and_ready_again_and_a_refused_file_is_none() {
    let scene = Scene::new("reload", 1);
    let setting = scene.setting();
    let (mut manager, mut keeper) = Manager::start(&setting, &[]);
    manager.wait("READY=1", 1);
    keeper.signal(Signal::HUP);
    manager.wait("READY=1", 2);
    assert_eq!((manager.times("RELOADING=1"), manager.times("MONOTONIC_USEC=")), (1, 1));
    let (before, after) = manager.heard().split_once("RELOADING=1").unwrap();
    assert_eq!((before.matches("READY=1").count(), after.matches("READY=1").count()), (1, 1));
    fs::write(setting.file(), "[stream]\nnaem = \"x\"\n").unwrap();
    keeper.signal(Signal::HUP);
    manager.wait("STATUS=the changed file was refused", 1);
    assert_eq!(manager.times("RELOADING=1"), 1);
    keeper.stop();
}

#[test]
fn the_watchdog_is_fed_while_there_is_progress_or_a_known_wait() {
    let mut scene = Scene::new("watchdog", 1);
    let setting = scene.setting();
    let (mut manager, mut keeper) = Manager::start(&setting, &[("WATCHDOG_USEC", "600000")]);
    manager.wait("WATCHDOG=1", 3);
    scene.put(10);
    let fed = manager.times("WATCHDOG=1");
    manager.wait("WATCHDOG=1", fed + 3);
    aws::delete_stream(&scene.stream);
    manager.wait("STATUS=waiting for stream", 1);
    let fed = manager.times("WATCHDOG=1");
    manager.wait("WATCHDOG=1", fed + 3);
    keeper.kill();
    let mut other = scene.setting();
    other.stream = fresh("other");
    let (mut manager, mut keeper) =
        Manager::start(&other, &[("WATCHDOG_USEC", "600000"), ("WATCHDOG_PID", "1")]);
    manager.wait("STATUS=", 1);
    keeper.signal(Signal::TERM);
    keeper.wait_exit(Duration::from_secs(30));
    assert_eq!(manager.times("WATCHDOG=1"), 0, "it watches another process");
}
