"""Moves events between Redis and the lanes of one processor: who reads and who commits for each.

Few reads serve all lanes: one for up to a thousand of them on one server. One committer serves the
lanes of one node, so that a node that was lost holds up no other's. Where every event waits for
its commit there are two: while Redis carries out a round of one, handlers finish the events of the
other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from runnel import keys
from runnel.core.appetite import Room
from runnel.core.partition import Lane
from runnel.processor import Processor
from runnel.worker.backend import Link
from runnel.worker.callbacks import Signals
from runnel.worker.committer import Committer
from runnel.worker.log_reader import Reader


class Pump:
    """Fills the buffers of lanes and commits what they have finished."""

    def __init__(self, processor: Processor, link: Link, signals: Signals) -> None:
        self._processor = processor
        self._link = link
        self._signals = signals
        self._room: Room = link.room
        #: Name of a feed -> who reads it, and the task that does.
        self._readers: dict[str, tuple[Reader, asyncio.Task[None]]] = {}
        #: Partition -> the feed that it is read from, and who commits.
        self._feeds: dict[int, str] = {}
        self._committing: dict[int, Committer] = {}
        self._committers: dict[tuple[Hashable, int], Committer] = {}
        #: How many committers a node has.
        self._each = 2 if processor.commit == "each" else 1
        self._tasks = asyncio.TaskGroup()

    def add(self, lane: Lane) -> None:
        """Read and commit for this lane, too."""
        log = self._log(lane)
        self._committing[lane.partition] = self._committer(log, lane.partition)
        name = self._feeds[lane.partition] = self._link.feed_of(log, lane.partition)
        self._room.partitions += 1
        if name not in self._readers:
            feed = self._link.feed(name)
            reader = Reader(self._processor.prefetch, self._room, feed, self._signals)
            self._readers[name] = reader, self._tasks.create_task(reader.run())
        self._readers[name][0].add(log, lane)

    def remove(self, lane: Lane) -> None:
        """It is over. A connection that served only this one is closed."""
        name = self._feeds.pop(lane.partition)
        self._room.partitions -= 1
        self._committing.pop(lane.partition).forget(lane)
        reader, task = self._readers[name]
        reader.remove(self._log(lane), lane)
        if not reader.lanes:
            del self._readers[name]
            task.cancel()

    def poke(self, lane: Lane) -> None:
        """The lane has room again: read it too, unless that is under way."""
        if not lane.awaited and (name := self._feeds.get(lane.partition)) is not None:
            self._readers[name][0].poke()

    def mark(self, lane: Lane) -> None:
        """The lane has something to commit."""
        if committer := self._committing.get(lane.partition):
            committer.mark(lane)

    async def run(self) -> None:
        """Read and commit until cancelled."""
        async with self._tasks:
            await asyncio.Event().wait()

    def _log(self, lane: Lane) -> str:
        return keys.log(self._processor.stream.prefix(lane.partition))

    def _committer(self, log: str, partition: int) -> Committer:
        """Always the same one as long as a lane is held, so that it never has two commits under
        way."""
        which = self._link.node_of(log), partition % self._each
        if which not in self._committers:
            committer = Committer(self._processor, self._link, self._signals)
            self._committers[which] = committer
            self._tasks.create_task(committer.run())
        return self._committers[which]
