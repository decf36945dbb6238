"""Handlers and middleware of users, with errors that Runnel must not mistake for its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from redis.exceptions import ConnectionError

from runnel.errors import Fenced, Full
from runnel.middleware import Middleware
from runnel.protocol import Token
from tests.simulation.handled import Spot
from tests.simulation.history import History
from tests.simulation.stored import Partition

#: Seconds until a handler that stopped waiting for an event asks again.
_PAUSE = 0.01
_LONGEST_PAUSE = 0.1
#: Seconds by which the patience grows after each wait without an event.
PATIENCE_STEP = 0.001
#: Seconds after which a handler that should have been cancelled counts as never cancelled.
_FOR_EVER = 1000.0


class Broken(Exception):
    """An error of the handler itself."""


class ContinuesAfterCancel(Exception):
    """Never reaches Runnel: the handler was cancelled, and continues with its work undone."""


class ApplicationView(Protocol):
    """The part of the application that middleware uses."""

    handlers_fixed: bool

    def spot(self, name: str, partition: int) -> Spot: ...

    def token(self, name: str, partition: int) -> Token: ...

    def history(self) -> History: ...

    def committed(self, spot: Spot, id_: str) -> bool: ...

    def at(self, spot: Spot) -> Partition: ...

    def more_to_come(self, name: str, partition: int) -> bool: ...


async def fail(kind: str, number: int) -> None:
    """Raise the error that `kind` names in the scenario."""
    errors: dict[str, BaseException] = {
        "own": Broken(f"{number} fails"),
        "refusal": Full(f"FULL processor=another number={number}"),
        "fenced": Fenced("FENCED epoch=1"),
        "cancelled": asyncio.CancelledError(f"{number} is cancelled by nobody"),
        "exit": GeneratorExit(f"{number} exits"),
        "group": BaseExceptionGroup("several", [Broken(f"{number} fails"), GeneratorExit()]),
        "connection": ConnectionError(f"{number} has lost its own connection"),
        "timeout": TimeoutError(f"{number} took too long"),
    }
    raise errors[kind]


async def hang(kind: str) -> None:
    """Sleep longer than any time limit. When cancelled, end or continue, as `kind` says."""
    try:
        await asyncio.sleep(_FOR_EVER)
    except asyncio.CancelledError:
        if kind == "goes_on":
            raise ContinuesAfterCancel from None
        raise


async def patient_next(
    iterator: AsyncIterator[Any], patience: float | None, step: float = 0.0
) -> Any:
    """The next item, or None at the end. With `patience`, each wait stops after that many seconds
    and starts again, each time with `step` more seconds. The pauses in between grow: else half of a
    simulation would be such waits."""
    pause = _PAUSE
    while True:
        try:
            async with asyncio.timeout(patience):
                return await anext(iterator)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            patience = None if patience is None else patience + step


class RequestRecorder(Middleware):
    """The innermost middleware of a processor with other middleware: records when the handler
    asks for more."""

    def __init__(self, app: ApplicationView, name: str) -> None:
        self._app = app
        self._name = name

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield each item."""
        async for item in parent:
            events = item if isinstance(item, list) else [item]
            if not events:
                yield item
                continue
            spot = self._app.spot(self._name, events[0].partition)
            token = self._app.token(self._name, events[0].partition)
            yield item
            self._app.history().asked_for_more(spot, token)


class UserMiddleware(Middleware):
    """Middleware of one kind for one processor."""

    def __init__(self, app: ApplicationView, name: str, kind: str) -> None:
        self._app = app
        self._name = name
        self._kind = kind
        #: First events of the lists after which it has failed.
        self._failed: set[tuple[Spot, str]] = set()

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield each item."""
        if self._kind == "holds":
            parent = self._held(parent)
        async for item in parent:
            if self._kind == "awaits":
                await asyncio.sleep(0.003)
            try:
                yield item
            except Exception as error:
                if self._kind == "converts":
                    raise KeyError("something else") from error
                if self._kind != "swallows":
                    raise
                continue
            if self._kind == "awaits":
                await asyncio.sleep(0.003)
            if self._kind == "fails":
                self._fail(item if isinstance(item, list) else [item])

    async def _held(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Hold an item back until another one is there, if one is to come at once."""
        held: list[Any] = []
        async for item in parent:
            held.append(item)
            events = item if isinstance(item, list) else [item]
            follows = events and self._app.more_to_come(self._name, events[0].partition)
            if len(held) == 1 and follows:
                continue
            for each in held:
                yield each
            held = []

    def _fail(self, events: Sequence[Any]) -> None:
        """Fail once after some of the events that the handler has finished."""
        if self._app.handlers_fixed or not events or events[0].record.number % 7 != 3:
            return
        spot = self._app.spot(self._name, events[0].partition)
        if (spot, events[0].id) in self._failed:
            return
        self._failed.add((spot, events[0].id))
        token, history = self._app.token(self._name, events[0].partition), self._app.history()
        if not self._app.committed(
            spot, events[-1].id
        ):  # Unless the handler committed them: then they cannot fail any more.
            partition = self._app.at(spot)
            history.undo(spot, token, [each.id for each in events], partition)
            if len(events) == 1:
                history.failures[spot, events[0].id] += 1
        raise Broken(f"after {events[0].record.number}")
