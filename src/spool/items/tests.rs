use super::*;
use crate::model::ledger::{EndBody, GapBody, GapCause};
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::NoProbe;
use crate::spool::disk::LocalDisk;

fn mark(follows: &Position, kind: SealedKind) -> Sealed {
    Sealed {
        version: 1,
        stream_arn: "arn".to_owned(),
        stream_created: Timestamp::EPOCH,
        shard: ShardId::new("shardId-000000000000"),
        follows: follows.clone(),
        last_before: None,
        complete_to: None,
        known_serial: None,
        sealed_at: Timestamp::EPOCH,
        kind,
    }
}

#[test]
fn an_end_counts_only_where_whoever_sealed_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(LocalDisk::new(folder.path()));
    let mut items = SpoolItems::open(disk, "shard", |_| true).unwrap().0;
    let stood = Position::After("734".parse().unwrap());
    let gap = GapBody {
        after: Some("734".parse().unwrap()),
        resumes_at: None,
        why: GapCause::Trimmed,
        certain: false,
        from: Timestamp::EPOCH,
        to: Timestamp::EPOCH,
    };
    for kind in [SealedKind::Gap(gap), SealedKind::End(EndBody { children: vec![] })] {
        items.seal(mark(&stood, kind), &mut UnsealedLines::default(), &NoProbe).unwrap();
    }
    let known = |position: &Position| KnownPosition {
        position: position.clone(),
        last_record: None,
        complete_to: None,
    };
    assert!(items.next_at(&stood).unwrap().is_open_gap());
    assert_eq!(items.sealed_end(&known(&stood)).0.position, Position::End);
    // Another keeper's gap ends before a record that the one who found nothing never read.
    let further = Position::Before("759".parse().unwrap());
    assert!(items.next_at(&further).is_none());
    assert_eq!(items.sealed_end(&known(&further)), (known(&further), None));
    assert!(items.items().iter().all(|item| item.is_covered_by(&further)));
}

#[test]
fn an_item_of_a_newer_version_is_refused_and_nothing_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(LocalDisk::new(folder.path()));
    let open = || SpoolItems::open(disk.clone(), "shard", |_| true);
    let end = mark(&Position::Start, SealedKind::End(EndBody { children: vec![] }));
    let newer = Sealed { version: 2, ..end };
    open().unwrap().0.seal(newer, &mut UnsealedLines::default(), &NoProbe).unwrap();
    disk.write("spool/shard/damaged.json".as_ref(), &[b"{"]).unwrap();
    disk.write("spool/shard/open.ndjson.gz".as_ref(), &[b"lines"]).unwrap();
    let error = open().map(|_| ()).unwrap_err();
    assert!(crate::spool::refusal::newer(&error).is_some(), "{error}");
    assert_eq!(disk.list("spool/shard".as_ref()).unwrap().len(), 3);
    assert!(disk.list("damaged".as_ref()).unwrap().is_empty());
}
