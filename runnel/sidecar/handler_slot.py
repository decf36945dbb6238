"""Handler processes that start again when they have died, and which of their events is to blame."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from runnel.errors import ConfigError, HandlerDied
from runnel.log import logger_of
from runnel.sidecar.handler_process import HandlerProcess
from runnel.sidecar.wire import Json

logger = logger_of("runnel.handler")

#: Seconds until a handler that has died starts again; doubled for each further time, until it has
#: written a result.
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
#: Seconds for which a handler that was started first is watched: one that cannot work ends at once,
#: because of a syntax error or a missing library.
SETTLE = 0.3


class HandlerSlot:
    """A handler process, and those that take its place.

    If it dies and had several events, any of them may be the reason. None of them has failed then:
    each is sent again, one at a time, and only one during which it dies again has failed.
    """

    def __init__(self, command: Sequence[str], number: int, timeout: float) -> None:
        self._command = command
        self._number = number
        self._timeout = timeout
        self._ids = itertools.count(1)
        self._process: HandlerProcess | None = None
        self._starting = asyncio.Lock()
        self._deaths = 0
        self._start_at = 0.0
        #: Events that may have killed it, and that were not answered since.
        self._suspects = 0
        self._no_suspects = asyncio.Event()
        self._no_suspects.set()
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Start it for the first time. Raises ConfigError if it cannot be started, or ends at once:
        it would fail with every event."""
        try:
            process = await HandlerProcess.start(self._command, self._number, self._timeout)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the handler {self._command[0]!r} cannot be started: "
                f"{getattr(error, 'strerror', None) or error}; --exec takes a program and its "
                "arguments, without a shell"
            ) from error
        self._process = process
        if await process.ended_within(SETTLE):
            raise ConfigError(
                "the handler failed as soon as it was started, and what it wrote to stderr is in "
                f"the log: {process.died}"
            )

    async def close(self) -> None:
        """End it."""
        if self._process is not None:
            await self._process.close()

    async def ask(self, make: Callable[[int], bytes]) -> Json:
        """The result for a request, whose line `make` makes from its id. Raises HandlerDied for a
        request during which it dies."""
        while True:
            process = await self._running()
            if not self._no_suspects.is_set():
                await self._no_suspects.wait()
                continue
            try:
                return await self._send(process, make)
            except HandlerDied as error:
                if error.alone:
                    raise
                if error.given:
                    break
            await asyncio.sleep(0)  # Whatever is wrong with it, the rest of the worker goes on.
        async with self._suspected():
            return await self._ask_alone(make)

    @asynccontextmanager
    async def _suspected(self) -> AsyncIterator[None]:
        self._suspects += 1
        self._no_suspects.clear()
        try:
            async with self._turn:
                yield
        finally:
            self._suspects -= 1
            if not self._suspects:
                self._no_suspects.set()

    async def _ask_alone(self, make: Callable[[int], bytes]) -> Json:
        """The result for a request that may have killed the process, while it has no other."""
        while True:
            try:
                return await self._send(await self._running(), make)
            except HandlerDied as error:
                # Else it had died before, or had a request whose caller was cancelled.
                if error.alone:
                    raise
            await asyncio.sleep(0)

    async def _send(self, process: HandlerProcess, make: Callable[[int], bytes]) -> Json:
        number = next(self._ids)
        return await process.ask(number, make(number))

    async def _running(self) -> HandlerProcess:
        """The process; started again if it has died. Raises HandlerDied if that is impossible."""
        async with self._starting:
            process = self._process
            if process is not None and not process.died:
                return process
            loop = asyncio.get_running_loop()
            if process is not None:
                self._deaths = 1 if process.results else self._deaths + 1
                self._plan(loop.time())
                self._process = None
            await asyncio.sleep(max(0.0, self._start_at - loop.time()))
            try:
                started = await HandlerProcess.start(self._command, self._number, self._timeout)
            except OSError as error:
                self._deaths += 1
                self._plan(loop.time())
                raise HandlerDied(f"the handler cannot be started: {error}") from error
            self._process = started
            return started

    def _plan(self, now: float) -> None:
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self._deaths - 1, 10))
        self._start_at = now + delay
        logger.warning("handler %d starts again in %g s", self._number, delay)


class Handlers:
    """Handler processes. A partition always has the same one, which may remember what it likes."""

    def __init__(self, command: Sequence[str], count: int, timeout: float) -> None:
        self._options = (command, timeout)
        self._count = count
        self._slots: list[HandlerSlot] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start them before a block, and end them after it. Raises ConfigError."""
        command, timeout = self._options
        self._slots = [HandlerSlot(command, number, timeout) for number in range(self._count)]
        try:
            for each in self._slots:
                await each.start()
            yield
        finally:
            with suppress(Exception):
                await asyncio.gather(*(each.close() for each in self._slots))

    async def ask(self, partition: int, make: Callable[[int], bytes]) -> Json:
        """The result for a request of a partition. Raises HandlerDied."""
        return await self._slots[partition % len(self._slots)].ask(make)
