"""A thread that keeps a session alive while user code blocks the event loop."""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from redis.exceptions import RedisError

logger = logging.getLogger("runnel.worker")


class Vouched(Protocol):
    """A group, as it may be used from another thread."""

    @property
    def session(self) -> float:
        """Seconds that a session of the group lasts."""
        ...

    def silence(self) -> float:
        """Seconds for which the event loop has not run."""
        ...

    def vouch(self) -> None:
        """Heartbeat in its place. Raises redis-py's errors, ProtocolError or OSError."""
        ...


class Voucher(threading.Thread):
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

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def run(self) -> None:
        """Look now and then."""
        while not self._stopped.wait(self._group.session / 6):
            self.look()

    def look(self) -> None:
        """Vouch, but only in place of a silent loop."""
        silent = self._group.silence()
        if silent < self._group.session / 2:
            return
        if silent > self._max_block:
            logger.error(
                "the event loop was blocked for %.0f s, longer than max_block: no longer vouching "
                "for this worker",
                silent,
            )
            return
        try:
            self._group.vouch()
        except (RedisError, OSError) as error:
            logger.warning("heartbeat from the side not answered: %s", error)
