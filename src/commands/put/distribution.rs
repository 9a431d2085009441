//! A stream that distributes records by itself (RecordDistributionStrategy AUTO): what is asked for that it
//! cannot do.

use std::io::{Write, stderr};

use super::Arguments;
use crate::error::Failure;
use crate::producer::{Distribution, Producer};

/// Refuses what would go wrong in such a stream, and tells what has no effect there.
pub(super) fn check(arguments: &Arguments, producer: &Producer) -> Result<(), Failure> {
    if producer.distribution() != Distribution::Auto {
        return Ok(());
    }
    let refused = |option: &str, why: &str| {
        let stream = &arguments.stream;
        Err(Failure::usage(format!(
            "{stream} distributes records by itself (record distribution AUTO): {why}\n\
             leave out {option}, or set the stream's record distribution to USER_PARTITION_KEY"
        )))
    };
    if arguments.aggregate {
        return refused("--aggregate", "aggregates come to any shard, and readers pass over them");
    }
    if arguments.ordered {
        return refused("--ordered", "records of one key come to any shard, and have no order there");
    }
    if arguments.envelope || arguments.partition_key.is_some() || arguments.partition_key_field.is_some() {
        tell(&format!(
            "{} distributes records by itself (record distribution AUTO): it ignores partition keys and explicit \
             hash keys, and its readers get none",
            arguments.stream
        ));
    }
    Ok(())
}

/// Tells if the stream was switched over while it was put into.
pub(super) fn tell_if_switched(aggregates: u64, producer: &Producer) {
    if aggregates > 0 && producer.distribution() == Distribution::Auto {
        tell(
            "the stream distributes records by itself since it was begun to be put into (record distribution AUTO): \
             aggregates came to wrong shards, where readers pass over them; their records were put again, bare",
        );
    }
}

fn tell(text: &str) {
    // With standard error gone there is nobody to be told.
    let _ = writeln!(stderr(), "kinesis-keeper: {text}");
}
