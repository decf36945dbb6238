"""Takes and renews the leader lease of an app for one worker."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.errors import ProtocolError
from runnel.log import logger_of
from runnel.protocol.scripts import Scripts
from runnel.worker import outage_log
from runnel.worker.cancelling import cancel_and_wait

logger = logger_of("runnel.tasks")

#: Calls a function at each message of a channel, until cancelled.
Listen = Callable[[str, Callable[[], None]], Awaitable[None]]

#: Seconds that the release of the lease may take when a leader leaves.
LEAVE_TIMEOUT = 1.0


class LeaderElection:
    """Takes the leader lease when no worker has it, and keeps it. `session_timeout` is in seconds.

    `listen` notices at once that another leader has left; without it, the next call does.
    """

    def __init__(
        self,
        scripts: Scripts,
        app: str,
        member: str,
        session_timeout: float,
        listen: Listen | None = None,
    ) -> None:
        self.leading = asyncio.Event()
        self._scripts = scripts
        self._app = app
        self._member = member
        self._session_timeout = session_timeout
        self._listen = listen
        self._nonce = secrets.token_hex(8)
        #: When the lease may have ended, by the loop's clock.
        self._ends = 0.0
        #: When Redis last answered, in monotonic seconds; None if it has not been asked.
        self._answered: float | None = None

    def problem(self) -> str | None:
        """Why cron tasks may not run although this worker should, or None. Any thread may ask."""
        if self._answered is None or time.monotonic() - self._answered <= self._session_timeout:
            return None
        seconds = time.monotonic() - self._answered
        return f"tasks: no call of the leader election had a reply for {seconds:.0f} s"

    async def run(self) -> None:
        """Take the lease when no worker has it and keep it, until cancelled."""
        hint = asyncio.Event()
        channel = keys.wake(keys.app_scope(self._app))
        listening = [asyncio.ensure_future(self._listen(channel, hint.set))] if self._listen else []
        try:
            while True:
                hint.clear()
                wait = await self._renew()
                try:
                    async with asyncio.timeout(wait):
                        await hint.wait()
                except TimeoutError:
                    pass
        finally:
            await cancel_and_wait(listening)

    async def leave(self, seconds: float = LEAVE_TIMEOUT) -> None:
        """Release the lease, if this worker has it. Call this once `run` has ended."""
        was, self._ends = self._ends, 0.0
        self.leading.clear()
        if not was:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._elect(leave=True)
        except (RedisError, OSError, ProtocolError) as error:
            logger.debug("could not release the leader lease, which will end by itself: %s", error)

    async def _renew(self) -> float:
        """Take or renew the lease. Returns the seconds until the next call."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        try:
            election = await self._elect(leave=False)
        except (RedisError, OSError) as error:
            outage_log.failed("leader election", error)
            if loop.time() >= self._ends:
                self.leading.clear()
            return self._session_timeout / 3
        self._answered = time.monotonic()
        outage_log.answered("leader election")
        if election.leading:
            self._ends = before + self._session_timeout
            self.leading.set()
            return self._session_timeout / 3
        self._ends = 0.0
        self.leading.clear()
        return min(self._session_timeout / 3, election.left_ms / 1000 + 0.01)

    async def _elect(self, leave: bool) -> protocol.Election:
        session_ms = round(self._session_timeout * 1000)
        call = protocol.elect(self._app, self._member, self._nonce, session_ms, leave)
        return protocol.read_elect(await self._scripts.call(call))
