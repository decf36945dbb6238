"""The loop that effects are measured against: what one would write by hand for this one purpose.

It reads all partitions with XREAD, the totals of what came with HMGET, and stores the new totals
and the checkpoints in one MULTI. Or it reads no totals, and adds an entry to another log for each
payment, in the MULTI. The checkpoint of a partition is that of its native consumer
group. Each step is one round trip for all partitions, and the next read is sent before the events
at hand are processed. Nothing is remembered from one round to the next: without a fence, another
process may have written it. Otherwise the loop is as `raw`, and lacks what that lacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgpack
import xxhash
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
        self.emitted = f"{log}:{group}:emitted"
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
        self.targets = [each.emitted for each in self.partitions.values()]

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
        """Process what was read, and store the effects together with the checkpoints."""
        payments: list[list[Payment]] = [
            [self.decode(fields) for _, fields in entries] for _, entries in found
        ]
        pipeline = self.writing.pipeline(transaction=True)
        if self.job.form == "state":
            await self.add(pipeline, [each for each, _ in found], payments)
        else:
            self.emit(pipeline, [each for each, _ in found], payments)
        for partition, entries in found:
            pipeline.xgroup_setid(
                partition.log, self.job.name, entries[-1][0], entries_read=partition.read
            )
        await pipeline.execute()

    async def add(
        self, pipeline: Any, partitions: list[Partition], payments: list[list[Payment]]
    ) -> None:
        """Add the payments to the totals."""
        reading = self.writing.pipeline(transaction=False)
        for partition, those in zip(partitions, payments, strict=True):
            reading.hmget(partition.totals, [each.account for each in those])
        stored = await reading.execute()
        for partition, those, values in zip(partitions, payments, stored, strict=True):
            totals: dict[Any, Any] = {
                each.account: int(value or 0) for each, value in zip(those, values, strict=True)
            }
            for each in those:
                totals[each.account] += each.amount
                self.gate.hit()
            pipeline.hset(partition.totals, mapping=totals)

    def emit(
        self, pipeline: Any, partitions: list[Partition], payments: list[list[Payment]]
    ) -> None:
        """Add each payment to another log: that of its partition, or of its amount."""
        rekeyed = self.job.form == "emit-rekeyed"
        for partition, those in zip(partitions, payments, strict=True):
            target = partition.emitted
            for each in those:
                if rekeyed:
                    number = xxhash.xxh64_intdigest(b"%d" % each.amount) % len(self.targets)
                    target = self.targets[number]
                values = {
                    "account": each.account,
                    "paid_at": each.paid_at.isoformat(),
                    "amount": each.amount,
                }
                pipeline.xadd(target, {"msgpack": msgpack.packb(values)})
                self.gate.hit()


async def main() -> None:
    """Run the loop of this process's job."""
    this = job()
    set_collector(this.collector)
    await Loop(this).run()


if __name__ == "__main__":
    run(main())
