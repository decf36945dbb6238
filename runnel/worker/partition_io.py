"""Assigns a log reader and a committer to each held partition of one processor.

Few readers serve all partitions: on one server, one for each thousand. One committer serves the
partitions of one node, so that a node that fails holds up no partition of another. With
`commit="each"`, where every event waits for its commit, there are two: while Redis carries out a
round of one, handlers process the events of the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence

from runnel.core.partition import PartitionState
from runnel.core.read_limits import MemoryBudget
from runnel.core.reading import Raw
from runnel.processor import Processor
from runnel.worker.backend import Backend
from runnel.worker.callbacks import Callbacks
from runnel.worker.committer import Committer
from runnel.worker.forwarder import Forwarders
from runnel.worker.log_reader import LogReader
from runnel.worker.parked_reads import ReplayReader
from runnel.worker.postponed_reads import PostponedReader
from runnel.worker.promoter import Promoter
from runnel.worker.room_waits import RoomWaits
from runnel.worker.table_reads import read_for


class PartitionIO:
    """Runs the readers and committers that the held partitions need."""

    def __init__(
        self, processor: Processor, backend: Backend, callbacks: Callbacks, waits: RoomWaits
    ) -> None:
        self._waits = waits
        self._processor = processor
        self._backend = backend
        self._callbacks = callbacks
        self._memory: MemoryBudget = backend.memory
        #: Name of a feed -> its reader, and the reader's task.
        self._readers: dict[str, tuple[LogReader, asyncio.Task[None]]] = {}
        #: Partition -> the name of its feed, and its committer.
        self._feeds: dict[int, str] = {}
        self._committing: dict[int, Committer] = {}
        self._committers: dict[tuple[Hashable, int], Committer] = {}
        #: How many committers a node has.
        self._each = 2 if processor.commit == "each" else 1
        self._tasks = asyncio.TaskGroup()
        self._forwarders = Forwarders(
            processor.name, backend, callbacks, self.schedule_commit, self._tasks.create_task
        )

        self.promoter = Promoter(processor, backend)
        reads = processor, backend, callbacks, self._tasks.create_task
        self._replays = ReplayReader(*reads)
        self._postponed = PostponedReader(*reads)

    def add(self, state: PartitionState) -> None:
        """Read and commit for this partition, too."""
        log = state.keys.log
        self._committing[state.partition] = self._committer(log, state.partition)
        name = self._feeds[state.partition] = self._backend.feed_of(log, state.partition)
        self._memory.partitions += 1
        if name not in self._readers:
            feed = self._backend.feed(name)
            read_tables = self._read_tables if self._processor.tables else None
            reader = LogReader(
                self._processor.prefetch, self._memory, feed, self._callbacks, read_tables
            )
            self._readers[name] = reader, self._tasks.create_task(reader.run())
        self._readers[name][0].add(log, state)
        self._forwarders.add(state)
        self.promoter.add(state)
        if state.parking.look:
            self._postponed.wake(state)

    async def _read_tables(self, read: Sequence[tuple[PartitionState, Sequence[Raw]]]) -> None:
        await read_for(self._backend, self._processor, read, self._callbacks.on_wrong_key)

    def remove(self, state: PartitionState) -> None:
        """The partition is not held any more. A connection for it alone is closed."""
        name = self._feeds.pop(state.partition)
        self._memory.partitions -= 1
        self._committing.pop(state.partition).forget(state)
        self._forwarders.remove(state)
        self.promoter.remove(state)
        self._postponed.remove(state)
        reader, task = self._readers[name]
        reader.remove(state.keys.log, state)
        if not reader.states:
            del self._readers[name]
            task.cancel()

    def wake(self, state: PartitionState) -> None:
        """The buffer of the partition has room: read it, unless a read is in flight."""
        if state.replaying:
            self._replays.wake(state)
            return
        if state.parking.look:
            self._postponed.wake(state)
        if not state.reading and (name := self._feeds.get(state.partition)) is not None:
            self._readers[name][0].wake()

    def schedule_commit(self, state: PartitionState) -> None:
        """The partition has something to commit."""
        if state.draining:
            self._forwarders.leave(state)
            if state.forwarding and state.all_committed and state.unverified_from is None:
                return  # Only the release is left, and the forwarder asks for that at its end.
        if committer := self._committing.get(state.partition):
            committer.schedule(state)

    async def run(self) -> None:
        """Read, commit and promote until cancelled."""
        async with self._tasks:
            await self.promoter.run()

    def _committer(self, log: str, partition: int) -> Committer:
        """The committer of a partition. It is chosen once per claim, so that a partition never has
        two commits in flight."""
        key = self._backend.node_of(log), partition % self._each
        if key not in self._committers:
            made = Committer(self._backend, self._callbacks, self._waits, self._forwarders)
            self._committers[key] = made
            self._tasks.create_task(made.run())
        return self._committers[key]
