use std::sync::Arc;

use tokio::runtime::Runtime;

use super::*;
use crate::metrics::ask::{NoStatus, Place, ask};
use crate::metrics::test_clock::TestClock;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn registry(stream: &str) -> Registry {
    Registry::new(stream.to_owned(), true, Arc::new(TestClock::default()))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_keeper_answers_in_its_state_directory_and_leaves_nothing() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let place = Place::Socket(socket_in(folder.path()));
    assert_eq!(runtime.block_on(ask(&place)), Err(NoStatus::Nobody(place.clone())));
    let server = serve_locally(folder.path(), registry("clicks"), runtime.handle()).unwrap();
    assert_eq!(runtime.block_on(ask(&place)).unwrap().stream, "clicks");
    assert_eq!(names(folder.path()), [NAME]);
    drop(server);
    assert_eq!(names(folder.path()), [""; 0]);
    assert_eq!(runtime.block_on(ask(&place)), Err(NoStatus::Nobody(place)));
}

#[test]
fn what_a_killed_keeper_left_is_replaced() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let path = socket_in(folder.path());
    // A listener's file stays when nobody removes it.
    drop(StdListener::bind(&path).unwrap());
    drop(StdListener::bind(folder.path().join(UNFINISHED)).unwrap());
    let place = Place::Socket(path);
    assert_eq!(runtime.block_on(ask(&place)), Err(NoStatus::Nobody(place.clone())));
    let _server = serve_locally(folder.path(), registry("clicks"), runtime.handle()).unwrap();
    assert_eq!(runtime.block_on(ask(&place)).unwrap().stream, "clicks");
    assert_eq!(names(folder.path()), [NAME]);
}

#[test]
fn who_may_look_into_the_directory_may_ask() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    for (directory, socket) in [(0o700, 0o600), (0o750, 0o660), (0o755, 0o660), (0o710, 0o600)] {
        fs::set_permissions(folder.path(), Permissions::from_mode(directory)).unwrap();
        let _server = serve_locally(folder.path(), registry("clicks"), runtime.handle()).unwrap();
        let mode = fs::metadata(socket_in(folder.path())).unwrap().mode();
        assert_eq!(mode & 0o777, socket, "{directory:o}");
    }
}

#[test]
fn where_no_socket_can_be_there_is_none() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let deep = folder.path().join("d".repeat(100));
    fs::create_dir(&deep).unwrap();
    assert!(serve_locally(&deep, registry("clicks"), runtime.handle()).is_none());
    assert_eq!(names(&deep), [""; 0]);
    let place = Place::Socket(socket_in(&deep));
    let told = runtime.block_on(ask(&place)).unwrap_err().to_string();
    assert!(told.ends_with(&format!("{place} cannot be asked: path must be shorter than SUN_LEN")), "{told}");
    // A folder has its name.
    fs::create_dir(socket_in(folder.path())).unwrap();
    assert!(serve_locally(folder.path(), registry("clicks"), runtime.handle()).is_none());
    assert!(!folder.path().join(UNFINISHED).exists());
}
