"""The application that is simulated: a stream, and processors whose handlers tell all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from runnel import App, ExceptionPolicy, Record
from runnel.middleware import DeadLetterMiddleware, Middleware
from runnel.producer import Stream
from runnel.protocol import Token
from tests.simulation import user_code
from tests.simulation.history import History, Spot
from tests.simulation.host import Host
from tests.simulation.model import Partition, parts
from tests.simulation.scenario import Shape
from tests.simulation.trace import Violation
from tests.simulation.world import RESTART, World

URL = "redis://simulated"
#: How each mode that takes lists waits for them.
_WAITS: dict[str, dict[str, Any]] = {
    "batch": {},
    "within": {"within": 0.05},
    "empty": {"within": 0.05, "empty": True},
}


class Item(Record):
    """What is sent. `fails` is how often handling it fails, -1 for until it is mended; `kills` how
    often it ends the worker that handles it."""

    number: int
    key: str
    work: float = 0.0
    fails: int = 0
    kills: int = 0


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
            max_block=s.max_block,
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
        for i, shape in enumerate(s.shapes):
            self._declare(f"p{i}", shape)

    def _declare(self, name: str, shape: Shape) -> None:
        history = self.world.history
        ignored = shape.policy == "IGNORE"
        around: list[Middleware] = [user_code.Around(self, name, each) for each in shape.middleware]
        self.app.processor(
            self.stream,
            name=name,
            exception_policy=ExceptionPolicy[shape.policy],
            commit="each" if shape.commit == "each" else "auto",
            middleware=[*around, DeadLetterMiddleware()]
            if ignored and shape.dead_letters
            else around,
        )(self._handler(name, shape))
        if ignored:
            history.sets_aside.add(name)
        if shape.commit == "each":
            history.commits_each.add(name)

    def spots(self) -> list[Spot]:
        """Every partition, with every processor."""
        every = range(self.world.scenario.partitions)
        return [(self.stream.spec.prefix(p), name) for p in every for name in self.app.processors]

    def spot(self, name: str, partition: int) -> Spot:
        """A processor on one partition."""
        return self.stream.spec.prefix(partition), name

    def committed(self, spot: Spot, id_: str) -> bool:
        """Has the checkpoint passed an event?"""
        state = self.world.judge.model.at(spot[0]).states.get(spot[1], {})
        return parts(state.get("checkpoint", "0-0")) >= parts(id_)

    def history(self) -> History:
        """What handlers did."""
        return self.world.history

    def token(self, name: str, partition: int) -> Token:
        """The token under which the running handler of a processor has a partition."""
        return self.world.host().groups[name].leases[partition].lane.token

    def _handler(self, name: str, shape: Shape) -> Callable[[Any], Any]:
        async def handle(events: Any) -> None:
            token = self.token(name, events.partition)
            given = events.take(5, **_WAITS[shape.mode]) if shape.most > 1 else events
            iterator = aiter(given)
            while (each := await user_code.patient_next(iterator, shape.patience)) is not None:
                batch = each if shape.most > 1 else [each]
                if batch:
                    await self._handle(name, token, batch, shape)
                if shape.mode == "explicit" and batch[-1].record.number % 3 == 0:
                    await events.commit()
                    with self._noticed():
                        spot = self.spot(name, events.partition)
                        self.world.history.told_committed(spot, token, batch[-1].id, self._at(spot))

        return handle

    def _at(self, spot: Spot) -> Partition:
        return self.world.judge.model.at(spot[0])

    async def _handle(self, name: str, token: Token, events: list[Any], shape: Shape) -> None:
        world, host = self.world, self.world.host()
        spot = self.spot(name, events[0].partition)
        ids = [each.id for each in events]
        group = host.groups[name]
        session = (group.processor.group, *group.membership.member[:2])
        world.trace.say(host.process, world.trace.named(spot[0], f"{name} starts {ids}"))
        with self._noticed():
            world.history.start(spot, token, ids, world.judge.model.at(spot[0]), session)
        try:
            await asyncio.sleep(sum(each.record.work for each in events))
            for event in events:
                await self._trouble(host, spot, event, shape)
        except BaseException:
            world.history.fail(spot, token, ids)
            raise
        world.history.finish(spot, token, ids)

    async def _trouble(self, host: Host, spot: Spot, event: Any, shape: Shape) -> None:
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
            await user_code.fail(shape.errors[item.number % len(shape.errors)], item.number)

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        """A violation in code that user code may catch ends the run all the same."""
        try:
            yield
        except Violation as violation:
            self.world.loop.failure = violation
            raise
