"""The loop that Runnel is measured against: what one would write by hand for this one purpose.

It runs redis-py and hiredis on uvloop, and reads all partitions with plain XREAD. A script commits
the progress of each partition: it checks a fence, stores the checkpoint and moves the native
consumer group, so that the group's lag is true. Commits gather while one pipeline of them is under
way. The loop uses the ordinary interfaces of redis-py, and sets the garbage collector as the worker
does. It reads the streams that Runnel reads, and decodes the events to the same objects. It has
nothing else: no membership, no hand-over, no detection of losses, no retries, no dead letters.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis

from benchmarks.gate import Gate
from benchmarks.job import Job, job, run, set_collector
from benchmarks.records import KINDS, stream_name

#: Entries of one partition in one read, and at most in one batch.
COUNT = 100

COMMIT = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return redis.error_reply('FENCED') end
redis.call('HSET', KEYS[1], 'checkpoint', ARGV[2])
redis.call('XGROUP', 'SETID', KEYS[2], ARGV[3], ARGV[2], 'ENTRIESREAD', ARGV[4])
return 1
"""


class Partition:
    """One partition's entries that were read, and how far it is finished."""

    def __init__(self, log: str, group: str) -> None:
        self.log = log
        self.lease = f"{log}:{group}:lease"
        self.token = secrets.token_hex(16)
        self.entries: deque[tuple[bytes, dict[bytes, bytes]]] = deque()
        self.arrived = asyncio.Event()
        self.cursor: bytes = b"0-0"
        self.done: bytes = b""
        self.count = 0
        self.dirty = False


class Loop:
    """A task for each partition, one that reads, one that commits."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.gate = Gate(job)
        self.decode = KINDS[job.record].decode
        name = stream_name(job.record, job.partitions)
        self.partitions = [
            Partition(f"runnel:{{bench:{name}:{number}}}:{name}:log", job.name)
            for number in range(job.loop, job.partitions, job.loops)
        ]
        self.room = asyncio.Event()
        self.finished = asyncio.Event()
        self.dirty: list[Partition] = []
        self.round: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Run until killed."""
        reading, committing = (
            Redis.from_url(self.job.url, protocol=2, single_connection_client=True)
            for _ in range(2)
        )
        for each in self.partitions:
            await committing.xgroup_create(each.log, self.job.name, "0", mkstream=True)
            await committing.hset(each.lease, "token", each.token)
        iterators = {
            "one": self.records,
            "each": self.committed_records,
            "events": self.entries,
        }
        async with asyncio.TaskGroup() as group:
            group.create_task(self.read(reading))
            group.create_task(self.commit(committing))
            for each in self.partitions:
                if self.job.form == "take":
                    group.create_task(self.take(each))
                else:
                    group.create_task(self.one(iterators[self.job.form](each)))

    async def read(self, client: Redis) -> None:
        """Keep between half and one and a half times COUNT entries of each partition in memory."""
        by_log = {each.log.encode(): each for each in self.partitions}
        while True:
            self.room.clear()
            wanted: dict[Any, Any] = {
                each.log: each.cursor for each in self.partitions if len(each.entries) <= COUNT // 2
            }
            if not wanted:
                await self.room.wait()
                continue
            # A blocking read of some partitions only would starve the others.
            whole = len(wanted) == len(self.partitions)
            replies: Any = await client.xread(wanted, COUNT, 1000 if whole else None)
            for log, entries in replies:
                partition = by_log[log]
                partition.cursor = entries[-1][0]
                partition.entries.extend(entries)
                partition.arrived.set()
            if not replies and not whole:
                try:
                    async with asyncio.timeout(0.01):
                        await self.room.wait()
                except TimeoutError:
                    pass

    async def commit(self, client: Redis) -> None:
        """Commit together, for all partitions, what was finished since the last round."""
        sha = await client.script_load(COMMIT)
        while True:
            await self.finished.wait()
            self.finished.clear()
            dirty, self.dirty = self.dirty, []
            done, self.round = self.round, None
            pipeline = client.pipeline(transaction=False)
            for each in dirty:
                each.dirty = False
                pipeline.evalsha(
                    sha, 2, each.lease, each.log, each.token, each.done, self.job.name, each.count
                )
            await pipeline.execute()
            if done is not None:
                done.set_result(None)

    def finish(self, partition: Partition, entry_id: bytes, count: int) -> None:
        """Note that the events up to this one are finished."""
        partition.done = entry_id
        partition.count += count
        if not partition.dirty:
            partition.dirty = True
            self.dirty.append(partition)
            self.finished.set()

    async def wait(self, partition: Partition) -> None:
        """Wait for entries."""
        self.room.set()
        partition.arrived.clear()
        await partition.arrived.wait()

    # The iterators of handlers.

    async def records(self, partition: Partition) -> AsyncIterator[Any]:
        """One record at a time, each finished when the handler requests the next."""
        entries, decode = partition.entries, self.decode
        while True:
            while entries:
                entry_id, fields = entries.popleft()
                yield decode(fields)
                self.finish(partition, entry_id, 1)
            await self.wait(partition)

    async def entries(self, partition: Partition) -> AsyncIterator[Any]:
        """The same without decoding."""
        entries = partition.entries
        while True:
            while entries:
                entry = entries.popleft()
                yield entry
                self.finish(partition, entry[0], 1)
            await self.wait(partition)

    async def committed_records(self, partition: Partition) -> AsyncIterator[Any]:
        """The next one only once the one before is committed."""
        entries, decode = partition.entries, self.decode
        while True:
            while entries:
                entry_id, fields = entries.popleft()
                yield decode(fields)
                self.finish(partition, entry_id, 1)
                if self.round is None:
                    self.round = asyncio.get_running_loop().create_future()
                await self.round
            await self.wait(partition)

    async def batches(self, partition: Partition) -> AsyncIterator[list[Any]]:
        """Up to a hundred records at a time."""
        entries, decode = partition.entries, self.decode
        while True:
            while entries:
                batch = [entries.popleft() for _ in range(min(COUNT, len(entries)))]
                yield [decode(fields) for _, fields in batch]
                self.finish(partition, batch[-1][0], len(batch))
            await self.wait(partition)

    # Handlers: the same as in `app_backlog`.

    async def one(self, events: AsyncIterator[Any]) -> None:
        await self.gate.wait()
        hit = self.gate.hit
        async for _ in events:
            hit()

    async def take(self, partition: Partition) -> None:
        await self.gate.wait()
        async for records in self.batches(partition):
            self.gate.hit(len(records))


async def main() -> None:
    """Run the loop of this process's job."""
    this = job()
    set_collector(this.collector)
    await Loop(this).run()


if __name__ == "__main__":
    run(main())
