"""Reads objects of an archive with nothing but the standard library: one line a record, the payload in hex."""

import base64
import gzip
import json
import sys

for path in sys.argv[1:]:
    with gzip.open(path, "rb") as lines:
        for line in lines:
            record = json.loads(line.decode("utf-8"))
            if ("data" in record) == ("data_base64" in record):
                sys.exit(f"{path}: a record has not exactly one of data and data_base64: {line!r}")
            if "data" in record:
                payload = record["data"].encode("utf-8")
            else:
                payload = base64.b64decode(record["data_base64"], validate=True)
            print(record["sequence_number"], payload.hex())
