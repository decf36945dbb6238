"""A thread that keeps a session alive while user code blocks the event loop."""

from __future__ import annotations

import threading
from typing import Protocol

from redis.exceptions import RedisError

from runnel.errors import ProtocolError
from runnel.log import logger_of
from runnel.worker.outage_log import Unanswered

logger = logger_of("runnel.worker")


class Vouched(Protocol):
    """A group, as it may be used from another thread."""

    @property
    def session(self) -> float:
        """Seconds that a session of the group lasts."""
        ...

    def idle_for(self) -> float:
        """Seconds for which the event loop has not run."""
        ...

    def beat(self) -> None:
        """Heartbeat in its place. Raises redis-py's errors, ProtocolError or OSError."""
        ...


class HeartbeatThread(threading.Thread):
    """Vouches for a group when the event loop has been silent for half a session, which is the
    group's and may become another.

    After `max_block` seconds the loop counts as stuck for good, and its partitions go to other
    workers.
    """

    def __init__(self, group: Vouched, max_block: float) -> None:
        super().__init__(name="runnel-voucher", daemon=True)
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
        """Look now and then."""
        while not self._stopped.wait(self._group.session / 6):
            self.look()

    def look(self) -> None:
        """Vouch, but only in place of a silent loop."""
        silent, stuck = self._group.idle_for(), self._stuck
        if silent < self._group.session / 2:
            if stuck:
                logger.warning("the event loop runs again, after more than %.0f s", stuck)
            self._stuck = 0.0
            return
        if silent > self._max_block:
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
