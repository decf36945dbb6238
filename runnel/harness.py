"""`Harness`: what a test does with an app, without a server. Made by `App.test`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import inf
from typing import Any, Protocol, TypeVar

from runnel import keys
from runnel.dead_letter import DeadLetter
from runnel.errors import ConfigError
from runnel.event import Event
from runnel.processor import Processor
from runnel.stream import Sent, Stream, StreamSpec
from runnel.table import Table
from runnel.tasks import Task

R = TypeVar("R")
V = TypeVar("V")
#: A processor in a call of `Harness`: its function or its name.
Named = Callable[..., Any] | str


class HandlerFailed(AssertionError):
    """A handler has failed for good while a test did not expect that. Its cause is what the handler
    raised, if it raised anything."""


class NotDrained(AssertionError):
    """What a test has sent was not processed within the time limit. The message names what is left,
    and where a handler waits."""


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """One attempt at an event that failed: the first one has the number 1.

    `event` is its id, and `record` what it carries, None if that cannot be decoded. Both are empty
    for a handler that failed without an event. `error` is what
    the handler raised, None if it raised nothing, as at a time limit; `message` says it in words.
    A list of events that failed together is a failure of its first event, with the number 0.
    """

    processor: str
    partition: int
    event: str
    record: Any
    attempt: int
    error: BaseException | None
    message: str


class Owner(Protocol):
    """What a harness needs of the app."""

    name: str
    processors: dict[str, Processor]
    tasks: dict[str, Task]
    under_test: Any


class Engine(Protocol):
    """What runs the app: see `runnel.testing.engine`."""

    @property
    def failures(self) -> list[Failure]: ...
    async def start(self, *, lifespan: bool) -> None: ...
    async def close(self, *, quick: bool) -> None: ...
    async def drain(self, seconds: float, *, check: bool) -> None: ...
    async def advance(self, seconds: float, limit: float) -> None: ...
    async def crash(self, seconds: float) -> None: ...
    async def resume(self, processor: Processor) -> None: ...
    async def replay(self, processor: Processor) -> None: ...
    def entries(self, spec: StreamSpec[Any]) -> list[tuple[int, str, Sequence[bytes]]]: ...
    def delayed(self, spec: StreamSpec[Any]) -> list[Sequence[bytes]]: ...
    def table(self, key: str) -> dict[bytes, bytes]: ...
    def parked(self, processor: Processor) -> list[tuple[int, str, Sequence[bytes]]]: ...

    def postponed(self, processor: Processor) -> list[tuple[int, str, Sequence[bytes]]]: ...
    def quarantined(self, processor: Processor) -> list[Failure]: ...
    def lag(self, processor: Processor) -> int: ...


class Harness:
    """An app under test: its handlers run here, and Redis is replaced by the memory of the test.

    ::

        async with app.test() as t:
            await t.send(orders, Order(order_id=1))
            await t.drain()
            assert t.sent(alerts) == [Alert(order_id=1)]
            assert balances.at(1) == 3

    Nothing is processed between two calls of `drain`. Time stands still, but for waits of Runnel,
    such as those between retries, which are skipped: `advance` moves it on.
    """

    def __init__(
        self,
        app: Owner,
        only: Sequence[Named] = (),
        timeout: float = 10.0,
        *,
        lifespan: bool = True,
    ) -> None:
        self._app = app
        self._only = only
        self._timeout = timeout
        self._lifespan = lifespan
        self._running: Engine | None = None

    async def __aenter__(self) -> Harness:
        if self._app.under_test is not None:
            raise ConfigError(
                f"app {self._app.name} is under test already: leave the first `app.test()` before "
                "the next one begins"
            )
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError(
                "app.test() runs in an event loop of asyncio; with anyio, choose that backend"
            ) from None
        chosen = [self._processor(each).name for each in self._only]
        # Not imported by name: it runs workers, which are above the app.
        engine: Engine = import_module("runnel.testing.engine").MemoryEngine(self._app, chosen)
        self._running = self._app.under_test = engine
        try:
            await engine.start(lifespan=self._lifespan)
        except BaseException:
            await self._close(quick=True)
            raise
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self._close(quick=kind is not None)

    async def _close(self, *, quick: bool) -> None:
        engine, self._running = self._engine, None
        try:
            await engine.close(quick=quick)
        finally:
            self._app.under_test = None

    # To do

    async def send(self, stream: Stream[R], *records: R, **options: Any) -> list[Any]:
        """Send records as `Stream.send` does, which has the options. Returns what it returns, and
        raises what it raises: a record that cannot be encoded fails here."""
        _ = self._engine
        sent: list[Any] = await stream.send(*records, **options)
        return sent

    async def drain(self, *, check: bool = True, timeout: float | None = None) -> None:
        """Process until no event is left, in all streams of the app.

        Raises HandlerFailed if a partition was quarantined or the policy HALT has ended the worker,
        unless `check` is False. Raises NotDrained if events are left after `timeout` seconds, by
        default those of `app.test`.
        """
        __tracebackhide__ = True  # pytest shows the line of the test.
        await self._engine.drain(self._timeout if timeout is None else timeout, check=check)

    async def advance(self, seconds: float) -> None:
        """Move time on by so many seconds, in steps: what is due at a moment is processed at it.
        Raises ConfigError for what is no number of seconds."""
        __tracebackhide__ = True  # pytest shows the line of the test.
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise ConfigError(f"advance() takes a number of seconds, not {seconds!r}")
        if not 0 <= seconds < inf:
            raise ConfigError(f"advance() takes seconds from 0 on, not {seconds}")
        await self._engine.advance(seconds, self._timeout)

    async def crash(self) -> None:
        """Hand out all that is left, and lose the worker before it commits anything, as `kill -9`
        does. The next `drain` hands out the same events again, to a new worker. What the handlers
        have written to tables and emitted is gone; what they have sent, and done elsewhere, is not.
        """
        __tracebackhide__ = True  # pytest shows the line of the test.
        await self._engine.crash(self._timeout)

    async def resume(self, processor: Named) -> None:
        """Resume the quarantined partitions of a processor: their events are tried again."""
        await self._engine.resume(self._processor(processor))

    async def replay(self, processor: Named) -> None:
        """Have the parked events of a processor processed by the next `drain`."""
        await self._engine.replay(self._processor(processor))

    async def run_task(self, task: Callable[[], Any] | str) -> None:
        """Run a task, timer or crontab of the app once. Raises what it raises, and ConfigError for
        one that the app does not have. They do not run by themselves in a test."""
        _ = self._engine
        name = task if isinstance(task, str) else getattr(task, "__name__", "")
        if name not in self._app.tasks:
            raise ConfigError(
                f"app {self._app.name} has no task {name!r}; it has "
                f"{', '.join(self._app.tasks) or 'none'}"
            )
        await self._app.tasks[name].function()

    # To see

    def sent(self, stream: Stream[R]) -> list[R]:
        """The records of a stream, in the order in which they were sent, by whomever."""
        return [each.record for each in self.events(stream)]

    def events(self, stream: Stream[R]) -> list[Event[R]]:
        """The events of a stream, in the order in which they were sent."""
        spec = stream.spec
        return [
            Event([id_.encode(), fields], partition, spec.codec)
            for partition, id_, fields in self._engine.entries(spec)
        ]

    def delayed(self, stream: Stream[R]) -> list[R]:
        """The records that wait for the time at which they are due, in that order."""
        return [stream.spec.codec.decode(fields) for fields in self._engine.delayed(stream.spec)]

    def table(self, table: Table[V]) -> dict[str, V]:
        """All that a table has, with its keys as text."""
        found: dict[str, V] = {}
        for partition in range(table.stream.partition_count):
            name = keys.table(table.stream.prefix(partition), table.name)
            for key, value in self._engine.table(name).items():
                found[key.decode(errors="backslashreplace")] = table.decode(value)
        return found

    def dead(self, processor: Named) -> list[Any]:
        """The records of the events that became dead letters of a processor, in order."""
        found = self._processor(processor)
        return [found.stream.codec.decode(each.fields) for each in self.dead_letters(processor)]

    def dead_letters(self, processor: Named) -> list[DeadLetter]:
        """The dead letters of a processor, in order: with the error, and the event as it was.
        Raises ConfigError for one that keeps none."""
        found = self._processor(processor)
        if found.sink is None:
            raise ConfigError(
                f"processor {found.name} keeps no dead letters: give it the policy IGNORE and a "
                "DeadLetterMiddleware"
            )
        decode = found.sink.codec.decode
        letters = [decode(fields) for _, _, fields in self._engine.entries(found.sink)]
        return [each for each in letters if each.processor == found.name]

    def parked(self, processor: Named) -> list[Any]:
        """The records of the events that a processor has parked, in order for each key."""
        found = self._processor(processor)
        return [found.stream.codec.decode(fields) for _, _, fields in self._engine.parked(found)]

    def postponed(self, processor: Named) -> list[Any]:
        """The records of the events that have failed and wait for their next try, in the order in
        which they failed first; `advance` lets a processor with the policy RETRY_LATER try them."""
        found = self._processor(processor)
        return [found.stream.codec.decode(fields) for _, _, fields in self._engine.postponed(found)]

    def quarantined(self, processor: Named) -> list[Failure]:
        """The last failure of each partition of a processor that is quarantined."""
        return self._engine.quarantined(self._processor(processor))

    def failures(self, processor: Named | None = None) -> list[Failure]:
        """Each attempt that failed, in order; without a processor, of all."""
        name = None if processor is None else self._processor(processor).name
        return [each for each in self._engine.failures if name in (None, each.processor)]

    def attempts(self, processor: Named, event: Sent | Event[Any]) -> int:
        """How many attempts of a processor at an event have failed."""
        name = self._processor(processor).name
        return sum(
            (each.processor, each.partition, each.event) == (name, event.partition, event.id)
            for each in self._engine.failures
        )

    def lag(self, processor: Named) -> int:
        """How many events a processor has not committed."""
        return self._engine.lag(self._processor(processor))

    # Parts

    @property
    def _engine(self) -> Engine:
        if self._running is None:
            raise ConfigError("a test runs inside `async with app.test() as t:`")
        return self._running

    def _processor(self, named: Named) -> Processor:
        """The processor with this name or function. Raises ConfigError."""
        found = [
            each for each in self._app.processors.values() if named in (each.name, each.function)
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(each.name for each in found or self._app.processors.values())
        raise ConfigError(
            f"{named!r} is {'several processors' if found else 'no processor'} of app "
            f"{self._app.name}: name one of {names or 'none'}"
        )
