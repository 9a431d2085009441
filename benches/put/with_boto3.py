"""A put_records loop as most people write it: 500 at a time, failed ones again."""

import os
import resource

import boto3
from botocore.config import Config

kinesis = boto3.client(
    "kinesis", endpoint_url=os.environ["BENCH_ENDPOINT"], config=Config(retries={"max_attempts": 1})
)


def put(entries):
    while entries:
        answer = kinesis.put_records(StreamName="bench", Records=entries)
        if not answer["FailedRecordCount"]:
            return
        entries = [entry for entry, result in zip(entries, answer["Records"]) if "ErrorCode" in result]


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


with open(os.environ["BENCH_FILE"], "rb") as file:
    lines = file.read().splitlines()

before = cpu_seconds()
batch = []
for number, line in enumerate(lines):
    batch.append({"Data": line, "PartitionKey": str(number)})
    if len(batch) == 500:
        put(batch)
        batch = []
put(batch)
print(cpu_seconds() - before)
