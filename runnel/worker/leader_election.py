"""This worker's part in the app's leader lease."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.errors import ProtocolError
from runnel.log import logger_of
from runnel.protocol.scripts import Scripts
from runnel.worker import outage_log
from runnel.worker.cancelling import end

logger = logger_of("runnel.tasks")

#: Calls a function at each message of a channel, until cancelled.
Listen = Callable[[str, Callable[[], None]], Awaitable[None]]

#: Seconds for which a leader that leaves waits for Redis to take note.
GOODBYE = 1.0


class LeaderElection:
    """Takes the lease when it is free, and keeps it. `session` is in seconds.

    `listen` hears of a leader that has left; without it, that is seen at the next look.
    """

    def __init__(
        self, scripts: Scripts, app: str, member: str, session: float, listen: Listen | None = None
    ) -> None:
        self.leading = asyncio.Event()
        self._scripts = scripts
        self._app = app
        self._member = member
        self._session = session
        self._listen = listen
        self._nonce = secrets.token_hex(8)
        #: When the lease may have ended, on the loop's clock.
        self._ends = 0.0

    async def run(self) -> None:
        """Take the lease when it is free and keep it, until cancelled."""
        hint = asyncio.Event()
        channel = keys.wake(keys.app_scope(self._app))
        listening = [asyncio.ensure_future(self._listen(channel, hint.set))] if self._listen else []
        try:
            while True:
                hint.clear()
                wait = await self._look()
                try:
                    async with asyncio.timeout(wait):
                        await hint.wait()
                except TimeoutError:
                    pass
        finally:
            await end(listening)

    async def leave(self, seconds: float = GOODBYE) -> None:
        """Give the lease up, if it is held. To be called once `run` has ended."""
        was, self._ends = self._ends, 0.0
        self.leading.clear()
        if not was:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._ask(leave=True)
        except (RedisError, OSError, ProtocolError) as error:
            logger.debug("the leader lease will end by itself: %s", error)

    async def _look(self) -> float:
        """Ask for the lease. Returns the seconds until the next look."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        try:
            election = await self._ask(leave=False)
        except (RedisError, OSError) as error:
            outage_log.failed("leader's lease", error)
            if loop.time() >= self._ends:
                self.leading.clear()
            return self._session / 3
        outage_log.answered("leader's lease")
        if election.leading:
            self._ends = before + self._session
            self.leading.set()
            return self._session / 3
        self._ends = 0.0
        self.leading.clear()
        return min(self._session / 3, election.left_ms / 1000 + 0.01)

    async def _ask(self, leave: bool) -> protocol.Election:
        session_ms = round(self._session * 1000)
        call = protocol.elect(self._app, self._member, self._nonce, session_ms, leave)
        return protocol.read_elect(await self._scripts.call(call))
