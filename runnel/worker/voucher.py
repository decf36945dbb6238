"""A thread that keeps a session alive while user code blocks the event loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from redis.exceptions import RedisError

from runnel.settings import Settings

logger = logging.getLogger("runnel.worker")


class Voucher(threading.Thread):
    """Calls `vouch` when the event loop has been silent for half a session.

    `silence` tells for how many seconds. After `max_block` seconds the loop counts as stuck for
    good, and its partitions go to other workers.
    """

    def __init__(
        self, settings: Settings, vouch: Callable[[], None], silence: Callable[[], float]
    ) -> None:
        super().__init__(name="runnel-voucher", daemon=True)
        self._session = settings.session
        self._max_block = settings.max_block
        self._vouch = vouch
        self._silence = silence
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def run(self) -> None:
        """Look now and then; vouch only in place of a silent loop."""
        while not self._stopped.wait(self._session / 6):
            silent = self._silence()
            if silent < self._session / 2:
                continue
            if silent > self._max_block:
                logger.error(
                    "the event loop was blocked for %.0f s, longer than max_block: no longer "
                    "vouching for this worker",
                    silent,
                )
                continue
            try:
                self._vouch()
            except (RedisError, OSError) as error:
                logger.warning("heartbeat from the side not answered: %s", error)
