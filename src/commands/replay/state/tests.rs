use std::fs;

use super::*;

fn task() -> Task {
    Task {
        archive: "s3://b/s/".into(),
        source: "arn:aws:kinesis:eu-west-1:1:stream/s".into(),
        target: "arn:aws:kinesis:eu-west-1:1:stream/t".into(),
        target_created: Timestamp::from_seconds(5),
        from: Some("2h".into()),
        to: None,
        shard: None,
        all: false,
    }
}

fn head() -> Head {
    let ledger = LedgerHead { shard: ShardId::new("shardId-000000000000"), created: 1, newest: 9 };
    Head { ledgers: vec![ledger], ..Head::new(task(), Timestamp::from_seconds(7), (None, None)) }
}

fn lines(entry: u64, first: u64, last: u64) -> Note {
    Note::Lines { ledger: 0, entry, lines: vec![(first, last)] }
}

#[test]
fn what_was_appended_is_found_again_and_a_cut_line_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replay/t.ndjson");
    assert!(find(&path, &task()).unwrap().is_none());
    let mut state = StateFile::begin(&path, head()).unwrap();
    state.append(&[lines(3, 0, 9), lines(3, 12, 13)]).unwrap();
    drop(state);
    let whole = fs::read(&path).unwrap();
    for cut in [
        &b"{\"ledger\":0,\"entry\":4"[..],
        b"{\"ledger\":0,\"entry\":4}",
        b"\0\0\0\0\n",
        b"{\"ledger\":7,\"entry\":4}\n",
    ] {
        fs::write(&path, [whole.as_slice(), cut].concat()).unwrap();
        let found = find(&path, &task()).unwrap().unwrap();
        assert_eq!((found.head.clone(), found.progress.records()), (head(), 12));
        let (mut state, _) = StateFile::go_on(&path, &task()).unwrap().unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
        state.append(&[lines(4, 0, 0)]).unwrap();
        drop(state);
        assert_eq!(find(&path, &task()).unwrap().unwrap().progress.records(), 13);
    }
}

#[test]
fn a_file_that_has_grown_large_is_written_anew_and_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.ndjson");
    let mut state = StateFile::begin(&path, head()).unwrap();
    let mut progress = Progress::new(1);
    let notes: Vec<Note> = (0..40_000).map(|line| lines(3, line, line)).collect();
    for some in notes.chunks(500) {
        some.iter().for_each(|note| assert!(progress.take(note)));
        state.append(some).unwrap();
        state.sync(&progress).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < LARGE + 100_000);
    }
    state.append(&[lines(4, 0, 0)]).unwrap();
    drop(state);
    assert_eq!(find(&path, &task()).unwrap().unwrap().progress.records(), 40_001);
}

#[test]
fn another_replay_is_refused_by_name_and_a_second_process_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.ndjson");
    let state = StateFile::begin(&path, head()).unwrap();
    let second = StateFile::go_on(&path, &task()).unwrap_err();
    assert!(second.message.contains("another replay is using it"), "{second}");
    drop(state);
    let other = Task { from: Some("3h".into()), ..task() };
    let refused = find(&path, &other).unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    assert!(refused.message.contains("its --from is 2h, and here it is 3h"), "{refused}");
    let other = Task { target_created: Timestamp::from_seconds(6), ..task() };
    assert!(find(&path, &other).unwrap_err().message.contains("target stream's creation"));
    assert_ne!(other.file_name().unwrap(), task().file_name().unwrap());
    assert!(task().file_name().unwrap().starts_with("t-"));
    fs::write(&path, "{}\n").unwrap();
    assert!(find(&path, &task()).unwrap_err().message.contains("is not the state file of a replay"));
}

#[test]
fn after_a_write_that_failed_nothing_is_appended_until_all_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.ndjson");
    let mut state = StateFile::begin(&path, head()).unwrap();
    let mut progress = Progress::new(1);
    let mut take = |note: Note| {
        assert!(progress.take(&note));
        (note, progress.clone())
    };
    let file = std::mem::replace(&mut state.file, File::options().append(true).open("/dev/full").unwrap());
    let failed = state.append(&[take(lines(3, 0, 9)).0]).unwrap_err();
    assert!(failed.message.contains("No space left") && failed.message.contains("--state"), "{failed}");
    // There is room again; but half a line may lie at the end.
    state.file = file;
    let (note, all) = take(lines(3, 20, 20));
    assert!(state.append(&[note]).is_err());
    assert_eq!(find(&path, &task()).unwrap().unwrap().progress.records(), 0);
    state.sync(&all).unwrap();
    let (note, all) = take(lines(4, 0, 0));
    state.append(&[note]).unwrap();
    assert_eq!(find(&path, &task()).unwrap().unwrap().progress, all);
}
