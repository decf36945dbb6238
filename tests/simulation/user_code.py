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


class Broken(Exception):
    """What a handler raises of its own."""


class Told(Protocol):
    """What middleware must know of the application."""

    mended: bool

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


async def patient_next(iterator: AsyncIterator[Any], patience: float | None) -> Any:
    """The next item, or None at the end. With `patience` each wait is given up after so many
    seconds, and begun again."""
    while True:
        try:
            async with asyncio.timeout(patience):
                return await anext(iterator)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            await asyncio.sleep(_PAUSE)


class Around(Middleware):
    """Middleware of one kind around the events of one processor."""

    def __init__(self, app: Told, name: str, kind: str) -> None:
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
        if self._app.mended or not events or events[0].record.number % 7 != 3:
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
