"""Reads the logs of held partitions into their partitions.

XREAD is blind to a log that was trimmed, deleted or set back. So before anything read behind a
cursor is committed, the entry at the cursor is looked at: together with the read while there is
much to read, together with the commits otherwise, so that a single event is handed out without
waiting for it. If the entry is gone, the partition is claimed again, which counts what was lost.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from redis.exceptions import RedisError

from runnel.core.appetite import Appetite, Room, weigh
from runnel.core.partition import PartitionState, Raw, Wanted
from runnel.errors import ReplyTooLarge
from runnel.log import logger_of
from runnel.worker import outage_log
from runnel.worker.callbacks import Callbacks
from runnel.worker.cancelling import end
from runnel.worker.feeds import At, Batch, Feed

logger = logger_of("runnel.worker")

#: Empty reads in a row after which every cursor is looked at: what nobody adds to may have been
#: lost all the same. Half a minute, since the looks, one for each partition, are most of what an
#: idle worker sends. Where somebody adds, the next read looks; where a connection broke, too.
VERIFY_AFTER = 6


class Ask(NamedTuple):
    """What a read asks for of one log."""

    log: str
    state: PartitionState
    wanted: Wanted
    most: int

    @property
    def size(self) -> float:
        """Bytes that it will bring, as far as can be told: nothing where nothing came of late."""
        return self.most * self.state.entry_bytes if self.state.flowing else 0.0


class LogReader:
    """Reads the partitions of one feed."""

    def __init__(self, prefetch: int, room: Room, feed: Feed, callbacks: Callbacks) -> None:
        self._prefetch = prefetch
        self._room = room
        self._feed = feed
        self._callbacks = callbacks
        self._states: dict[str, PartitionState] = {}
        self._changed = asyncio.Event()
        #: A read waits for events to come.
        self._waiting = False
        self._cutting: asyncio.Task[None] | None = None
        self._appetite = Appetite(prefetch, room.limit)
        #: Bytes of an event here, as far as is known.
        self._usual = 0.0
        #: Bytes that may wait of each partition: half of them, and what the next read brings.
        self._share = 0.0
        self._turn = 0
        #: Logs that had nothing, since one had something.
        self._fruitless = 0
        self._empty = 0

    @property
    def states(self) -> int:
        """How many partitions it reads."""
        return len(self._states)

    def add(self, log: str, state: PartitionState) -> None:
        """Read this log into this partition, too."""
        self._states[log] = state
        self.wake()

    def remove(self, log: str, state: PartitionState) -> None:
        """Read it no more."""
        if self._states.get(log) is state:
            del self._states[log]

    def wake(self) -> None:
        """There may be more to read. A read that waits is cut short, since it waits for the other
        partitions only and would starve this one."""
        self._changed.set()
        if self._waiting and self._cutting is None:
            self._cutting = asyncio.create_task(self._cut_short())

    async def _cut_short(self) -> None:
        # More than once, since it may come before the read that it is to end; but only while that
        # read began before the partition had room. What it is to end may also be a long reply.
        pause = 0.01
        while self._waiting and self._changed.is_set():
            await self._feed.cut_short()
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
        self._cutting = None

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            await self._run()
        finally:
            self._room.forget(self)
            try:
                if self._cutting is not None:
                    await end((self._cutting,))
            finally:  # Cancelled once more, it closes its connection all the same.
                await self._feed.close()

    async def _run(self) -> None:
        pause = 0.1
        while True:
            self._changed.clear()
            wanted = self._wanted()
            if not wanted:
                await self._changed.wait()
                continue
            quiet = self._fruitless >= len(wanted)
            asks = self._all_of(wanted) if quiet else self._portion(wanted)
            counts = {ask.most for ask in asks}
            # One command that waits for all, or several that wait for nothing: a wait for some of
            # the logs would starve the others.
            wait = quiet or (len(counts) == 1 and len(asks) == len(wanted))
            try:
                await self._read(asks, wait)
                outage_log.answered("read")
                pause = 0.1
            except ReplyTooLarge as error:
                logger.info("read again, with less: %s", error)
                self._failed(asks, max(counts), error)
            except (RedisError, OSError) as error:
                outage_log.failed("read", error)
                self._failed(asks, max(counts), error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    # What to ask for

    def _wanted(self) -> list[Ask]:
        """What could be read now."""
        waiting, active = 0.0, 0
        for state in self._states.values():
            if state.buffer:
                waiting += len(state.buffer) * state.entry_bytes
                active += 1
            elif state.flowing:
                active += 1
        self._room.note(self, waiting)
        self._share = share = self._room.share(active) / 2
        prefetch, count = self._prefetch, self._appetite.count
        wanted = []
        for log, state in self._states.items():
            size = state.entry_bytes
            state.enough = prefetch if size * prefetch <= share else int(share / size)
            if ask := state.wants(prefetch):
                most = count(size if state.sized else 0.0, share, active)
                wanted.append(Ask(log, state, ask, most))
        return wanted

    def _portion(self, wanted: list[Ask]) -> list[Ask]:
        """As many of these as one read may bring: each has its turn."""
        most, appetite = self._appetite.bytes, self._appetite
        if len(wanted) <= appetite.logs and sum(ask.size for ask in wanted) <= most:
            return wanted
        at = self._turn % len(wanted)
        chosen: list[Ask] = []
        size = 0.0
        for ask in (*wanted[at:], *wanted[:at]):
            size += ask.size
            if chosen and (len(chosen) >= appetite.logs or size > most):
                break
            chosen.append(ask)
        self._turn = at + len(chosen)
        return chosen

    def _all_of(self, wanted: list[Ask]) -> list[Ask]:
        """All of these, alike: nothing is there, and what comes first will be little."""
        most = min(ask.most for ask in wanted)
        return [ask._replace(most=most) for ask in wanted]

    # Reading

    async def _read(self, asks: Sequence[Ask], wait: bool) -> None:
        batches: defaultdict[int, list[At]] = defaultdict(list)
        for ask in asks:
            batches[ask.most].append((ask.log, ask.wanted.cursor))
            ask.state.reading = True
        looks = [(ask.log, ask.wanted.cursor) for ask in asks if ask.wanted.look]
        self._waiting, began = wait, asyncio.get_running_loop().time()
        try:
            result = await self._feed.read(
                [Batch(count, places) for count, places in batches.items()],
                looks,
                wait,
                self._appetite.too_much,
            )
        finally:
            self._waiting = False
            for ask in asks:
                ask.state.reading = False
        if result is None:
            return
        found, seen = result
        there = {log: anchor for (log, _), anchor in zip(looks, seen, strict=True)}
        size, full = 0.0, False
        for ask in asks:
            entries: Sequence[Raw] = found.get(ask.log, ())
            size += self._track_entry_size(ask.state, entries)
            if entries or ask.wanted.look:
                full |= len(entries) >= ask.most
                self._take_in(ask, entries, there.get(ask.log, False))
        self._appetite.served(size, asyncio.get_running_loop().time() - began)
        self._fruitless = 0 if found else self._fruitless + len(asks)
        if wait:
            self._count_empty(bool(found))
        if found and not full:
            # Handlers go first: the next read would hold them up, and finds little so soon. Where
            # there is more it goes first, and Redis is at work while they are.
            await asyncio.sleep(0)

    def _take_in(self, ask: Ask, entries: Sequence[Raw], there: bool) -> None:
        if not ask.state.read(ask.wanted, entries, there, len(entries) >= ask.most):
            self._callbacks.suspect(ask.state)
        if entries:
            self._callbacks.on_change(ask.state)

    def _track_entry_size(self, state: PartitionState, entries: Sequence[Raw]) -> float:
        """Learn from what came how large the next will be. Returns the bytes that came."""
        state.flowing = bool(entries)
        if not entries:
            # It has no more, so what comes next comes as it does elsewhere.
            state.entry_bytes = state.entry_bytes or self._usual
            state.sized = state.entry_bytes > 0
            return 0.0
        size = weigh(entries, self._share)
        state.entry_bytes, state.sized = max(size, state.entry_bytes * 0.7), True
        self._usual = max(size, self._usual * 0.9)
        return size * len(entries)

    def _count_empty(self, found: bool) -> None:
        self._empty = 0 if found or self._changed.is_set() else self._empty + 1
        if self._empty >= VERIFY_AFTER:
            self._verify_all()

    def _verify_all(self) -> None:
        """Have the next read look at every cursor."""
        self._empty = 0
        for state in self._states.values():
            state.verify_next = True

    def _failed(self, asks: Sequence[Ask], most: int, error: Exception) -> None:
        """Ask for less, since nobody knows what it was: too much at once, or a moment's trouble."""
        self._appetite.failed(len(asks), most)
        self._fruitless = 0
        for state in self._states.values():
            state.sized = False
        self._verify_all()
        if str(error).startswith("WRONGTYPE"):
            # One of the keys is no stream. Claiming each again tells which.
            for ask in asks:
                self._callbacks.suspect(ask.state)
