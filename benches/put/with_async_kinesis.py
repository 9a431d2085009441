"""async-kinesis' producer with its defaults, one record a line, as its guide shows it."""

import asyncio
import os
import resource

from kinesis import Producer
from kinesis.processors import StringProcessor


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def main():
    with open(os.environ["BENCH_FILE"]) as file:
        lines = file.read().splitlines()
    endpoint = os.environ["BENCH_ENDPOINT"]
    # It puts one record more than its batch size into a request.
    async with Producer(
        stream_name="bench", endpoint_url=endpoint, region_name="us-east-1", batch_size=499,
        processor=StringProcessor(),
    ) as producer:
        before = cpu_seconds()
        for number, line in enumerate(lines):
            await producer.put(line, partition_key=str(number))
        await producer.flush()
        print(cpu_seconds() - before)


asyncio.run(main())
