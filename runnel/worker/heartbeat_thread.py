"""A thread that sends heartbeats while user code blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Protocol

from redis.exceptions import RedisError

from runnel.errors import ProtocolError
from runnel.log import logger_of
from runnel.worker.outage_log import Unanswered

logger = logger_of("runnel.worker")


class HeartbeatMember(Protocol):
    """A member, as another thread may use it."""

    @property
    def session_seconds(self) -> float:
        """Seconds that a session of the group lasts."""
        ...

    def blocked_for(self) -> float:
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
    for good: the thread sends no more heartbeats, and the partitions move to other workers.
    """

    def __init__(
        self,
        member: HeartbeatMember,
        max_block: float,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(name="runnel-heartbeat", daemon=True)
        self._loop = loop
        self._member = member
        self._max_block = max_block
        self._stopped = threading.Event()
        #: For how long the loop was blocked at the last check, if longer than `max_block`, else 0.
        self._stuck = 0.0
        self._calls = Unanswered("heartbeats in place of the event loop's")
        #: The fields that log lines have where this is made. Not `_context`: threads of Python 3.14
        #: have one of their own, which runs this one.
        self._log_fields = copy_context()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def run(self) -> None:
        """Check the event loop six times per session."""
        self._log_fields.run(self._run)

    def _run(self) -> None:
        while not self._stopped.wait(self._member.session_seconds / 6):
            self.check()

    def check(self) -> None:
        """Send a heartbeat if the event loop is blocked."""
        idle, stuck = self._member.blocked_for(), self._stuck
        if idle < self._member.session_seconds / 2:
            if stuck:
                logger.warning("the event loop runs again, after more than %.0f s", stuck)
            self._stuck = 0.0
            return
        if idle > self._max_block:
            if self._loop_runs():
                return  # The heartbeat waits for Redis, and `outage_log` reports that.
            self._stuck = idle
            if not stuck:
                logger.error(
                    "the event loop has been blocked for %.0f s, longer than max_block: the "
                    "partitions of this worker go to other workers",
                    idle,
                )
            return
        try:
            self._member.beat()
            self._calls.answered("heartbeat")
        except (RedisError, OSError, ProtocolError) as error:
            self._calls.failed("heartbeat", error)

    def _loop_runs(self) -> bool:
        """Does the loop run a callback?"""
        if self._loop is None or self._stuck:
            return False
        called = threading.Event()
        try:
            self._loop.call_soon_threadsafe(called.set)
        except RuntimeError:  # It is closed.
            return False
        return called.wait(self._member.session_seconds / 6)
