"""Reads the postponed events of held partitions when they are due, for their next try.

Only the owner of a partition postpones events of it, so it knows from one reply to the next when to
look again. What is due stays in Redis until the commit of its try: a worker that dies, or that
hands the partition over, has moved nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.parking import ParkedRaw
from runnel.core.partition import PartitionState
from runnel.errors import ProtocolError
from runnel.log import logger_of
from runnel.processor import Processor
from runnel.protocol import Due
from runnel.worker import outage_log
from runnel.worker.backend import Backend
from runnel.worker.callbacks import Callbacks
from runnel.worker.parked_reads import read_tables

logger = logger_of("runnel.worker")

#: Due events of one read: each may be as large as a record can be.
PAGE = 20
#: Seconds until the next try if Redis does not answer.
RETRY = 1.0
#: Seconds between two looks at most: somebody may have set the clock of the server.
LOOK_EVERY = 60.0


class PostponedReader:
    """A task for each partition that has postponed events, or may have some."""

    def __init__(
        self,
        processor: Processor,
        backend: Backend,
        callbacks: Callbacks,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._processor = processor
        self._backend = backend
        self._callbacks = callbacks
        self._spawn = spawn
        #: For each of these partitions what wakes its task, and the task.
        self._reading: dict[PartitionState, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    def wake(self, state: PartitionState) -> None:
        """The partition may have new postponed events, or none that is due any more."""
        if state in self._reading:
            self._reading[state][0].set()
        else:
            changed = asyncio.Event()
            self._reading[state] = changed, self._spawn(self._read(state, changed))

    def remove(self, state: PartitionState) -> None:
        """The partition is not held any more."""
        if state in self._reading:
            self._reading.pop(state)[1].cancel()

    async def _read(self, state: PartitionState, changed: asyncio.Event) -> None:
        try:
            while state.open and state.parking.postponed:
                changed.clear()
                pause: float | None = None
                if not (state.parking.due or state.replaying):
                    pause = await self._look(state)
                if state.parking.postponed and not changed.is_set():
                    await self._wait(state, changed, pause)
        finally:
            if self._reading.get(state, (None,))[0] is changed:
                del self._reading[state]

    async def _wait(
        self, state: PartitionState, changed: asyncio.Event, pause: float | None
    ) -> None:
        deadlines = self._backend.deadlines((self, state))
        when = None if pause is None else deadlines.now() + pause
        try:
            async with deadlines.at(when):
                await changed.wait()
        except TimeoutError:
            pass

    async def _look(self, state: PartitionState) -> float | None:
        """Take in what is due. Returns the seconds until the next look, None if something else
        comes first."""
        parking = state.parking
        parking.look = False
        limit = min(100, PAGE + len(parking.known_due))
        try:
            found = protocol.read_due(await self._backend.call(protocol.due(state.keys, limit)))
            await read_tables(
                self._backend, self._processor, state, list(map(ParkedRaw, found.events))
            )
        except ProtocolError as refusal:
            logger.error("postponed events cannot be read: %s", refusal)
            return LOOK_EVERY
        except (RedisError, OSError) as error:
            outage_log.failed("look for postponed events", error)
            return RETRY
        outage_log.answered("look for postponed events")
        self._log_gone(state, found)
        if not state.open:
            return None
        state.add_due(found.events)
        if parking.due:
            self._callbacks.on_change(state)
        if found.next_in is not None:
            return min(found.next_in / 1000, LOOK_EVERY)
        parking.postponed = bool(found.events) or parking.look
        return LOOK_EVERY if found.events else None

    def _log_gone(self, state: PartitionState, found: Due) -> None:
        if found.gone:
            logger.warning(
                "processor %s, partition %d: %d postponed events were removed by another program, "
                "or by a client that does not postpone events",
                self._processor.name,
                state.partition,
                found.gone,
                extra={"partition": state.partition},
            )
