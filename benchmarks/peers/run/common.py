"""What the processes of all peers have in common.

Standard library only, and fit for Python 3.8: each process runs in an environment of its own, which
does not have this project's packages.

    python with_PEER.py preload|one|batch|listen|paced|send|send-many COUNT

The URL of the server is in PEER_REDIS_URL. Reports go to stdout as lines of JSON, with times of the
system's monotonic clock.
"""

from __future__ import annotations

import asyncio
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
    """Counts handled events, and reports their rate. The clock starts after the first tenth."""

    def __init__(self, events: int) -> None:
        self._warmup = events // 10
        self._events = events
        self._count = self._first = 0
        self._started = 0.0

    def hit(self, sent: Any = None, count: int = 1) -> None:
        """Count so many more."""
        before, self._count = self._count, self._count + count
        if before < self._warmup <= self._count:
            self._started, self._first = time.monotonic(), self._count
        if before < self._events <= self._count:
            seconds = time.monotonic() - self._started
            say(rate=(self._events - self._first) / seconds)


class Peer(ABC):
    """One library."""

    async def connect(self) -> None:  # noqa: B027 - most have nothing to do.
        """Get ready to send."""

    def make(self, values: Values) -> Any:
        """The record to send; making it is not timed."""
        return values

    @abstractmethod
    async def send(self, record: Any) -> None:
        """Send one."""

    @abstractmethod
    async def send_many(self, records: list[Any]) -> None:
        """Send a thousand, in the way that the library has for it."""

    @abstractmethod
    def work(self, action: str, handled: Callable[..., None]) -> None:
        """Run its worker until killed, with a handler of one event, or of up to a hundred for the
        action ``batch``. The handler calls `handled` with the time at which its event was sent, or
        with the `count` of its events."""

    def run(self, work: Any) -> None:
        """Run a coroutine that sends."""
        asyncio.run(work)


def main(peer: Peer) -> None:
    """Do what the command line says."""
    action, count = sys.argv[1], int(sys.argv[2])
    if action in ("one", "batch"):
        peer.work(action, Counter(count).hit)
    elif action == "listen":
        _listen(peer)
    elif action == "preload":
        peer.run(_preload(peer, count))
    elif action == "paced":
        peer.run(_paced(peer, count))
    else:
        peer.run(_timed(peer, count, 1 if action == "send" else BULK))


def _listen(peer: Peer) -> None:
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
    peer.work("listen", handled)


async def _preload(peer: Peer, count: int) -> None:
    await peer.connect()
    for first in range(0, count, BULK):
        numbers = range(first, min(first + BULK, count))
        await peer.send_many([peer.make(order(number)) for number in numbers])
    say(sent=count)


async def _paced(peer: Peer, count: int) -> None:
    """The records of the warm-up have `sent` 0."""
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
