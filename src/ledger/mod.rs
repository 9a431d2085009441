//! The shard's log in S3: append, newest, walk, adopt, complete a missing object; the stream's start.
