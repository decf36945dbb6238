"""An app with one partition of keyed events, of which a handler refuses some."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from runnel import App, Events, Record, Stream
from runnel.connection.connect import connect
from runnel.operations import dead
from runnel.operations.dead import Item, Wanted
from runnel.processor import Processor
from runnel.protocol import PartitionKeys, parked_names
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker

ALL = Wanted()


class Payment(Record):
    account: str
    number: int


class Till:
    """`done` has account and number of what was processed, `tried` also what was not; `broken` the
    accounts that fail."""

    def __init__(self, name: str, url: str, **settings: Any) -> None:
        options = {
            "session_timeout": 1.0,
            "rebalance_delay": 0.05,
            "backoff": 0.01,
            "shutdown_timeout": 2.0,
            "retries": 1,
            **settings,
        }
        self.url = url
        self.app = App(name, redis_url=url, **options)
        self.payments: Stream[Payment] = self.app.stream(
            "payments", record=Payment, partition_by="account", partition_count=1
        )
        self.keys = PartitionKeys(self.payments.spec.prefix(0), "work")
        self.broken: set[str] = set()
        self.tried: list[tuple[str, int]] = []
        self.done: list[tuple[str, int]] = []

    def handle(self, payment: Payment) -> None:
        """What the handlers do with one payment."""
        self.tried.append((payment.account, payment.number))
        if payment.account in self.broken:
            raise ValueError(f"no account {payment.account}")
        self.done.append((payment.account, payment.number))

    def declare(self, handler: Any = None, **options: Any) -> None:
        """Declare the processor; the default handler takes one payment after the other."""

        async def work(events: Events[Payment]) -> None:
            async for payment in events.records():
                self.handle(payment)

        chosen = {"exception_policy": "park", **options}
        self.app.processor(self.payments, name="work", **chosen)(handler or work)

    async def pay(self, *pairs: tuple[str, int]) -> None:
        await self.payments.send(*(Payment(account=a, number=n) for a, n in pairs))

    def by_account(self) -> dict[str, list[int]]:
        """The numbers that were processed, in their order. One that was repeated at once, because
        the worker was fenced before it had committed it, counts once."""
        found: dict[str, list[int]] = defaultdict(list)
        for account, number in self.done:
            if found[account][-1:] != [number]:
                found[account].append(number)
        return dict(found)

    @property
    def processor(self) -> Processor:
        (found,) = self.app.choose(["work"])
        return found

    async def parked(self, redis: Redis) -> int:
        """How many events are parked. What is stored of them agrees."""
        log, of_keys, marks = parked_names(self.keys)
        async with redis.pipeline() as at_once:
            at_once.hgetall(of_keys)
            at_once.hmget(self.keys.state, ["parked", "parked_keys", "replay"])
            at_once.xlen(log)
            at_once.hlen(marks)
            counts, stored, length, marked = await at_once.execute()
        events = int(length)
        seen = [events, len(counts), marked]
        assert sum(int(each.split()[0]) for each in counts.values()) == events
        assert [int(each or 0) for each in stored] == seen
        return events

    async def passed(self, redis: Redis) -> bool:
        """Is the checkpoint at the last event?"""
        stored: Any = await redis.hget(self.keys.state, "checkpoint")
        entries: Any = await redis.xrevrange(self.keys.log, count=1)
        return bool(entries and stored == entries[0][0])

    @asynccontextmanager
    async def scripts(self) -> AsyncIterator[Scripts]:
        async with connect(self.url) as client:
            scripts = Scripts(client)
            await scripts.deployment.refresh()
            yield scripts

    async def set_aside(self, wanted: Wanted = ALL) -> list[Item]:
        """What was set aside."""
        async with self.scripts() as scripts:
            return [each async for each in dead.find(scripts, self.processor, wanted)]

    async def replay(self, wanted: Wanted = ALL) -> None:
        """Have it processed after all."""
        found = await self.set_aside(wanted)
        async with self.scripts() as scripts:
            await dead.replay(scripts, self.processor, found)

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
