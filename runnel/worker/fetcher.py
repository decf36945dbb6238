"""Moves events between Redis and the partitions of one processor: who reads and who commits for
each.

Few reads serve all partitions: one for up to a thousand of them on one server. One committer serves
the partitions of one node, so that a node that was lost holds up no other's. Where every event
waits for its commit there are two: while Redis carries out a round of one, handlers finish the
events of the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from runnel.core.appetite import Room
from runnel.core.partition import PartitionState
from runnel.processor import Processor
from runnel.worker.backend import Backend
from runnel.worker.callbacks import Callbacks
from runnel.worker.committer import Committer
from runnel.worker.log_reader import LogReader


class Fetcher:
    """Fills the buffers of partitions and commits what they have finished."""

    def __init__(self, processor: Processor, backend: Backend, callbacks: Callbacks) -> None:
        self._processor = processor
        self._backend = backend
        self._callbacks = callbacks
        self._room: Room = backend.room
        #: Name of a feed -> who reads it, and the task that does.
        self._readers: dict[str, tuple[LogReader, asyncio.Task[None]]] = {}
        #: Partition -> the feed that it is read from, and who commits.
        self._feeds: dict[int, str] = {}
        self._committing: dict[int, Committer] = {}
        self._committers: dict[tuple[Hashable, int], Committer] = {}
        #: How many committers a node has.
        self._each = 2 if processor.commit == "each" else 1
        self._tasks = asyncio.TaskGroup()

    def add(self, state: PartitionState) -> None:
        """Read and commit for this partition, too."""
        log = self._log(state)
        self._committing[state.partition] = self._committer(log, state.partition)
        name = self._feeds[state.partition] = self._backend.feed_of(log, state.partition)
        self._room.partitions += 1
        if name not in self._readers:
            feed = self._backend.feed(name)
            reader = LogReader(self._processor.prefetch, self._room, feed, self._callbacks)
            self._readers[name] = reader, self._tasks.create_task(reader.run())
        self._readers[name][0].add(log, state)

    def remove(self, state: PartitionState) -> None:
        """It is over. A connection that served only this one is closed."""
        name = self._feeds.pop(state.partition)
        self._room.partitions -= 1
        self._committing.pop(state.partition).forget(state)
        reader, task = self._readers[name]
        reader.remove(self._log(state), state)
        if not reader.states:
            del self._readers[name]
            task.cancel()

    def wake(self, state: PartitionState) -> None:
        """The partition has room again: read it too, unless that is under way."""
        if not state.reading and (name := self._feeds.get(state.partition)) is not None:
            self._readers[name][0].wake()

    def mark(self, state: PartitionState) -> None:
        """The partition has something to commit."""
        if committer := self._committing.get(state.partition):
            committer.mark(state)

    async def run(self) -> None:
        """Read and commit until cancelled."""
        async with self._tasks:
            await asyncio.Event().wait()

    def _log(self, state: PartitionState) -> str:
        return state.keys.log

    def _committer(self, log: str, partition: int) -> Committer:
        """Always the same one as long as a partition is held, so that it never has two commits
        under way."""
        which = self._backend.node_of(log), partition % self._each
        if which not in self._committers:
            committer = Committer(self._processor, self._backend, self._callbacks)
            self._committers[which] = committer
            self._tasks.create_task(committer.run())
        return self._committers[which]
