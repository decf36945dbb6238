"""What docs/production.md says about moving to another server, and about backups."""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from typing import Any

from runnel import App, Events, Record, Stream, Table
from runnel.embedded.binary import Binary
from runnel.worker.worker import Worker
from tests.nodes import ask, catches_up, is_linked, until
from tests.servers import Server

KEYS = 5


class Item(Record):
    key: int
    number: int


class Shop:
    """An app on one server that notes what it processes, and counts it in a table."""

    def __init__(self, name: str, url: str) -> None:
        self.app = App(name, redis_url=url, session_timeout=1.0, rebalance_delay=0.0)
        self.items: Stream[Item] = self.app.stream(
            "items", record=Item, partition_by="key", partition_count=3
        )
        self.counts: Table[int] = self.app.table("counts", self.items, value=int, default=0)
        self.seen: dict[int, list[int]] = defaultdict(list)

        @self.app.processor(self.items, name="work")
        async def work(events: Events[Item]) -> None:
            async for item in events.records():
                self.seen[item.key].append(item.number)
                self.counts[item.key] += 1

    async def send(self, *numbers: int) -> None:
        await self.items.send(
            *(Item(key=key, number=number) for number in numbers for key in range(KEYS))
        )

    async def process(self) -> None:
        """Process what is there."""
        await Worker(self.app).run(burst=True)

    async def counted(self) -> dict[Any, int]:
        return {key: await self.counts.read(key) for key in range(KEYS)}


async def test_a_server_that_was_a_replica_goes_on_where_the_old_one_stood(
    binary: Binary, app_name: str
) -> None:
    with Server(binary) as old, Server(binary) as new:
        before = Shop(app_name, old.url)
        await before.send(*range(10))
        await before.process()
        ask(new, "REPLICAOF", "127.0.0.1", old.port)
        await asyncio.to_thread(until, new, is_linked)
        await before.send(*range(10, 20))  # Nobody processes these here.
        await before.app.close()
        await asyncio.to_thread(catches_up, new, old)
        ask(new, "REPLICAOF", "NO", "ONE")
        old.stop()
        after = Shop(app_name, new.url)
        await after.send(*range(20, 30))
        await after.process()
        assert before.seen == {key: [*range(10)] for key in range(KEYS)}
        assert after.seen == {key: [*range(10, 30)] for key in range(KEYS)}
        assert await after.counted() == dict.fromkeys(range(KEYS), 30)
        await after.app.close()


async def test_a_restored_backup_has_tables_and_checkpoints_of_one_moment(
    binary: Binary, app_name: str
) -> None:
    with Server(binary, appendonly="no") as server, Server(binary, appendonly="no") as restored:
        before = Shop(app_name, server.url)
        await before.send(*range(10))
        await before.process()
        await before.send(*range(10, 20))
        ask(server, "SAVE")
        backup = server.folder / "backup.rdb"
        shutil.copy(server.folder / "dump.rdb", backup)
        await before.process()
        await before.send(*range(20, 30))
        await before.app.close()
        restored.stop()
        shutil.copy(backup, restored.folder / "dump.rdb")
        restored.start()
        after = Shop(app_name, restored.url)
        await after.process()
        # What was processed since is processed again, what was sent since is not there.
        assert after.seen == {key: [*range(10, 20)] for key in range(KEYS)}
        assert await after.counted() == dict.fromkeys(range(KEYS), 20)
        await after.app.close()
