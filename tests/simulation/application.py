"""The simulated application: a stream, and processors whose handlers record what they do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from runnel import App, ExceptionPolicy
from runnel.core.window import Window
from runnel.middleware import DeadLetterMiddleware, Middleware
from runnel.protocol import Token
from runnel.stream import Stream
from tests.simulation import user_code
from tests.simulation.counting import Counting, name_of
from tests.simulation.emitting import ECHOES, MOVES, OWN, Emitting
from tests.simulation.handled import Spot, number_of
from tests.simulation.history import History
from tests.simulation.host import Host
from tests.simulation.items import Item
from tests.simulation.outboxes import check_all_forwarded
from tests.simulation.scenario import OVERRUNS, Shape
from tests.simulation.stored import Partition, parts
from tests.simulation.together import Together
from tests.simulation.trace import Violation
from tests.simulation.world import RESTART, World

URL = "redis://simulated"
#: The arguments of `take` for each mode that takes lists.
_WAITS: dict[str, dict[str, Any]] = {
    "batch": {},
    "within": {"within": 0.05},
    "empty": {"within": 0.05, "empty": True},
}


class Application:
    """The application that a scenario describes."""

    def __init__(self, world: World) -> None:
        self.world = world
        #: True once no event fails or kills its worker any more.
        self.handlers_fixed = False
        s = world.scenario
        self.app = App(
            "sim",
            redis_url=URL,
            session_timeout=s.session_timeout,
            rebalance_timeout=s.rebalance_timeout,
            rebalance_delay=s.rebalance_delay,
            shutdown_timeout=s.shutdown_timeout,
            max_block=s.max_block,
            prefetch=s.prefetch,
            prefetch_bytes=s.prefetch_bytes,
            partition_count=s.partitions,
            partition_size=s.partition_size,
            retries=s.retries,
            backoff=0.05,
            backoff_max=1.0,
        )
        kept: dict[str, Any] = {"max_age": s.max_age or None, "retain": s.retain}
        self.stream: Stream[Item] = self.app.stream(
            "items", record=Item, partition_by="key", **kept
        )
        #: Processor -> its table, if it has one.
        self._counting: dict[str, Counting] = {}
        #: Processor -> what it emits, if it does.
        self._emitting: dict[str, Emitting] = {}
        #: The streams to which processors emit: by their names, and their own as `OWN`.
        self._targets: dict[str, Stream[Item]] = {OWN: self.stream}
        emitted = {each for shape in s.shapes for each in shape.emits}
        if MOVES in emitted:
            self._targets[MOVES] = self.app.stream(
                MOVES,
                record=Item,
                partition_by="key",
                partition_count=s.move_partitions,
                **kept,
            )
        if ECHOES in emitted:
            self._targets[ECHOES] = self.stream.derive(ECHOES, Item, **kept)
        world.history.retries = s.retries
        world.history.exact = not s.loses_keys and not s.removes
        world.history.conflicts_allowed = s.conflicts
        for i, shape in enumerate(s.shapes):
            self._declare(f"p{i}", shape, self.stream)
        for name in [each for each in (MOVES, ECHOES) if each in emitted]:
            self._declare(f"of-{name}", s.second_stage, self._targets[name])

    def _declare(self, name: str, shape: Shape, stream: Stream[Item]) -> None:
        history = self.world.history
        ignored = shape.policy == "IGNORE"
        around: list[Middleware] = [
            user_code.UserMiddleware(self, name, each) for each in shape.middleware
        ]
        if around:
            around.insert(0, user_code.RequestRecorder(self, name))
        together = shape.concurrency > 1
        declare = self.app.on if together else self.app.processor
        handler = self._handler(name, shape)
        declare(
            stream,
            name=name,
            exception_policy=ExceptionPolicy[shape.policy],
            commit="each" if shape.commit == "each" else "auto",
            timeout=shape.timeout,
            concurrency=shape.concurrency,
            middleware=[*around, DeadLetterMiddleware()]
            if ignored and shape.dead_letters
            else around,
        )(handler)
        if together:  # A function of one record does not learn the id of its event.
            found = self.app.processors[name]
            self.app.processors[name] = replace(found, handler=self._handler_of_one(name, shape))
            limit = Window(found.concurrency, found.prefetch).limit
            history.together[name] = Together(self._key, found.concurrency, limit)
        if shape.counts:
            self._counting[name] = Counting(self.app, stream, name, together)
            history.counts[name] = self._event
        if shape.emits:
            emitting = Emitting(name, {each: self._targets[each] for each in shape.emits})
            self._emitting[name] = emitting
            history.emits[name] = partial(emitting.entries, stream.spec.codec.decode)
        if ignored:
            history.ignores_failures.add(name)
        if "holds" in shape.middleware:
            history.holds_back.add(name)
        if shape.commit == "each":
            history.commits_each.add(name)

    def _event(self, fields: Sequence[bytes]) -> tuple[str, int]:
        """The key and the number of an event."""
        item = self.stream.spec.codec.decode(fields)
        return item.key, item.number

    def _key(self, fields: Sequence[bytes]) -> str:
        return self._event(fields)[0]

    def spots(self) -> list[Spot]:
        """Every combination of a partition and a processor."""
        return [
            (each.stream.prefix(p), name)
            for name, each in self.app.processors.items()
            for p in range(each.stream.partition_count)
        ]

    def spot(self, name: str, partition: int) -> Spot:
        """A processor on one partition."""
        return self.app.processors[name].stream.prefix(partition), name

    def prefixes(self) -> list[str]:
        """The prefix of each partition that a processor reads."""
        return list(dict.fromkeys(prefix for prefix, _ in self.spots()))

    def check_second_stage(self) -> None:
        """S11: unless keys were lost or an operator has moved a checkpoint, the tables of the
        second stage have counted what was emitted, each once, by its key."""
        model, name = self.world.judge.model, f"of-{MOVES}"
        if self.world.history.exact:
            check_all_forwarded(model)
        if MOVES not in self._targets or not self.world.scenario.counts_exactly:
            return
        must, found = Counter[str](), Counter[str]()
        for partition in model.partitions.values():
            for each in partition.moved.values():
                must += each
            for key, value in partition.tables.get(name_of(name), {}).items():
                if key.startswith(b"k"):
                    found[key.decode()] += int(value)
        if found != must:
            raise Violation("S11", f"the second stage has counted {found}, not {must}")

    def committed(self, spot: Spot, id_: str) -> bool:
        """Whether the event is committed."""
        state = self.world.judge.model.at(spot[0]).states.get(spot[1], {})
        return parts(state.get("checkpoint", "0-0")) >= parts(id_)

    def more_to_come(self, name: str, partition: int) -> bool:
        """Whether an event follows the one that was just taken, so that it may be held back."""
        state = self.world.host().members[name].queues[partition].state
        return bool(state.buffer) and state.open and not state.suspicion.careful

    def history(self) -> History:
        """The record of what handlers did."""
        return self.world.history

    def token(self, name: str, partition: int) -> Token:
        """The token under which the current host owns a partition for a processor."""
        return self.world.host().members[name].queues[partition].state.token

    def _handler(self, name: str, shape: Shape) -> Callable[[Any], Any]:
        # With less patience than its middleware takes, it would never get an event.
        slow = {"awaits", "holds"}.intersection(shape.middleware)
        step = user_code.PATIENCE_STEP if slow else 0.0

        async def handle(events: Any) -> None:
            token, spot = self.token(name, events.partition), self.spot(name, events.partition)
            given = events.take(5, **_WAITS[shape.mode]) if shape.batch_size > 1 else events
            iterator = aiter(given)
            while True:
                with self._waiting(spot, shape):
                    each = await user_code.patient_next(iterator, shape.patience, step)
                if each is None:
                    return
                batch = each if shape.batch_size > 1 else [each]
                if batch:
                    await self._handle(spot, token, events, batch, shape)
                if shape.mode == "explicit" and batch[-1].record.number % 3 == 0:
                    await events.commit()
                    with self._end_run_on_violation():
                        self.world.history.asked_for_more(spot, token)
                        self.world.history.commit_returned(spot, token, batch[-1].id, self.at(spot))
                elif not shape.middleware:
                    # Without middleware, events count as finished at once.
                    self.world.history.asked_for_more(spot, token)

        return handle

    def _handler_of_one(self, name: str, shape: Shape) -> Callable[[Any], Any]:
        """The handler of a processor that has several events at the same time."""

        async def handle(events: Any) -> None:
            token, spot = self.token(name, events.partition), self.spot(name, events.partition)
            async for event in events:
                await self._handle(spot, token, events, [event], shape)

        return handle

    def at(self, spot: Spot) -> Partition:
        """A partition as the model has it."""
        return self.world.judge.model.at(spot[0])

    async def _handle(
        self, spot: Spot, token: Token, source: Any, events: list[Any], shape: Shape
    ) -> None:
        world, host, name = self.world, self.world.host(), spot[1]
        ids = [each.id for each in events]
        member = host.members[name]
        session = (member.processor.group, *member.membership.member[:2])
        world.trace.say(host.process, world.trace.named(spot[0], f"{name} starts {ids}"))
        with self._end_run_on_violation():
            world.history.start(spot, token, ids, world.judge.model.at(spot[0]), session)
        began = world.loop.time()
        try:
            await self._count(spot, events)
            await asyncio.sleep(sum(each.record.work for each in events))
            for event in events:
                if name in self._emitting:
                    self._emitting[name].emit(source, event)
                await self._misbehave(host, spot, event, shape)
        except BaseException as error:
            took = world.loop.time() - began + 1e-9
            if shape.timeout and took >= shape.timeout and len(ids) == 1:
                world.history.failures[spot, ids[0]] += 1
            world.history.fail(spot, token, ids, self.at(spot))
            if not isinstance(error, user_code.ContinuesAfterCancel):
                raise
            late = name in self._counting and self._counting[name].counts_too_late(events[0])
            if name in self._emitting:
                late |= self._emitting[name].emits_too_late(source, events[0])
        else:
            world.history.finish(spot, token, ids)
            late = False
        if late:
            with self._end_run_on_violation():
                raise Violation("S10", f"{spot} {ids} has effects after its handler has ended")

    async def _count(self, spot: Spot, events: list[Any]) -> None:
        """Count the events in the processor's table, if it has one."""
        if spot[1] not in self._counting:
            return
        try:
            await self._counting[spot[1]].count(events)
        except (RedisError, OSError):  # This counts as a failure like any other.
            self.world.history.failures.update((spot, each.id) for each in events)
            raise

    async def _misbehave(self, host: Host, spot: Spot, event: Any, shape: Shape) -> None:
        """Fail, hang or kill the worker, if the event says so."""
        history, item, at = self.world.history, event.record, (spot, event.id)
        if self.handlers_fixed:
            return
        if history.kills[at] < item.kills:
            self.world.kill(host)
            self.world.later(RESTART, self.world.start, host)
            await asyncio.Event().wait()
        if history.failures[at] < item.fails or item.fails < 0:
            kind = shape.errors[item.number % len(shape.errors)]
            if kind in OVERRUNS:  # Counts as a failure once it has been cancelled.
                await user_code.hang(kind)
                with self._end_run_on_violation():
                    raise Violation("L5", f"{spot} {event.id} exceeds its limit: {shape.timeout}")
            history.failures[at] += 1
            await user_code.fail(kind, item.number)

    @contextmanager
    def _waiting(self, spot: Spot, shape: Shape) -> Iterator[None]:
        """A time limit is for handling events: waiting for an event must not be cancelled."""
        host, network = self.world.host(), self.world.network
        state = host.members[spot[1]].queues[number_of(spot)].state
        try:
            yield
        except asyncio.CancelledError:
            if shape.timeout and state.open and host.state == "running" and not network.closed:
                with self._end_run_on_violation():
                    raise Violation("L5", f"{spot} was cancelled while it waited") from None
            raise

    @contextmanager
    def _end_run_on_violation(self) -> Iterator[None]:
        """End the run on a violation, even if user code catches the exception."""
        try:
            yield
        except Violation as violation:
            self.world.loop.failure = violation
            raise
