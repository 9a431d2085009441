//! Memory is bounded by `batch.memory` plus a fixed cost per shard, whatever the stream does.

use std::collections::HashSet;

use crate::support::archive;
use crate::support::canned::Backlog;
use crate::support::keeper::{LIMIT, Setting};
use crate::support::watch::Watch;
use crate::support::{aws, fresh};

const MIB: u64 = 1 << 20;

#[test]
fn sixty_four_shards_with_a_backlog_stay_within_batch_memory() {
    let backlog = Backlog { shards: 64, records: 96, bytes: 32 << 10 };
    let (stream, bucket) = (fresh("memory"), aws::bucket("memory"));
    let proxy = backlog.serve(&stream);
    let mut setting = Setting::new(&stream, &bucket)
        .text("batch", "memory", "64 MiB")
        .value("archive", "level", "1")
        .max_age("5s");
    proxy.endpoint().clone_into(&mut setting.kinesis);
    let mut keeper = setting.start();
    Watch::new(&bucket, "", &stream).wait_archived(backlog.shards * backlog.records, 2 * LIMIT);
    let peak = keeper.peak_memory();
    keeper.stop();
    println!("peak memory of 64 shards with batch.memory = 64 MiB: {} MiB", peak / MIB);
    assert!(peak < (64 + 150) * MIB, "{} MiB", peak / MIB);
    let archive = archive::read(&bucket, &stream);
    let records = archive.records.iter().map(|record| record.data.as_slice()).collect::<HashSet<_>>();
    assert_eq!(archive.records.len() as u64, backlog.shards * backlog.records);
    for shard in 0..backlog.shards {
        for record in 0..backlog.records {
            assert!(
                records.contains(backlog.payload(shard, record).as_slice()),
                "{shard}/{record} is missing"
            );
        }
    }
}
