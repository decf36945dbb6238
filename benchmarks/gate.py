"""The start and end of a measured run, and latencies, inside the process under measurement."""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
import threading
import time

from benchmarks.job import Job, collector, say


class Gate:
    """Holds all handlers back until the harness says ``go`` on stdin; then counts their events.

    Reports when the clock starts and when the last event was handled.
    """

    def __init__(self, job: Job) -> None:
        self._events = job.events
        self._warmup = job.warmup
        self._left: float = job.warmup or job.events or math.inf
        self._open = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._numbers = itertools.count(1)
        threading.Thread(target=self._listen, daemon=True).start()

    async def wait(self) -> None:
        """Wait until it opens."""
        if not self._open.is_set():
            opened = asyncio.Event()
            self._waiting.append((asyncio.get_running_loop(), opened))
            await opened.wait()

    def wait_in_thread(self) -> None:
        """The same for a plain function in a thread."""
        if not self._open.is_set():
            self._open.wait()

    def hit(self, count: int = 1) -> None:
        """Count events that were handled."""
        self._left -= count
        if self._left <= 0:
            self._reached()

    def hit_in_thread(self) -> None:
        """Count one event that was handled in some thread."""
        if next(self._numbers) == self._events:
            say(handled=time.monotonic())

    def _reached(self) -> None:
        if not self._warmup:
            self._left = math.inf
            say(handled=time.monotonic())
            return
        say(started=time.monotonic())
        self._left += self._events - self._warmup if self._events else math.inf
        self._warmup = 0

    def _listen(self) -> None:
        for line in sys.stdin:
            if line.strip() == "go":
                break
        else:
            return
        say(collector=collector())
        if not self._warmup:
            say(started=time.monotonic())
        self._open.set()
        for loop, opened in self._waiting:
            loop.call_soon_threadsafe(opened.set)


class Times:
    """The latencies of a reader: reported when stdin says ``report``, with the garbage collector's
    settings."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float]] = []
        threading.Thread(target=self._report, daemon=True).start()

    def add(self, sent: float, handled: float, committed: float) -> None:
        """Add one event's times. Events of the warm-up have `sent` 0 and are left out."""
        if sent:
            self._samples.append((handled - sent, committed - sent))

    def _report(self) -> None:
        for line in sys.stdin:
            if line.strip() == "report":
                say(latencies=self._samples, collector=collector())
