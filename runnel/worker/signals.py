"""Ends a worker on SIGTERM and SIGINT in a program of a user that has asked for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from runnel.errors import ConfigError
from runnel.worker import forks


class Signals:
    """The first signal ends the worker. A second one does what it did before, such as to raise
    KeyboardInterrupt or to end the process."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}

    def install(self, end: Callable[[], None]) -> None:
        """From now on a signal calls `end`. Raises ConfigError in another thread than the main."""
        if threading.current_thread() is not threading.main_thread():
            raise ConfigError(
                "signals=True works in the main thread only, because Python handles signals there"
            )

        def received(number: int, frame: FrameType | None) -> None:
            self.restore()
            end()

        for number in forks.ENDING:
            self._before[number] = signal.signal(number, received)

    def restore(self) -> None:
        """Put the handlers back that were there before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}
