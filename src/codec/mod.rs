//! Bytes to records and back: envelope lines, gzip members with their hashes, KPL aggregates.
