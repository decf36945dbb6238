"""Notices when the machine stands still: then a command that comes too late is not to blame."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import ConnectionError

from runnel.conformance.history import History

_TICK = 0.05


class Stalls:
    """Moments of at least so many seconds in which the kit itself did not run, or the server did
    not answer it; and what else was slow without being under test. They go into the history."""

    def __init__(self, history: History, least: float) -> None:
        self.found: list[str] = []
        self._history = history
        self._least = least

    async def watch(self) -> None:
        """Look for moments in which this process did not run, until the task is cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_TICK)
            self._passed("the kit itself did not run", time.monotonic() - before - _TICK)

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """A call to the server: it takes long if the server stands still, and not if its connection
        is cut, as trials do."""
        began = time.monotonic()
        try:
            yield
        except ConnectionError:
            raise
        except BaseException:
            self._passed(f"the server did not answer {name}", time.monotonic() - began)
            raise
        self._passed(f"the server did not answer {name}", time.monotonic() - began)

    def slow(self, what: str) -> None:
        """Something that is not under test was too slow."""
        self.found.append(what)
        self._history.note(f"stall: {what}")

    def _passed(self, what: str, seconds: float) -> None:
        if seconds >= self._least:
            self.slow(f"{what} for {seconds:.1f} s")
