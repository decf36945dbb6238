"""A consumer group, watched from outside: which member holds which partition."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.deployment import Server
from benchmarks.job import Job
from benchmarks.records import declare, stream_name
from runnel import App, Events, keys, protocol
from runnel.connection.connect import connect
from runnel.operations import admin
from runnel.protocol.scripts import Scripts, sources


class WatchedGroup:
    """The group of a job's processor."""

    def __init__(self, server: Server, job: Job) -> None:
        self._redis: Any = server.redis
        self._partitions = job.partitions
        self._redis.script_load(sources()["describe_group"].decode())
        self._call = protocol.describe_group(
            keys.group("bench", stream_name(job.record, job.partitions), job.name)
        )

    def owners(self) -> dict[int, str]:
        """Partition -> the member that holds it; without partitions that are moving."""
        found = protocol.read_describe_group(self._redis.execute_command(*self._call.command()))
        return {
            each.partition: each.owner
            for each in found.assignments
            if each.owner is not None and each.owner == each.target
        }

    def shared_by(self, members: int) -> bool:
        """Do so many members hold all partitions, as evenly as possible?"""
        shares = Counter(self.owners().values())
        return (
            len(shares) == members
            and shares.total() == self._partitions
            and max(shares.values()) - min(shares.values()) <= 1
        )


async def pause(job: Job, paused: bool) -> None:
    """Register the job's processor and pause it before a worker runs it; or resume it."""
    app = App("bench", redis_url=job.url)
    stream = declare(app, job.record, job.partitions)

    @app.processor(stream, name=job.name)
    async def nothing(events: Events[Any]) -> None: ...

    processor = app.processors[job.name]
    async with connect(job.url) as client:
        if paused:
            await admin.add(Scripts(client), processor)
            await admin.pause(Scripts(client), processor)
        else:
            await admin.resume(Scripts(client), processor, list(range(job.partitions)))
    await app.close()
