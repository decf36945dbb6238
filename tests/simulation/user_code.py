"""What users write around their events, of which nothing may be taken for what it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from redis.exceptions import ConnectionError

from runnel.errors import Fenced, Full
from runnel.middleware import Middleware
from runnel.protocol import Token
from tests.simulation.history import History, Spot

#: Seconds until somebody who gave up waiting for an event asks again.
_PAUSE = 0.01
#: By how much more patience somebody has after each wait that was in vain.
PATIENCE_STEP = 0.001
#: Seconds in which any handler is ended that has to be.
_FOR_EVER = 1000.0


class Broken(Exception):
    """What a handler raises of its own."""


class ContinuesAfterCancel(Exception):
    """Not seen by Runnel: a handler was cancelled and goes on, with nothing done."""


class ApplicationView(Protocol):
    """What middleware must know of the application."""

    handlers_fixed: bool

    def spot(self, name: str, partition: int) -> Spot: ...

    def token(self, name: str, partition: int) -> Token: ...

    def history(self) -> History: ...

    def committed(self, spot: Spot, id_: str) -> bool: ...


async def fail(kind: str, number: int) -> None:
    """Raise what a failing handler may raise, by the name that the scenario has for it."""
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
    """Be at work for longer than anybody may, and then for as long as nobody cancels this."""
    try:
        await asyncio.sleep(_FOR_EVER)
    except asyncio.CancelledError:
        if kind == "goes_on":
            raise ContinuesAfterCancel from None
        raise


async def patient_next(
    iterator: AsyncIterator[Any], patience: float | None, step: float = 0.0
) -> Any:
    """The next item, or None at the end. With `patience` each wait is given up after so many
    seconds, and begun again, each time with so much `more` of it."""
    while True:
        try:
            async with asyncio.timeout(patience):
                return await anext(iterator)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            await asyncio.sleep(_PAUSE)
            patience = None if patience is None else patience + step


class RequestRecorder(Middleware):
    """The innermost middleware of a processor that has others: notes when more is asked for."""

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
    """Middleware of one kind around the events of one processor."""

    def __init__(self, app: ApplicationView, name: str, kind: str) -> None:
        self._app = app
        self._name = name
        self._kind = kind
        #: Events after which it has failed once.
        self._failed: set[tuple[Spot, str]] = set()

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield each item."""
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

    def _fail(self, events: Sequence[Any]) -> None:
        """Fail once after some of the events that their handler has finished."""
        if self._app.handlers_fixed or not events or events[0].record.number % 7 != 3:
            return
        spot = self._app.spot(self._name, events[0].partition)
        if (spot, events[0].id) in self._failed:
            return
        self._failed.add((spot, events[0].id))
        token, history = self._app.token(self._name, events[0].partition), self._app.history()
        if not self._app.committed(spot, events[-1].id):  # By its handler, which then may not fail.
            history.undo(spot, token, [each.id for each in events])
            if len(events) == 1:
                history.failures[spot, events[0].id] += 1
        raise Broken(f"after {events[0].record.number}")
