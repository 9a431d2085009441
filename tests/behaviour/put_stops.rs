//! `put` that is stopped or refused: what was taken and not put is kept or told, and a later run goes on from there.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::put::{LIMIT, assert_each_once, is_put, lines, written};
use super::put_edges::Sink;
use crate::support::proxy::{Action, Proxy, kinesis_error};
use crate::support::putting::{Done, Put, failing_entries};
use crate::support::{aws, servers, wait_for};

#[test]
fn the_rate_holds_after_a_pause_and_after_a_stop() {
    let sink = Sink::default();
    let proxy = sink.serve(1, 1024);
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead.ndjson");
    let put = Put::new(proxy.endpoint(), "s").with("--json --rate 20 --buffer-time 10ms --dead-letter");
    let mut child = put.path(&dead).start_open();
    let mut to = child.stdin.take().unwrap();
    to.write_all(b"first\n").unwrap();
    wait_for("the first record", LIMIT, || (sink.sent() == 1).then_some(()));
    // Long enough for an average to allow a hundred at once.
    std::thread::sleep(Duration::from_secs(5));
    let begun = Instant::now();
    to.write_all(&b"more\n".repeat(1_000)).unwrap();
    wait_for("some of them", LIMIT, || (sink.sent() > 30).then_some(()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    let most = 22 + 20 * usize::try_from(begun.elapsed().as_secs() + 1).unwrap();
    assert!(sink.sent() > 30 && sink.sent() <= most, "{} sent, at most {most}: {done:?}", sink.sent());
    assert_eq!(done.code, Some(1), "{done:?}");
    let letters = fs::read_to_string(&dead).unwrap().lines().count();
    assert_eq!(sink.sent() + letters, 1_001, "what was read and not sent is kept");
}

/// The places in the input that the letters name.
fn places(dead: &std::path::Path) -> Vec<String> {
    let letters = fs::read_to_string(dead).unwrap();
    let letter = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    letters.lines().map(|line| letter(line)["input"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_pipe_is_not_swallowed_when_the_stream_refuses_everything() {
    for goes_on in [false, true] {
        let sink = Sink::default();
        let behind = sink.serve(1, 1024);
        let proxy = Proxy::new(behind.endpoint());
        proxy.first(2, is_put, Action::Pass);
        proxy.always(is_put, kinesis_error("AccessDeniedException"));
        let folder = tempfile::tempdir().unwrap();
        let dead = folder.path().join("dead.ndjson");
        let put = Put::new(proxy.endpoint(), "s").with("--json --ordered --partition-key k");
        let put = put.with("--buffer-time 10ms --dead-letter").path(&dead);
        let mut child = put.start_open();
        let mut to = child.stdin.take();
        to.as_mut().unwrap().write_all(&b"line\n".repeat(300)).unwrap();
        // The other end of the pipe stays open: silent, or full of more.
        let writing = to
            .take_if(|_| goes_on)
            .map(|mut to| std::thread::spawn(move || while to.write_all(b"line\n").is_ok() {}));
        wait_for("the end", LIMIT, || child.try_wait().unwrap());
        writing.into_iter().for_each(|thread| thread.join().unwrap());
        drop(to);
        let done = Done::of(child.wait_with_output().unwrap());
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(
            done.stderr.contains("AccessDeniedException") && done.stderr.contains("nothing more was put")
        );
        let letters = places(&dead);
        assert!(letters.len() >= 298, "{} letters", letters.len());
        let expected: Vec<_> = (3..3 + letters.len()).map(|line| format!("standard input:{line}")).collect();
        assert_eq!((letters == expected, sink.requests().len()), (true, 2), "all that was read, in order");
        assert!(fs::read_to_string(&dead).unwrap().starts_with("{\"partition_key\":\"k\","));
    }
}

/// Lines of a pipe, more than lie in it: whoever has written them all knows that most were read.
const MOST_OF_A_PIPE: usize = 64 << 10;

#[test]
fn what_was_read_of_a_pipe_among_other_sources_is_put_or_kept_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("named.pipe");
    assert!(Command::new("mkfifo").arg(&named).status().unwrap().success());
    for (is_named, signal) in [(false, Signal::INT), (true, Signal::HUP)] {
        let sink = Sink::default();
        let proxy = sink.serve(1, 1024);
        let dead = folder.path().join(format!("dead-{is_named}.ndjson"));
        let put = Put::new(proxy.endpoint(), "s").with("--json --rate 20 --buffer-time 10ms --dead-letter");
        let pipe = if is_named { named.clone() } else { "-".into() };
        let mut child = put.path(&dead).path(&pipe).path("/dev/null".as_ref()).start_open();
        let mut to: Box<dyn Write> = match child.stdin.take() {
            Some(_) if is_named => Box::new(fs::OpenOptions::new().write(true).open(&named).unwrap()),
            stdin => Box::new(stdin.unwrap()),
        };
        // All of them at once, which is one chunk: some are put, and the others wait for their turn.
        to.write_all(&b"line\n".repeat(500)).unwrap();
        wait_for("some of them", LIMIT, || (sink.sent() > 10).then_some(()));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let done = Done::of(child.wait_with_output().unwrap());
        drop(to);
        assert_eq!(done.code, Some(1), "{done:?}");
        let (sent, letters) = (sink.sent(), places(&dead));
        assert_eq!((sent + letters.len(), letters.is_empty()), (500, false), "none is dropped: {done:?}");
        assert!(done.stderr.contains(&format!("{} could not be put", letters.len())), "{done:?}");
        assert_eq!(done.summary()["done"], 500, "all that was read: {done:?}");
    }
}

#[test]
fn what_was_read_of_a_pipe_behind_a_file_is_put_or_kept_and_the_file_is_read_again() {
    let sink = Sink::default();
    let proxy = sink.serve(1, 1024);
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "in.ndjson", "of the file\n".repeat(1_000));
    let dead = folder.path().join("dead.ndjson");
    let put = Put::new(proxy.endpoint(), "s").with("--json --rate 20 --buffer-time 10ms --dead-letter");
    let mut child = put.path(&dead).path(&file).path("-".as_ref()).start_open();
    let mut to = child.stdin.take().unwrap();
    let line = [&b"x".repeat(1_023)[..], b"\n"].concat();
    let lines = 4 * MOST_OF_A_PIPE / line.len();
    to.write_all(&line.repeat(lines)).unwrap();
    wait_for("some of the file", LIMIT, || (sink.sent() > 10).then_some(()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    drop(to);
    assert_eq!(done.code, Some(1), "{done:?}");
    let summary = done.summary();
    let of_file = summary["done"].as_u64().unwrap() as usize;
    assert_eq!(summary["next"], format!("{}:{}", file.display(), of_file + 1));
    assert!(of_file < 1_000 && of_file < sink.sent(), "{done:?}");
    let of_pipe = sink.sent() - of_file;
    let letters = places(&dead);
    let least = lines - MOST_OF_A_PIPE / line.len();
    assert!(of_pipe + letters.len() >= least && !letters.is_empty(), "none is dropped: {done:?}");
    let expected = (of_pipe + 1..).map(|line| format!("standard input:{line}"));
    assert_eq!(letters, expected.take(letters.len()).collect::<Vec<_>>());
    assert_eq!(summary["done_behind"], of_pipe + letters.len(), "{done:?}");
}

#[test]
fn an_interrupted_put_with_a_resume_file_says_that_the_same_command_goes_on_and_it_does() {
    let sink = Sink::default();
    let proxy = sink.serve(1, 1024);
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "in.ndjson", "line\n".repeat(1_000));
    let resume = folder.path().join("put.resume");
    let put = || {
        let put = Put::new(proxy.endpoint(), "s").with("--buffer-time 10ms --resume");
        put.path(&resume).path(&file)
    };
    let child = put().with("--rate 100").start();
    wait_for("some of them", LIMIT, || (sink.sent() > 10).then_some(()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(1), "{done:?}");
    let said =
        format!("the same command goes on by itself: what is done is remembered in {}", resume.display());
    assert_eq!(done.stderr.matches(&said).count(), 2, "in the summary and at the end: {done:?}");
    assert!(!done.stderr.contains("--skip"), "{done:?}");
    let done = put().run();
    assert_eq!((done.code, sink.sent()), (Some(0), 1_000), "{done:?}");
}

#[test]
fn dead_letters_of_a_key_keep_its_order() {
    let sink = Sink::default();
    let behind = sink.serve(1, 1024);
    let proxy = Proxy::new(behind.endpoint());
    proxy.always(is_put, failing_entries(|| Some("InvalidArgumentException")));
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead.ndjson");
    let put = Put::new(proxy.endpoint(), "s").with("--ordered --partition-key k --dead-letter").path(&dead);
    // The second can be told at once to be too large, the first only by the service.
    let input = [&b"refused\n"[..], &b"x".repeat(1100 << 10), b"\nrefused\n"].concat();
    let done = put.input(input).run();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!(places(&dead), ["standard input:1", "standard input:2", "standard input:3"]);
}

#[test]
fn what_was_acknowledged_behind_a_refused_record_is_not_sent_again() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("holes", 2));
    let proxy = Proxy::new(kinesis);
    let mut nth = 0;
    let refusing = proxy.always(
        is_put,
        failing_entries(move || {
            nth += 1;
            (nth == 3 || nth % 100 == 0).then_some("InvalidArgumentException")
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    let (items, text) = lines(1_000);
    let file = written(folder.path(), "in.ndjson", text);
    let resume = folder.path().join("put.resume");
    let put = || Put::new(proxy.endpoint(), &stream).with("--json --resume").path(&resume).path(&file).run();
    let first = put();
    assert_eq!((first.code, &first.summary()["records"]), (Some(1), &json!(989)), "{first:?}");
    refusing.end();
    let second = put();
    assert_eq!(second.code, Some(0), "{second:?}");
    let summary = second.summary();
    assert_eq!(
        (&summary["records"], &summary["skipped"], &summary["done"]),
        (&json!(11), &json!(989), &json!(1_000))
    );
    assert_each_once(kinesis, &stream, &items);
}

#[test]
fn a_resume_file_is_refused_for_another_input_and_taken_for_one_that_has_grown() {
    let sink = Sink::default();
    let behind = sink.serve(1, 1024);
    let folder = tempfile::tempdir().unwrap();
    let resume = folder.path().join("put.resume");
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let put = |files: &[&std::path::Path], input: &str| {
        let put = Put::new(behind.endpoint(), "s").with("--json --resume").path(&resume).input(input);
        files.iter().fold(put, |put, file| put.path(file)).run()
    };
    let is_put = |files: &[&std::path::Path], records: usize| {
        let done = put(files, "");
        assert_eq!((done.code, &done.summary()["records"]), (Some(0), &json!(records)), "{done:?}");
    };
    let is_refused = |done: Done, source: &str| {
        let before = fs::read(&resume).unwrap();
        assert_eq!((done.code, &done.summary()["records"]), (Some(2), &json!(0)), "{done:?}");
        let said = format!("{source} is not what it was when the resume file was written");
        assert!(done.stderr.contains(&said), "{done:?}");
        assert_eq!(fs::read(&resume).unwrap(), before);
    };
    fs::write(&a, "a1\na2\na3\n").unwrap();
    is_put(&[&a], 3);
    fs::write(&a, "a1\na2\na3\na4\n").unwrap();
    is_put(&[&a], 1);
    fs::write(&b, "b1\nb2\n").unwrap();
    is_put(&[&a, &b], 2);
    fs::write(&b, "b1\nb2\nb3\n").unwrap();
    is_put(&[&a, &b], 1);
    // Another order, another file, a file that others follow and that has grown, a shorter one, another pipe.
    let (name_a, name_b) = (a.display().to_string(), b.display().to_string());
    is_refused(put(&[&b, &a], ""), &name_b);
    is_refused(put(&[], "x1\nx2\nx3\nx4\nx5\nx6\nx7\nx8\n"), "standard input");
    for other in ["a1\na2\na3\na4\na5\n", "a1\na2\na3\n", "A1\na2\na3\na4\n"] {
        fs::write(&a, other).unwrap();
        is_refused(put(&[&a, &b], ""), &name_a);
    }
    fs::write(&a, "a1\na2\na3\na4\n").unwrap();
    is_put(&[&a, &b], 0);
    // An early file, which does not say of which input it is.
    fs::write(&resume, "{\"stream\":\"s\",\"done\":3}").unwrap();
    let done = put(&[], "c1\nc2\nc3\nc4\n");
    assert_eq!((done.code, &done.summary()["records"]), (Some(0), &json!(1)), "{done:?}");
    assert!(done.stderr.contains("does not say of which input it is"), "{done:?}");
}
