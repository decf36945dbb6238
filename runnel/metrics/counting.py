"""`Counting`: an observer that counts what an app does in this process, in plain numbers."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from importlib.metadata import version
from time import perf_counter
from typing import Any

from runnel.errors import ProtocolError
from runnel.metrics import tally
from runnel.metrics.tally import SECONDS, Tally
from runnel.observer import Lease, Observer, PartitionObserver, SendObserver
from runnel.protocol.scripts import version as scripts_version


class Counting(Observer):
    """Counts events and sends in `tally`. `build` has the versions of Runnel and of its scripts."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.build = version("runnel"), scripts_version()
        #: Several threads may send.
        self._lock = threading.Lock()

    def partition(self, lease: Lease) -> PartitionObserver:
        """What counts the events of a partition."""
        return _Partition(self.tally, lease)

    def lease_lost(self, app: str, processor: str, reason: str) -> None:
        """Count it."""
        self.tally.counter(tally.LEASES_LOST, app, processor, reason).value += 1

    def called(self, scripts: Sequence[str], seconds: float, outcomes: Sequence[object]) -> None:
        """Count the calls of each script."""
        with self._lock:
            for script in dict.fromkeys(scripts):
                self.tally.histogram(tally.SCRIPT_SECONDS, script).observe(seconds)
            for script, outcome in zip(scripts, outcomes, strict=False):
                code = "OK" if not isinstance(outcome, Exception) else _code(outcome)
                self.tally.counter(tally.SCRIPT_CALLS, script, code).value += 1

    def sending(self, app: str, stream: str, count: int) -> SendObserver:
        """What counts a send."""
        return _Send(self.tally, self._lock, (app, stream))


def _code(error: Exception) -> str:
    """The word of a refusal; the class of any other error, of which there are few."""
    return error.word if isinstance(error, ProtocolError) else type(error).__name__


class _Send(SendObserver):
    def __init__(self, counts: Tally, lock: threading.Lock, labels: tuple[str, str]) -> None:
        self._tally, self._lock, self._labels = counts, lock, labels
        self._began = perf_counter()

    def ended(self, sent: Sequence[Any], error: BaseException | None) -> None:
        seconds, counts, labels = perf_counter() - self._began, self._tally, self._labels
        sent = sent if error is None else getattr(error, "sent", ())
        with self._lock:
            there = sum(each is not None for each in sent)
            counts.counter(tally.SENT, *labels).value += there
            if error is None:
                counts.histogram(tally.SEND_SECONDS, *labels).observe(seconds)
            else:
                kind = type(error).__name__
                counts.counter(tally.SEND_FAILURES, *labels, kind).value += 1


class _Partition(PartitionObserver):
    """Counts the events of one partition under one lease."""

    def __init__(self, counts: Tally, lease: Lease) -> None:
        self._tally = counts
        self._labels = labels = (lease.app, lease.processor)
        self._process = counts.histogram(tally.PROCESS_SECONDS, *labels)
        self._counts = self._process.counts
        self._latency = counts.histogram(tally.LATENCY, *labels)
        self._commit = counts.histogram(tally.COMMIT_SECONDS, *labels)
        self._commit_size = counts.histogram(tally.COMMIT_SIZE, *labels)
        self._ok = counts.counter(tally.PROCESSED, *labels, "ok")
        #: When the events in hand began. The handler may have none, and wait.
        self._began, self._waits = 0.0, True
        #: The same for each event that is processed beside others, by its id.
        self._beside: dict[bytes, float] = {}
        self._is_beside = False
        #: Ids that are finished, and not committed yet; and how many parked events are.
        self._finished: list[bytes] = []
        self._parked = 0
        #: When the commit under way was first sent.
        self._sent_at: float | None = None

    def asked(self, ready: bool) -> None:
        self._waits = True

    def given(self, events: Sequence[Any], limit: int, waiting: int) -> None:
        self._began, self._waits = perf_counter(), False
        if limit > 1:
            self._tally.histogram(tally.BATCH_SIZE, *self._labels).observe(len(events))

    def begins(self, event: Any) -> None:
        self._is_beside = True
        self._beside[event[0]] = perf_counter()

    def ended(self, event: Any, error: BaseException | None) -> None:
        began = self._beside.pop(event[0], None)
        if began is not None:
            self._process.observe(perf_counter() - began)

    def finished(self, events: Sequence[Any]) -> None:
        # For each event of a handler that gets one at a time: as few steps as possible.
        count = len(events)
        if not self._is_beside:
            now = perf_counter()
            seconds, self._began = (now - self._began) / count, now
            self._counts[bisect_left(SECONDS, seconds)] += count
            self._process.sum += seconds * count
        if type(events[0]) is not list:
            self._parked += count
        elif count == 1:
            self._finished.append(events[0][0])
        else:
            self._finished += [each[0] for each in events]

    def failed(self, error: BaseException, decision: str) -> None:
        self._tally.counter(tally.FAILURES, *self._labels, decision).value += 1
        if not (self._is_beside or self._waits):
            self._process.observe(perf_counter() - self._began)
        self._waits = True

    def given_up(self, result: str) -> None:
        self._tally.counter(tally.PROCESSED, *self._labels, result).value += 1

    def committing(self, checkpoint: str, count: int) -> None:
        if self._sent_at is None:
            self._sent_at = perf_counter()

    def committed(self, checkpoint: str, count: int) -> None:
        if self._sent_at is not None and (count or self._parked):
            self._commit.observe(perf_counter() - self._sent_at)
            self._commit_size.observe(count + self._parked)
        self._sent_at = None
        self._ok.value += self._parked
        self._parked = 0
        self._ok.value += self._count_latency(checkpoint.encode())

    def _count_latency(self, end: bytes) -> int:
        """Take the finished events up to this id. Returns how many there were."""
        ids = self._finished
        if not ids:
            return 0
        if ids[-1] == end:
            self._finished = []
        else:
            count = bisect_right(ids, _parts(end), key=_parts)
            ids, self._finished = ids[:count], ids[count:]
        now, time_of, times = time.time() * 1000, b"-", 0
        for each in ids:
            if each.startswith(time_of):  # Many events have the same time.
                times += 1
                continue
            if times:
                self._observe_latency(now, time_of, times)
            time_of, times = each[: each.index(b"-") + 1], 1
        if times:
            self._observe_latency(now, time_of, times)
        return len(ids)

    def _observe_latency(self, now: float, time_of: bytes, times: int) -> None:
        self._latency.observe(max(0.0, now - int(time_of[:-1])) / 1000, times)


def _parts(id_: bytes) -> tuple[int, int]:
    ms, _, number = id_.partition(b"-")
    return int(ms), int(number)
