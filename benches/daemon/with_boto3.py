"""A get_records loop as most people write it: a line a record, gzip at level 6, SHA-256."""

import gzip
import hashlib
import io
import json
import os
import resource

import boto3

kinesis = boto3.client("kinesis", endpoint_url=os.environ["BENCH_ENDPOINT"])


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


before = cpu_seconds()
file = io.BytesIO()
hashed = hashlib.sha256()
iterator = "0/0"
with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0) as lines:
    while True:
        answer = kinesis.get_records(ShardIterator=iterator)
        for record in answer["Records"]:
            line = {
                "sequence_number": record["SequenceNumber"],
                "approximate_arrival_timestamp": record["ApproximateArrivalTimestamp"].isoformat(),
                "partition_key": record["PartitionKey"],
                "data": record["Data"].decode(),
            }
            text = json.dumps(line).encode() + b"\n"
            hashed.update(text)
            lines.write(text)
        if answer["MillisBehindLatest"] == 0:
            break
        iterator = answer["NextShardIterator"]
hashlib.sha256(file.getvalue()).hexdigest()
print(cpu_seconds() - before)
