"""What the peers' processes have in common. Standard library only, and fit for Python 3.8: each
runs in an environment of its own, where this project's packages are not.

    python with_PEER.py preload|work|listen|paced|send|send-many COUNT VARIANT

The server's URL is in PEER_REDIS_URL. What there is to say goes to stdout as lines of JSON, with
times of the system's monotonic clock.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

URL = os.environ["PEER_REDIS_URL"]
BULK = 1000
#: Events a second where latency is measured.
RATE = 200
_START = datetime(2026, 1, 1, tzinfo=timezone.utc)  # noqa: UP017

#: Field -> value.
Values = dict


def say(**what: Any) -> None:
    """One line to the harness."""
    print(json.dumps(what), flush=True)


def order(number: int) -> Values:
    """The small record of all measures; its date as text, as most peers carry it."""
    created = (_START + timedelta(milliseconds=number)).isoformat()
    return {"order_id": number, "created_at": created, "amount": number % 1000}


class Counter:
    """Counts handled events: the first tenth is warm-up. Handlers may be threads."""

    def __init__(self, events: int) -> None:
        self._warmup = events // 10
        self._events = events
        self._count = 0
        self._numbers = itertools.count(1)

    def hit(self, count: int = 1) -> None:
        """So many were handled, in an event loop."""
        before, self._count = self._count, self._count + count
        self._passed(before, self._count)

    def hit_in_thread(self) -> None:
        """One was handled in some thread."""
        number = next(self._numbers)
        self._passed(number - 1, number)

    def _passed(self, before: int, now: int) -> None:
        if before < self._warmup <= now:
            say(started=time.monotonic(), events=self._events - now)
        if before < self._events <= now:
            say(handled=time.monotonic())


class Peer(ABC):
    """One library. `work` runs its worker until killed, and calls back for each event, with the
    time that its record says it was sent, or with a number of events at once."""

    async def connect(self) -> None:  # noqa: B027 - most have nothing to do.
        """Be ready to send."""

    def make(self, values: Values) -> Any:
        """What `send` takes; not part of any time."""
        return values

    @abstractmethod
    async def send(self, record: Any) -> None:
        """Send one."""

    @abstractmethod
    async def send_many(self, records: list[Any]) -> None:
        """Send a thousand, in the way that the library has for it."""

    @abstractmethod
    def work(self, variant: str, handled: Callable[..., None]) -> None:
        """Run the worker."""

    def run(self, work: Any) -> None:
        """Run a coroutine that sends."""
        asyncio.run(work)


def main(peer: Peer) -> None:
    """Do what the command line says."""
    action, count, variant = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if action == "work":
        counter = Counter(count)
        if variant.endswith("threads"):
            peer.work(variant, lambda sent=None: counter.hit_in_thread())
        else:
            peer.work(variant, lambda sent=None, count=1: counter.hit(count))
    elif action == "listen":
        _listen(peer, variant)
    elif action == "preload":
        peer.run(_preload(peer, count))
    elif action == "paced":
        peer.run(_paced(peer, count))
    else:
        peer.run(_timed(peer, count, 1 if action == "send" else BULK))


def _listen(peer: Peer, variant: str) -> None:
    latencies: list[float] = []
    warm = threading.Event()

    def handled(sent: float | None = None, count: int = 1) -> None:
        now = time.monotonic()
        if sent:
            latencies.append(now - float(sent))
        elif not warm.is_set():
            warm.set()
            say(ready=True)

    def report() -> None:
        for line in sys.stdin:
            if line.strip() == "report":
                say(latencies=latencies)

    threading.Thread(target=report, daemon=True).start()
    peer.work(variant, handled)


async def _preload(peer: Peer, count: int) -> None:
    await peer.connect()
    for first in range(0, count, BULK):
        numbers = range(first, min(first + BULK, count))
        await peer.send_many([peer.make(order(number)) for number in numbers])
    say(sent=count)


async def _paced(peer: Peer, count: int) -> None:
    """Those of the warm-up say that they were sent at 0."""
    await peer.connect()
    for number in range(100):
        await peer.send(peer.make({**order(number), "sent": 0.0}))
    say(ready=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    began = time.monotonic()
    for number in range(count):
        delay = began + number / RATE - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        await peer.send(peer.make({**order(number), "sent": time.monotonic()}))
    await asyncio.sleep(1.0)  # So that the last one arrives.
    say(sent=count)


async def _timed(peer: Peer, count: int, size: int) -> None:
    await peer.connect()
    records = [peer.make(order(number)) for number in range(count)]
    await peer.send(records[0])
    began = time.perf_counter()
    if size == 1:
        for record in records:
            await peer.send(record)
    else:
        for first in range(0, count, size):
            await peer.send_many(records[first : first + size])
    say(rate=count / (time.perf_counter() - began))
