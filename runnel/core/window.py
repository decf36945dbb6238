"""The events of one partition that are in hand at the same time, in the order of their keys.

Events of different keys are processed beside one another. Those of one key form a chain: the next
one may start when the one before is done. The checkpoint moves over the finished prefix, which is
what is done with nothing unfinished before it. What is done beyond the prefix is known here alone.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from heapq import heappop, heappush
from math import inf
from typing import Any

from runnel.core.own_effects import OwnEffects
from runnel.core.reading import Raw
from runnel.core.table_state import MOST_BYTES

#: Events that a partition has in hand at most, as multiples of its concurrency, if that is more
#: than `prefetch`: with fewer, the first event that takes long would keep the others waiting.
WINDOW = 4
#: Bytes of effects that may wait for the events before theirs: beyond that none is handed out.
MOST_AHEAD = 2 * MOST_BYTES


class Stage(Enum):
    """Where an event in hand is."""

    WAITING = "waiting"
    """One of its key before it is not done, or it may start as soon as there is room."""
    RUNNING = "running"
    """The handler has it."""
    FAILED = "failed"
    """It waits for its next try, or for its turn to be given up."""
    ASIDE = "aside"
    """Its key was parked before it could start: it is parked, too."""
    DONE = "done"
    """The handler is done with it."""


class InHand:
    """One event in hand. `failure` is set once it is given up."""

    __slots__ = ("attempts", "effects", "failure", "key", "number", "raw", "stage")

    def __init__(self, raw: Raw, key: bytes, number: int) -> None:
        self.raw = raw
        self.key = key
        self.number = number
        self.stage = Stage.WAITING
        #: How often it has failed, as far as this worker knows.
        self.attempts = 0
        #: What it writes: that of its last try.
        self.effects: OwnEffects | None = None
        self.failure: Any = None


class Window:
    """Up to `concurrency` events run at the same time, and up to `limit` are in hand."""

    def __init__(self, concurrency: int, prefetch: int) -> None:
        self.concurrency = concurrency
        self.limit = max(WINDOW * concurrency, prefetch)
        self._prefetch = prefetch
        #: In the order of the log.
        self._events: deque[InHand] = deque()
        #: Key -> its events in hand that are not done, in order.
        self._chains: dict[bytes, deque[InHand]] = {}
        #: Those that may start, the first one in the log first.
        self._ready: list[tuple[int, InHand]] = []
        self._number = self._last_started = 0
        #: The last event that may start.
        self._until: float = inf
        self.running = 0
        #: Bytes of the effects of those that are done.
        self._ahead = 0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def first(self) -> InHand | None:
        """The first event that is not behind the finished prefix."""
        return self._events[0] if self._events else None

    @property
    def finished_ahead(self) -> int:
        """How many events are done behind one that is not."""
        return sum(1 for each in self._events if each.stage is Stage.DONE)

    def room(self, buffer_limit: int) -> int:
        """How many more events may be taken. `buffer_limit` of them may wait in memory: if that is
        less than `prefetch`, little more are in hand than can run."""
        if self._ahead > MOST_AHEAD:
            return 0
        limit = self.limit
        if buffer_limit < self._prefetch:
            limit = min(limit, max(self.concurrency, buffer_limit))
        return limit - len(self._events)

    def add(self, raw: Raw, key: bytes) -> InHand:
        """One more event, which follows the others in the log."""
        self._number += 1
        item = InHand(raw, key, self._number)
        self._events.append(item)
        chain = self._chains.get(key)
        if chain is None:
            self._chains[key] = deque((item,))
            self._may_start(item)
        else:
            chain.append(item)
        return item

    def start(self) -> InHand | None:
        """The next event to start, if one may: the first of those in the log."""
        if not self._ready or self.running >= self.concurrency:
            return None
        _, item = heappop(self._ready)
        item.stage = Stage.RUNNING
        self.running += 1
        self._last_started = max(self._last_started, item.number)
        return item

    @property
    def may_start(self) -> bool:
        """Is there an event that may start?"""
        return bool(self._ready) and self.running < self.concurrency

    def done(self, item: InHand) -> None:
        """The handler is done with it. The next one of its key may start."""
        self.running -= 1
        item.stage = Stage.DONE
        if item.effects is not None:
            self._ahead += item.effects.size
        self._next_of(item.key)

    def failed(self, item: InHand) -> None:
        """The handler has failed with it. Its key waits."""
        self.running -= 1
        item.stage = Stage.FAILED
        if self._until < inf:
            self._close_after(item.number)

    def again(self, item: InHand) -> None:
        """Let it start once more."""
        item.stage = Stage.WAITING
        self._may_start(item)

    def finished(self) -> list[InHand]:
        """Take the finished prefix: events that are done, or that are to be parked."""
        events, found = self._events, []
        while events and events[0].stage in (Stage.DONE, Stage.ASIDE):
            item = events.popleft()
            if item.stage is Stage.DONE and item.effects is not None:
                self._ahead -= item.effects.size
            found.append(item)
        return found

    def skipped(self) -> None:
        """The first event was given up, and the checkpoint is past it. Its key goes on."""
        self._next_of(self._events.popleft().key)

    def parked(self) -> None:
        """The first event was given up and parked. Those of its key in hand are parked, too, each
        when the prefix reaches it: none of them has started."""
        key = self._events.popleft().key
        for item in self._chains.pop(key):
            item.stage = Stage.ASIDE

    def clear(self) -> None:
        """All events in hand were returned: none runs."""
        self._events.clear()
        self._chains.clear()
        self._ready.clear()
        self._ahead = 0

    def close(self) -> None:
        """Start only what lies before an event that was started: without that, it would not be
        committed, and be processed again. What lies behind one that has failed would not help."""
        failed = (each.number for each in self._events if each.stage is Stage.FAILED)
        self._close_after(min(self._last_started, next(failed, self._last_started)))

    def _close_after(self, number: int) -> None:
        self._until = min(self._until, number)
        self._ready = sorted(each for each in self._ready if each[0] <= self._until)

    def _next_of(self, key: bytes) -> None:
        chain = self._chains[key]
        chain.popleft()
        if chain:
            self._may_start(chain[0])
        else:
            del self._chains[key]

    def _may_start(self, item: InHand) -> None:
        if item.number <= self._until:
            heappush(self._ready, (item.number, item))
