"""Moves events between Redis and the lanes: one read for all of them, one round of commits.

Self-clocking: while one round of commits is under way, finished events gather; the next round
covers them. Where every event waits for its commit, two committers share the lanes: while Redis
carries out a round of one, handlers finish the events of the other.

XREAD is blind to a log that was trimmed, deleted or set back. So before anything read behind a
cursor is committed, the entry at the cursor is looked at: together with the read while there is
much to read, together with the commits otherwise, so that a single event is handed out without
waiting for it. If the entry is gone, the partition is claimed again, which counts what was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.core.lane import Lane, Raw, Wanted
from runnel.errors import ProtocolError
from runnel.processor import Processor
from runnel.worker.ending import end
from runnel.worker.link import At, Feed, Link

logger = logging.getLogger("runnel.worker")

#: Empty reads in a row after which every cursor is looked at: what nobody adds to may have been
#: lost all the same. Half a minute, since the looks, one for each partition, are most of what an
#: idle worker sends. Where somebody adds, the next read looks; where a connection broke, too.
LOOK_AFTER = 6
#: Bytes that one read may bring, roughly: fewer entries are asked for where they are large.
READ_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Signals:
    """What is called for a lane that got events, moved or is over (`stirred`), and for one whose
    log may have lost events (`suspect`)."""

    stirred: Callable[[Lane], None]
    suspect: Callable[[Lane], None]


class Pump:
    """Fills the buffers of lanes and commits what they have finished."""

    def __init__(self, processor: Processor, link: Link, signals: Signals) -> None:
        self._processor = processor
        self._link = link
        self._signals = signals
        self._readers: dict[str, Reader] = {}
        self._committers = [
            Committer(processor, link, signals)
            for _ in range(2 if processor.commit == "each" else 1)
        ]
        self._tasks = asyncio.TaskGroup()

    def set_lanes(self, lanes: Iterable[Lane]) -> None:
        """Read these from now on."""
        feeds: dict[str, dict[str, Lane]] = {name: {} for name in self._readers}
        for lane in lanes:
            place = self._processor.place(lane.partition)
            feeds.setdefault(self._link.feed_of(place), {})[keys.log(place.prefix)] = lane
        for name, found in feeds.items():
            if name not in self._readers:
                reader = Reader(self._processor.prefetch, self._link.feed(name), self._signals)
                self._readers[name] = reader
                self._tasks.create_task(reader.run())
            self._readers[name].set_lanes(found)

    def poke(self, lane: Lane) -> None:
        """The lane has room again: read it too, unless that is under way."""
        place = self._processor.place(lane.partition)
        if not lane.awaited and (reader := self._readers.get(self._link.feed_of(place))):
            reader.poke()

    def mark(self, lane: Lane) -> None:
        """The lane has something to commit."""
        # Always the same one, so that a lane never has two commits under way.
        self._committers[lane.partition % len(self._committers)].mark(lane)

    async def run(self) -> None:
        """Read and commit until cancelled."""
        try:
            async with self._tasks:
                for committer in self._committers:
                    self._tasks.create_task(committer.run())
        finally:
            for reader in self._readers.values():
                await reader.close()


class Committer:
    """Commits what its lanes have finished, one round after another."""

    def __init__(self, processor: Processor, link: Link, signals: Signals) -> None:
        self._processor = processor
        self._link = link
        self._signals = signals
        self._marked: list[Lane] = []
        self._wake = asyncio.Event()

    def mark(self, lane: Lane) -> None:
        """The lane has something to commit."""
        if not lane.marked:
            lane.marked = True
            self._marked.append(lane)
            self._wake.set()

    async def run(self) -> None:
        """Commit until cancelled. A lost reply is asked for again: a repeat changes nothing."""
        pause = 0.05
        while True:
            await self._wake.wait()
            self._wake.clear()
            lanes, self._marked = self._marked, []
            for lane in lanes:
                lane.marked = False
            if await self._commit(lanes):
                pause = 0.05
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)

    async def _commit(self, lanes: list[Lane]) -> bool:
        """One round. Returns False if something must be sent again after a pause."""
        doubtful = [(lane, doubt) for lane in lanes if (doubt := lane.doubt) and not lane.over]
        steps = [(lane, step) for lane in lanes if (step := lane.next_commit())]
        calls = [
            protocol.commit(self._processor.place(lane.partition), lane.token, step)
            for lane, step in steps
        ]
        for lane in lanes:
            if lane.clean:  # All that it has done was counted as lost: nothing else will say so.
                self._signals.stirred(lane)
        answered = True
        if calls:
            try:
                replies = await self._link.commit(calls)
            except (RedisError, OSError) as error:
                replies = [error] * len(steps)
            for (lane, step), reply in zip(steps, replies, strict=True):
                answered &= self._committed(lane, step, reply)
        if doubtful:
            answered &= await self._look(doubtful)
        return answered

    def _committed(self, lane: Lane, step: protocol.Step, reply: object) -> bool:
        if isinstance(reply, ProtocolError):
            logger.warning(
                "partition %d of %s: commit refused: %s",
                lane.partition,
                self._processor.name,
                reply,
            )
            lane.end()
        elif isinstance(reply, Exception):
            logger.warning("commit not answered, asking again: %s", reply)
            self.mark(lane)
            return False
        else:
            committed = protocol.read_commit(reply)  # type: ignore[arg-type]
            lane.committed(step)
            if committed.paused:
                lane.park()
            if lane.next_commit() or (lane.doubt is not None and not lane.clean):
                self.mark(lane)
        self._signals.stirred(lane)
        return True

    async def _look(self, doubtful: Sequence[tuple[Lane, str]]) -> bool:
        """Look at the cursors behind which events were handed out meanwhile."""
        places: list[At] = [
            (keys.log(self._processor.stream.prefix(lane.partition)), doubt)
            for lane, doubt in doubtful
        ]
        try:
            seen = await self._link.look(places)
        except (RedisError, OSError) as error:
            logger.warning("look not answered, asking again: %s", error)
            for lane, _ in doubtful:
                self.mark(lane)
            return False
        for (lane, doubt), there in zip(doubtful, seen, strict=True):
            if not lane.looked(doubt, there):
                self._signals.suspect(lane)
            else:
                self._signals.stirred(lane)
                if lane.next_commit():
                    self.mark(lane)
        return True


class Reader:
    """Reads the lanes of one feed."""

    def __init__(self, prefetch: int, feed: Feed, signals: Signals) -> None:
        self._prefetch = prefetch
        self._feed = feed
        self._signals = signals
        self._lanes: dict[str, Lane] = {}
        self._changed = asyncio.Event()
        self._waiting = False
        self._cutting: asyncio.Task[None] | None = None
        self._entry_bytes = 0.0
        self._empty = 0

    def set_lanes(self, lanes: dict[str, Lane]) -> None:
        """Read these logs into these lanes from now on."""
        if lanes != self._lanes:
            self._lanes = lanes
            self.poke()

    def poke(self) -> None:
        """There may be more to read. A read that waits is cut short, since it waits for the other
        lanes only and would starve this one."""
        self._changed.set()
        if self._waiting and self._cutting is None:
            self._cutting = asyncio.create_task(self._cut_short())

    async def close(self) -> None:
        """Close the connection."""
        if self._cutting is not None:
            await end((self._cutting,))
        await self._feed.close()

    async def _cut_short(self) -> None:
        # More than once, since it may come before the read that it is to end; but only while that
        # read began before the lane had room.
        while self._waiting and self._changed.is_set():
            await self._feed.cut_short()
            await asyncio.sleep(0.01)
        self._cutting = None

    async def run(self) -> None:
        """Read until cancelled."""
        pause = 0.1
        while True:
            self._changed.clear()
            wanted = {
                log: (lane, ask)
                for log, lane in self._lanes.items()
                if (ask := lane.wants(self._prefetch))
            }
            if not wanted:
                await self._changed.wait()
                continue
            try:
                await self._read(wanted)
                pause = 0.1
            except (RedisError, OSError) as error:
                logger.warning("read failed, trying again: %s", error)
                self._worry()
                if str(error).startswith("WRONGTYPE"):
                    # One of the keys is no stream. Claiming each again tells which.
                    for lane, _ in wanted.values():
                        self._signals.suspect(lane)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    async def _read(self, wanted: dict[str, tuple[Lane, Wanted]]) -> None:
        behind = [(log, ask.cursor) for log, (_, ask) in wanted.items()]
        looks = [(log, ask.cursor) for log, (_, ask) in wanted.items() if ask.look]
        count = self._count()
        self._waiting = True
        for lane, _ in wanted.values():
            lane.awaited = True
        try:
            result = await self._feed.read(behind, looks, count)
        finally:
            self._waiting = False
            for lane, _ in wanted.values():
                lane.awaited = False
        if result is None:
            return
        found, seen = result
        there = {log: anchor for (log, _), anchor in zip(looks, seen, strict=True)}
        for log, (lane, ask) in wanted.items():
            entries: Sequence[Raw] = found.get(log, ())
            if not entries and not ask.look:
                continue
            if not lane.read(ask, entries, there.get(log, False), len(entries) >= count):
                self._signals.suspect(lane)
            if entries:
                self._weigh(entries[0])
                self._signals.stirred(lane)
        self._empty = 0 if found or self._changed.is_set() else self._empty + 1
        if self._empty >= LOOK_AFTER:
            self._worry()
        if found and not any(len(each) >= count for each in found.values()):
            # Handlers go first: the next read would hold them up, and finds little so soon. Where
            # there is more it goes first, and Redis is at work while they are.
            await asyncio.sleep(0)

    def _worry(self) -> None:
        """Have the next read look at every cursor."""
        self._empty = 0
        for lane in self._lanes.values():
            lane.look_next = True

    def _weigh(self, entry: Raw) -> None:
        size = sum(map(len, entry[1]))
        self._entry_bytes = max(size, self._entry_bytes * 0.9)

    def _count(self) -> int:
        """Entries to ask for of each log."""
        room = READ_BYTES / max(1, len(self._lanes)) / max(1.0, self._entry_bytes)
        return max(1, min(self._prefetch, int(room)))
