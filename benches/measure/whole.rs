//! The path of a shard's records on one thread, from the bytes of a reply to the sealed object.

use std::error::Error;

use kinesis_keeper::aws::kinesis::reply::decode::decode;
use kinesis_keeper::codec::{BatchWriter, Finished, for_each_user_record};
use kinesis_keeper::model::record::RawRecord;
use kinesis_keeper::model::shard::HashKeyRange;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The records of an answer.
pub fn records_of(body: &[u8]) -> Outcome<Vec<RawRecord>> {
    Ok(decode(body).map_err(|odd| format!("{odd:?}"))?.records)
}

/// Takes records into the open batch.
pub fn append(records: &[RawRecord], writer: &mut BatchWriter) {
    for record in records {
        for_each_user_record(record, HashKeyRange::WHOLE, true, &mut |user| writer.append(user));
    }
}

/// Ends the open batch.
pub fn seal(writer: &mut BatchWriter) -> Outcome<Finished> {
    writer.finish().ok_or_else(|| "the batch is empty".into())
}

/// From answers to the sealed object.
pub fn sealed(answers: &[Vec<u8>], writer: &mut BatchWriter) -> Outcome<Finished> {
    for body in answers {
        append(&records_of(body)?, writer);
    }
    seal(writer)
}
