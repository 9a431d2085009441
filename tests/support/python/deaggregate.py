"""Takes records of a stream apart with AWS's own library: lines of key and hex in, lines of number, key and hex out."""

import base64
import sys

from aws_kinesis_agg.deaggregator import deaggregate_records

records = []
for number, line in enumerate(sys.stdin):
    key, _, data = line.rstrip("\n").partition(" ")
    records.append({
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "sequenceNumber": str(number),
            "approximateArrivalTimestamp": 0,
            "partitionKey": key,
            "data": base64.b64encode(bytes.fromhex(data)),
        }
    })
for record in deaggregate_records(records):
    record = record["kinesis"]
    print(record["sequenceNumber"], record["partitionKey"], base64.b64decode(record["data"]).hex())
