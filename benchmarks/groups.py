"""A group from outside: who holds what while workers come and go, and when they may begin."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.job import Job
from benchmarks.records import declare, stream_name
from benchmarks.server import Server
from runnel import App, Events, keys, protocol
from runnel.connection.connect import connect
from runnel.operations import admin
from runnel.protocol.scripts import Scripts, sources


class Watched:
    """The group of one processor."""

    def __init__(self, server: Server, record: str, partitions: int, processor: str) -> None:
        self._redis: Any = server.redis
        self._partitions = partitions
        self._redis.script_load(sources()["describe_group"].decode())
        self._call = protocol.describe_group(
            keys.group("bench", stream_name(record, partitions), processor)
        )

    def holders(self) -> dict[int, str]:
        """Partition -> the member that holds it, where nothing is about to change."""
        group_description = protocol.read_describe_group(
            self._redis.execute_command(*self._call.command())
        )
        return {
            each.partition: each.owner
            for each in group_description.assignments
            if each.owner is not None and each.owner == each.target
        }

    def shared_by(self, members: int) -> bool:
        """Do so many members hold all partitions, as evenly as can be?"""
        shares = Counter(self.holders().values())
        return (
            len(shares) == members
            and shares.total() == self._partitions
            and max(shares.values()) - min(shares.values()) <= 1
        )


async def pause(job: Job, paused: bool) -> None:
    """Pause the processor before anybody runs it, or let it go on."""
    app = App("bench", redis_url=job.url)
    stream = declare(app, job.record, job.partitions)

    @app.processor(stream, name=job.name)
    async def nothing(events: Events[Any]) -> None: ...

    processor = app.processors[job.name]
    client = connect(job.url)
    try:
        if paused:
            await admin.add(Scripts(client), processor)
            await admin.pause(Scripts(client), processor)
        else:
            await admin.resume(Scripts(client), processor, list(range(job.partitions)))
    finally:
        await client.aclose()
        await app.close()
