"""Makes KPL aggregates with aws_kinesis_agg: lists of user records on standard input, records to put on standard output."""

import hashlib
import json
import sys

from aws_kinesis_agg.aggregator import AggRecord


def hash_key(user):
    """The hash key by which Kinesis would choose the user record's shard."""
    if user["explicit_hash_key"] is not None:
        return user["explicit_hash_key"]
    return str(int(hashlib.md5(user["partition_key"].encode("utf-8")).hexdigest(), 16))


made = []
for users in json.load(sys.stdin):
    aggregate = AggRecord()
    for user in users:
        data = bytes.fromhex(user["data"])
        if not aggregate.add_user_record(user["partition_key"], data, user["explicit_hash_key"]):
            sys.exit("the user records do not fit into one aggregate")
    partition_key, explicit_hash_key, data = aggregate.get_contents()
    made.append({
        "partition_key": partition_key,
        "explicit_hash_key": explicit_hash_key,
        "data": data.hex(),
        "hash_keys": [hash_key(user) for user in users],
    })
json.dump(made, sys.stdout)
