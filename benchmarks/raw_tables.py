"""The loop that tables are measured against: what one would write by hand for this one purpose.

It reads all partitions with XREAD, the totals of what came with HMGET, and stores the new totals
and the checkpoints in one MULTI. The checkpoint of a partition is that of its native consumer
group. Each step is one round trip for all partitions, and the next read is sent before the events
at hand are processed. Nothing is remembered from one round to the next: without a fence, another
process may have written it. Otherwise the loop is as `raw`, and lacks what that lacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from benchmarks.gate import Gate
from benchmarks.job import Job, job, run, set_collector
from benchmarks.raw import COUNT
from benchmarks.records import KINDS, Payment, logs


class Partition:
    """One partition: its log, its totals, and how far it was read."""

    def __init__(self, log: str, group: str) -> None:
        self.log = log
        self.totals = f"{log}:{group}:totals"
        self.cursor: bytes = b"0-0"
        self.read = 0


class Loop:
    """Reads, processes and writes all partitions together, round after round."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.gate = Gate(job)
        self.decode = KINDS[job.record].decode
        self.partitions = {
            log.encode(): Partition(log, job.name) for log in logs(job.record, job.partitions)
        }

    async def run(self) -> None:
        """Run until killed."""
        self.reading, self.writing = (
            Redis.from_url(self.job.url, protocol=2, single_connection_client=True)
            for _ in range(2)
        )
        for each in self.partitions.values():
            await self.writing.xgroup_create(each.log, self.job.name, "0", mkstream=True)
            await self.writing.hset(f"{each.log}:{self.job.name}:lease", "token", "none")
        reading = self.read()
        await self.gate.wait()
        while True:
            found = [(self.partitions[log], entries) for log, entries in await reading]
            for partition, entries in found:
                partition.cursor = entries[-1][0]
                partition.read += len(entries)
            reading = self.read()
            if found:
                await self.process(found)

    def read(self) -> asyncio.Future[Any]:
        """Read what comes next in every partition."""
        cursors: dict[Any, Any] = {each.log: each.cursor for each in self.partitions.values()}
        return asyncio.ensure_future(self.reading.xread(cursors, COUNT, 1000))

    async def process(self, found: Sequence[tuple[Partition, Sequence[Any]]]) -> None:
        """Add the payments to the totals, and store these together with the checkpoints."""
        payments: list[list[Payment]] = [
            [self.decode(fields) for _, fields in entries] for _, entries in found
        ]
        pipeline = self.writing.pipeline(transaction=False)
        for (partition, _), those in zip(found, payments, strict=True):
            pipeline.hmget(partition.totals, [each.account for each in those])
        stored = await pipeline.execute()
        pipeline = self.writing.pipeline(transaction=True)
        for (partition, entries), those, values in zip(found, payments, stored, strict=True):
            totals: dict[Any, Any] = {
                each.account: int(value or 0) for each, value in zip(those, values, strict=True)
            }
            for each in those:
                totals[each.account] += each.amount
                self.gate.hit()
            pipeline.hset(partition.totals, mapping=totals)
            pipeline.xgroup_setid(
                partition.log, self.job.name, entries[-1][0], entries_read=partition.read
            )
        await pipeline.execute()


async def main() -> None:
    """Run the loop of this process's job."""
    this = job()
    set_collector(this.collector)
    await Loop(this).run()


if __name__ == "__main__":
    run(main())
