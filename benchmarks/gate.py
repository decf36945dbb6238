"""Inside a process under measurement: waits for the start, counts events, reports the end.

Handlers wait at the gate until all partitions are held; the line ``go`` on stdin opens it. What
there is to say goes to stdout, as lines of JSON, with times of the system's monotonic clock.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import sys
import threading
import time
from typing import Any

from benchmarks.job import Job, collector
from benchmarks.sampler import Sampler


class Gate:
    """One for each process."""

    def __init__(self, job: Job) -> None:
        self._events = job.events
        self._warmup = job.warmup
        self._left: float = job.warmup or job.events or math.inf
        self._open = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._numbers = itertools.count(1)
        self._sampler = Sampler() if job.profile else None
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
        """So many events were handled."""
        self._left -= count
        if self._left <= 0:
            self._reached()

    def hit_in_thread(self) -> None:
        """One event was handled in some thread."""
        if next(self._numbers) == self._events:
            self._handled()

    def _reached(self) -> None:
        if not self._warmup:
            self._left = math.inf
            self._handled()
            return
        say(started=time.monotonic())
        self._left += self._events - self._warmup if self._events else math.inf
        self._warmup = 0

    def _handled(self) -> None:
        say(handled=time.monotonic())
        if self._sampler:
            say(profile=self._sampler.stop())

    def _listen(self) -> None:
        for line in sys.stdin:
            if line.strip() == "go":
                break
        else:
            return
        say(collector=collector())
        if self._sampler:
            self._sampler.start()
        if not self._warmup:
            say(started=time.monotonic())
        self._open.set()
        for loop, opened in self._waiting:
            loop.call_soon_threadsafe(opened.set)


def say(**what: Any) -> None:
    """One line to the harness, in one piece: others may write to the same pipe."""
    os.write(sys.stdout.fileno(), f"{json.dumps(what)}\n".encode())


class Times:
    """Inside a process whose latency is measured. When stdin says ``report`` it tells what it has
    seen, and how the garbage collector is set."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float]] = []

    def ready(self) -> None:
        """From now on the process is."""
        say(ready=True)
        threading.Thread(target=self._report, daemon=True).start()

    def add(self, sent: float, handled: float, committed: float) -> None:
        """One event's times. Those of a warm-up were sent at 0."""
        if sent:
            self._samples.append((handled - sent, committed - sent))

    def _report(self) -> None:
        for line in sys.stdin:
            if line.strip() == "report":
                say(latencies=self._samples, collector=collector())
