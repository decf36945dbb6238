"""The reference for latency: a bare blocking XREAD over all partitions. It commits after each event
with the script of the raw loop."""

from __future__ import annotations

import time
from typing import Any

from redis.asyncio import Redis

from benchmarks.gate import Times
from benchmarks.job import job, run, say, set_collector
from benchmarks.raw import COMMIT
from benchmarks.records import KINDS


async def main() -> None:
    """Read until killed."""
    this = job()
    set_collector(this.collector)
    times = Times()
    decode = KINDS["timed"].decode
    # redis-py's types describe replies of other versions and settings too.
    redis: Any = Redis.from_url(this.url, protocol=2, single_connection_client=True)
    sha = await redis.script_load(COMMIT)
    cursors: dict[Any, Any] = {f"by-hand:{n}".encode(): b"0-0" for n in range(this.partitions)}
    for log in cursors:
        await redis.xgroup_create(log, "g", "0", mkstream=True)
        await redis.hset("lease", "token", "t")
    say(ready=True)
    count = 0
    while True:
        for log, entries in await redis.xread(cursors, 100, 1000):
            for entry_id, fields in entries:
                record = decode(fields)
                handled = time.monotonic()
                count += 1
                await redis.evalsha(sha, 2, "lease", log, "t", entry_id, "g", count)
                times.add(record.sent, handled, time.monotonic())
            cursors[log] = entries[-1][0]


if __name__ == "__main__":
    run(main())
