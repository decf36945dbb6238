"""An app whose events may be large and whose partitions many, with a worker in this process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from runnel import App, Events, Record, Stream
from runnel.worker.worker import Worker


class Blob(Record):
    key: int
    number: int
    body: bytes


class Depot:
    """An app whose events may be large, and what its handler has seen of each partition."""

    def __init__(self, name: str, url: str, partitions: int, **settings: Any) -> None:
        options = {
            "session_timeout": 3.0,
            "rebalance_delay": 0.05,
            "shutdown_timeout": 2.0,
            **settings,
        }
        self.app = App(name, redis_url=url, **options)
        self.blobs: Stream[Blob] = self.app.stream(
            "blobs", record=Blob, partition_by="key", partition_count=partitions
        )
        self.keys: dict[int, int] = {}
        key = 0
        while len(self.keys) < partitions:
            self.keys.setdefault(self.blobs.spec.partition(Blob(key=key, number=0, body=b"")), key)
            key += 1
        self.seen: dict[int, list[int]] = {p: [] for p in self.keys}
        #: Partitions whose events are held up.
        self.held: set[int] = set()
        self.released = asyncio.Event()

    def processor(self, **options: Any) -> None:
        """Declare the processor: it notes what it sees."""

        @self.app.processor(self.blobs, name="work", **options)
        async def work(events: Events[Blob]) -> None:
            async for blob in events.records():
                if events.partition in self.held:
                    await self.released.wait()
                self.seen[events.partition].append(blob.number)

    async def fill(self, url: str, sizes: dict[int, list[int]]) -> None:
        """Send events of these sizes to these partitions, over another connection."""
        other = Depot(self.app.name, url, len(self.keys))
        for partition, each in sizes.items():
            key = self.keys[partition]
            blobs = [Blob(key=key, number=n, body=b"x" * size) for n, size in enumerate(each)]
            for at in range(0, len(blobs), 10):
                await other.blobs.send(*blobs[at : at + 10])
        await other.app.close()

    def counts(self) -> Counter[int]:
        return Counter({p: len(seen) for p, seen in self.seen.items() if seen})

    def in_order(self) -> bool:
        return all(seen == list(range(len(seen))) for seen in self.seen.values())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        worker = Worker(self.app)
        run = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop.set()
            await run
