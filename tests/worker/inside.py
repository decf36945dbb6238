"""An app with one partition and a worker in this process, for tests that inspect its state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from runnel import App, Events, Record, Stream
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from runnel.protocol import PartitionKeys
from runnel.worker.worker import Worker


class Item(Record):
    number: int


Handler = Callable[[Events[Item]], Awaitable[None]]


class Ledger:
    """An app with one partition and what its handler has seen."""

    def __init__(self, name: str, url: str, **settings: Any) -> None:
        options = {
            "session_timeout": 1.0,
            "rebalance_delay": 0.05,
            "backoff": 0.01,
            "shutdown_timeout": 2.0,
            **settings,
        }
        size = options.pop("partition_size", 1000)
        self.url = url
        self.app = App(name, redis_url=url, **options)
        self.items: Stream[Item] = self.app.stream(
            "items", record=Item, partition_by="number", partition_count=1, partition_size=size
        )
        self.seen: list[int] = []
        self.partition_keys = PartitionKeys(self.items.spec.prefix(0), "work")
        self.log, self.meta, self.state = self.partition_keys.of_script()

    def processor(self, handler: Handler | None = None, **options: Any) -> None:
        """Declare the processor; the default handler notes what it sees."""

        async def work(events: Events[Item]) -> None:
            async for item in events.records():
                self.seen.append(item.number)

        chosen = handler or work
        self.app.processor(self.items, name="work", **options)(chosen)

    def records(self, *numbers: int) -> list[Item]:
        """Items with these numbers."""
        return [Item(number=each) for each in numbers]

    async def send(self, *numbers: int, **options: Any) -> None:
        await self.items.send(*self.records(*numbers), **options)

    async def row(self, redis: Redis) -> dict[str, Any]:
        """The partition as `inspect` shows it."""
        found = await inspect(redis, await check_server(redis, self.url), self.app.name)
        rows: list[dict[str, Any]] = [
            row for each in found["processors"] for row in each["partitions"]
        ]
        return rows[0] if rows else {"last": "0-0", "owner": None}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        """A worker in this process, which is stopped at the end."""
        worker = Worker(self.app)
        run = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop.set()
            await run


async def caught_up(redis: Redis, ledger: Ledger) -> bool:
    row = await ledger.row(redis)
    return bool(row["last"] != "0-0" and row["checkpoint"] == row["last"])


async def owned(redis: Redis, ledger: Ledger) -> bool:
    return bool((await ledger.row(redis))["owner"])


async def lost(redis: Redis, ledger: Ledger) -> bool:
    return bool((await ledger.row(redis)).get("lost"))
