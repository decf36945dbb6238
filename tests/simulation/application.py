"""The application that is simulated: a stream, and processors whose handlers tell all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from runnel import App, ExceptionPolicy, Record
from runnel.middleware import DeadLetterMiddleware
from runnel.producer import Stream
from runnel.protocol import Token
from tests.simulation.history import Spot
from tests.simulation.host import Host
from tests.simulation.trace import Violation
from tests.simulation.world import RESTART, World

URL = "redis://simulated"


class Item(Record):
    """What is sent. `fails` is how often handling it fails, -1 for until it is mended; `kills` how
    often it ends the worker that handles it."""

    number: int
    key: str
    work: float = 0.0
    fails: int = 0
    kills: int = 0


class Broken(Exception):
    """What a handler raises."""


class Application:
    """What a scenario says about the application, declared."""

    def __init__(self, world: World) -> None:
        self.world = world
        #: Handlers are mended: no event fails or kills any more.
        self.mended = False
        s = world.scenario
        self.app = App(
            "sim",
            redis_url=URL,
            session=s.session,
            drain=s.drain,
            collect=s.collect,
            grace=s.grace,
            prefetch=s.prefetch,
            partition_count=s.partitions,
            partition_size=s.partition_size,
            retries=s.retries,
            backoff=0.05,
            backoff_max=1.0,
        )
        self.stream: Stream[Item] = self.app.stream("items", record=Item, partition_by="key")
        world.history.retries = s.retries
        world.history.unsteady = s.loses_keys or s.repeats_calls
        for i in range(s.processors):
            self._declare(f"p{i}")

    def _declare(self, name: str) -> None:
        s, history = self.world.scenario, self.world.history
        ignored = s.policy == "IGNORE"
        self.app.processor(
            self.stream,
            name=name,
            exception_policy=ExceptionPolicy[s.policy],
            commit="each" if s.commit == "each" else "auto",
            middleware=[DeadLetterMiddleware()] if ignored and s.dead_letters else [],
        )(self._handler(name))
        if ignored:
            history.sets_aside.add(name)
        if s.commit == "each":
            history.commits_each.add(name)

    def spots(self) -> list[Spot]:
        """Every partition, with every processor."""
        every = range(self.world.scenario.partitions)
        return [(self.stream.spec.prefix(p), name) for p in every for name in self.app.processors]

    def _handler(self, name: str) -> Callable[[Any], Any]:
        mode = self.world.scenario.mode

        async def one(events: Any) -> None:
            token = self._token(name, events.partition)
            async for event in events:
                await self._handle(name, token, [event])
                if mode == "explicit" and event.record.number % 3 == 0:
                    await events.commit()

        async def many(events: Any) -> None:
            token = self._token(name, events.partition)
            async for batch in events.take(5, 0.05 if mode == "within" else None):
                await self._handle(name, token, batch)

        return many if mode in ("batch", "within") else one

    def _token(self, name: str, partition: int) -> Token:
        return self.world.host().groups[name].leases[partition].lane.token

    async def _handle(self, name: str, token: Token, events: list[Any]) -> None:
        world, host = self.world, self.world.host()
        spot: Spot = (self.stream.spec.prefix(events[0].partition), name)
        ids = [each.id for each in events]
        group = host.groups[name]
        session = (group.processor.group, *group.membership.member[:2])
        world.trace.say(host.process, world.trace.named(spot[0], f"{name} starts {ids}"))
        with self._noticed():
            world.history.start(spot, token, ids, world.judge.model.at(spot[0]), session)
        try:
            await asyncio.sleep(sum(each.record.work for each in events))
            for event in events:
                await self._trouble(host, spot, event)
        except BaseException:
            world.history.fail(spot, token, ids)
            raise
        world.history.finish(spot, token, ids)

    async def _trouble(self, host: Host, spot: Spot, event: Any) -> None:
        """What an event does to its handler, if anything."""
        history, item, at = self.world.history, event.record, (spot, event.id)
        if self.mended:
            return
        if history.deaths[at] < item.kills:
            self.world.kill(host)
            self.world.later(RESTART, self.world.start, host)
            await asyncio.Event().wait()
        if history.failures[at] < item.fails or item.fails < 0:
            history.failures[at] += 1
            raise Broken(f"{item.number} fails")

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        """A violation in code that user code may catch ends the run all the same."""
        try:
            yield
        except Violation as violation:
            self.world.loop.failure = violation
            raise
