"""An app with one partition of keyed jobs, of which a handler has several at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from runnel import App, Record, Stream
from runnel.connection.connect import connect
from runnel.processor import Processor
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Scripts
from runnel.table import Table
from runnel.worker.worker import Worker
from tests.worker.workers import until

KEYS = "abcdefgh"
#: Five jobs of each of eight keys, in turn.
MIXED = [(key, number) for number in range(5) for key in KEYS]
ALL = {key: list(range(5)) for key in KEYS}


class Job(Record):
    key: str
    number: int


class Doing(Record):
    key: str
    number: int


def failing(times: int, error: BaseException | None = None) -> Any:
    """A fault that raises so often."""
    left = [times]

    def fault() -> None:
        if left[0]:
            left[0] -= 1
            raise error or ValueError("a fault on purpose")

    return fault


class Desk:
    """`begun` and `done` have key and number of each try that began and of each that ended well.

    A job waits while its key is in `held`. It fails while `faults` says so: each value is a number
    of tries that fail, or what else the handler is to do.
    """

    def __init__(self, name: str, url: str, **settings: Any) -> None:
        options = {
            "session_timeout": 1.0,
            "rebalance_delay": 0.05,
            "backoff": 0.01,
            "shutdown_timeout": 5.0,
            "retries": 1,
            **settings,
        }
        self.app = App(name, redis_url=url, **options)
        self.jobs: Stream[Job] = self.app.stream(
            "jobs", record=Job, partition_by="key", partition_count=1
        )
        self.doings: Stream[Doing] = self.app.stream(
            "doings", record=Doing, partition_by="key", partition_count=2
        )
        self.totals: Table[int] = self.app.table("totals", self.jobs, value=int, default=0)
        self.keys = PartitionKeys(self.jobs.spec.prefix(0), "work")
        self.begun: list[tuple[str, int]] = []
        self.done: list[tuple[str, int]] = []
        self.running: Counter[str] = Counter()
        #: The most jobs that ran at the same time.
        self.most = 0
        self.held: set[str] = set()
        self.released = asyncio.Event()
        self.faults: dict[tuple[str, int], Callable[[], Any]] = {}

    async def handle(self, job: Job) -> None:
        """The handler: counts the job in a table, and emits it."""
        at = job.key, job.number
        self.begun.append(at)
        assert not self.running[job.key], f"two of {job.key} at once"
        self.running[job.key] += 1
        self.most = max(self.most, self.running.total())
        try:
            self.totals[job.key] += 1
            self.doings.emit(Doing(key=job.key, number=job.number))
            while job.key in self.held:
                await self.released.wait()
            if (fault := self.faults.get(at)) is not None:
                result = fault()
                if asyncio.iscoroutine(result):
                    await result
            await asyncio.sleep(0)
        finally:
            self.running[job.key] -= 1
        self.done.append(at)

    def declare(self, handler: Any = None, **options: Any) -> None:
        """Declare the processor, by default with the handler above."""
        chosen = {"concurrency": 8, **options}
        self.app.on(self.jobs, name="work", **chosen)(handler or self.handle)

    async def send(self, *pairs: tuple[str, int]) -> None:
        await self.jobs.send(*(Job(key=key, number=number) for key, number in pairs))

    def hold(self, *keys: str) -> None:
        """Jobs of these keys do not end."""
        self.held |= set(keys)

    def let_go(self) -> None:
        """All jobs may end."""
        self.held = set()
        self.released.set()
        self.released = asyncio.Event()

    def by_key(self, pairs: list[tuple[str, int]] | None = None) -> dict[str, list[int]]:
        """The numbers of each key that were done, or those of `pairs`, in their order."""
        found: dict[str, list[int]] = defaultdict(list)
        for key, number in self.done if pairs is None else pairs:
            found[key].append(number)
        return dict(found)

    async def checkpoint(self, redis: Redis) -> int:
        """How many events are behind the checkpoint."""
        at: Any = await redis.hget(self.keys.state, "checkpoint")
        entries: Any = await redis.xrange(self.keys.log, "-", at or "0-0")
        return len(entries)

    async def passed(self, redis: Redis) -> bool:
        """Is the checkpoint at the last event?"""
        stored: Any = await redis.hget(self.keys.state, "checkpoint")
        entries: Any = await redis.xrevrange(self.keys.log, count=1)
        return bool(entries and stored == entries[0][0])

    async def emitted(self, redis: Redis) -> dict[str, list[int]]:
        """The numbers of each key that were emitted, in their order."""
        found: dict[str, list[int]] = defaultdict(list)
        for number in range(2):
            entries: Any = await redis.xrange(f"{self.doings.spec.prefix(number)}:log")
            for _, fields in entries:
                flat = [each for pair in fields.items() for each in pair]
                doing = self.doings.spec.codec.decode(flat)
                found[doing.key].append(doing.number)
        return dict(found)

    async def counted(self, *keys: str) -> dict[str, int]:
        """What the table has for these keys."""
        return dict(await self.totals.read_many(keys))

    async def check_effects(self, redis: Redis, must: dict[str, list[int]]) -> None:
        """What was counted and emitted is what must be done, each once and in order by key."""
        assert await self.counted(*must) == {key: len(numbers) for key, numbers in must.items()}
        assert await self.emitted(redis) == must

    async def worked_off(self, redis: Redis) -> None:
        """Run a worker until the checkpoint is at the last event."""
        async with self.working():
            await until(lambda: self.passed(redis), "all is committed")

    @property
    def processor(self) -> Processor:
        (found,) = self.app.choose(["work"])
        return found

    @asynccontextmanager
    async def app_scripts(self) -> AsyncIterator[Scripts]:
        async with connect(self.app.settings.redis_url) as client:
            scripts = Scripts(client)
            await scripts.deployment.refresh()
            yield scripts

    async def claim_once(self, redis: Redis) -> None:
        """Have the partition claimed and released by a worker, before there are events."""
        async with self.working():
            await until(lambda: redis.hexists(self.keys.state, "epoch"), "it was claimed")

    async def set_state(self, redis: Redis, **fields: bytes | int) -> None:
        """Let the next worker find this in the state of the partition."""
        for name, value in fields.items():
            await redis.hset(self.keys.state, name, value)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """A worker in this process, which is stopped at the end."""
        worker = Worker(self.app)
        run = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            self.let_go()
            worker.stop.set()
            await run
