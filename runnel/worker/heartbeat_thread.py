"""A thread that keeps a session alive while user code blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Protocol

from redis.exceptions import RedisError

from runnel.errors import ProtocolError
from runnel.log import logger_of
from runnel.worker.outage_log import Unanswered

logger = logger_of("runnel.worker")


class Beating(Protocol):
    """A member, as another thread may use it."""

    @property
    def session(self) -> float:
        """Seconds that a session of the group lasts."""
        ...

    def idle_for(self) -> float:
        """Seconds for which the event loop has not run."""
        ...

    def beat(self) -> None:
        """Send one heartbeat in place of the event loop.

        Raises redis-py's errors, ProtocolError or OSError.
        """
        ...


class HeartbeatThread(threading.Thread):
    """Sends heartbeats when the event loop has not run for half a session.

    The session is the group's, and may change. After `max_block` seconds the loop counts as stuck
    for good: the thread stops, and the partitions move to other workers.
    """

    def __init__(
        self, group: Beating, max_block: float, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(name="runnel-heartbeat", daemon=True)
        self._loop = loop
        self._group = group
        self._max_block = max_block
        self._stopped = threading.Event()
        #: For how long the loop was blocked when it was last seen to be, beyond `max_block`.
        self._stuck = 0.0
        self._calls = Unanswered("heartbeats in place of the event loop's")

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def run(self) -> None:
        """Check the event loop six times a session."""
        while not self._stopped.wait(self._group.session / 6):
            self.check()

    def check(self) -> None:
        """Send a heartbeat if the event loop is blocked."""
        silent, stuck = self._group.idle_for(), self._stuck
        if silent < self._group.session / 2:
            if stuck:
                logger.warning("the event loop runs again, after more than %.0f s", stuck)
            self._stuck = 0.0
            return
        if silent > self._max_block:
            if self._loop_runs():
                return  # It waits for Redis, and what waits for an answer says so.
            self._stuck = silent
            if not stuck:
                logger.error(
                    "the event loop has been blocked for %.0f s, longer than max_block: the "
                    "partitions of this worker go to other workers",
                    silent,
                )
            return
        try:
            self._group.beat()
            self._calls.answered("heartbeat")
        except (RedisError, OSError, ProtocolError) as error:
            self._calls.failed("heartbeat", error)

    def _loop_runs(self) -> bool:
        """Does the loop take a turn when it is asked to?"""
        if self._loop is None or self._stuck:
            return False
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # It is closed.
            return False
        return turned.wait(self._group.session / 6)
