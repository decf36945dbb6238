"""Promotes delayed events of held partitions: moves them into the log when they are due.

The worker knows from the last reply when the next event of a partition is due, and calls then. A
message on the stream's channel says that one is due sooner. Because messages can be lost, and other
programs can delete keys, every partition is looked at from time to time as well.

Nothing here needs the lease: what is due is decided in Redis, and is moved once, whoever asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.partition import PartitionState
from runnel.delayed import log_lost
from runnel.errors import Full, ProtocolError
from runnel.log import logger_of
from runnel.processor import Processor
from runnel.worker import outage_log
from runnel.worker.backend import Backend

logger = logger_of("runnel.worker")

#: Seconds between two looks at a partition in which no event is due sooner.
LOOK_EVERY = 60.0
#: Seconds between two looks at all partitions because of messages.
HINT_PAUSE = 0.05
#: Seconds until the next try where the log is full, or Redis does not answer.
RETRY = 1.0
#: Seconds to wait longer than the time in a reply, which has whole milliseconds.
MARGIN = 0.001


class Promoter:
    """Promotes for the partitions of one processor."""

    def __init__(self, processor: Processor, backend: Backend) -> None:
        self._stream = processor.stream
        self._backend = backend
        #: Partition -> when to look at it, by the loop's clock.
        self._at: dict[int, float] = {}
        self._hinted, self._hint_at = False, 0.0
        self._changed = asyncio.Event()
        #: Partitions whose due events have no room; they are logged once.
        self._full: set[int] = set()

    def add(self, state: PartitionState) -> None:
        """Look at this partition, too. Nothing is delayed in a derived stream."""
        if self._stream.source == self._stream.name:
            self._at[state.partition] = 0.0
            self._changed.set()

    def remove(self, state: PartitionState) -> None:
        """The partition is not held any more."""
        self._at.pop(state.partition, None)
        self._full.discard(state.partition)

    def hint(self) -> None:
        """An event may be due sooner than is known here, in any partition."""
        self._hinted = True
        self._changed.set()

    async def run(self) -> None:
        """Promote until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            self._changed.clear()
            now = clock()
            if self._hinted and now >= self._hint_at:
                self._hinted, self._hint_at = False, now + HINT_PAUSE
                self._at = dict.fromkeys(self._at, now)
            if due := [each for each, at in self._at.items() if at <= now]:
                await self._promote(due)
                continue
            next_at = min(self._at.values(), default=now + LOOK_EVERY)
            if self._hinted:
                next_at = min(next_at, self._hint_at)
            try:
                async with asyncio.timeout_at(next_at):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _promote(self, partitions: Sequence[int]) -> None:
        stream = self._stream
        calls = [
            protocol.promote(
                stream.prefix(each),
                stream.contract,
                stream.partition_size,
                stream.retention.when_full,
            )
            for each in partitions
        ]
        try:
            outcomes = await self._backend.call_all(calls)
        except (RedisError, OSError) as error:
            outcomes = [error] * len(partitions)
        now = asyncio.get_running_loop().time()
        for partition, outcome in zip(partitions, outcomes, strict=True):
            pause = self._pause_after(partition, outcome)
            if partition in self._at:
                self._at[partition] = now + pause

    def _pause_after(self, partition: int, outcome: Any) -> float:
        """Seconds until the next look at a partition."""
        if isinstance(outcome, Full):
            if partition not in self._full:
                self._full.add(partition)
                logger.warning(
                    "stream %s, partition %d: delayed events are due and wait for room, because %s",
                    self._stream.name,
                    partition,
                    outcome.reason,
                    extra={"partition": partition},
                )
            return RETRY
        if isinstance(outcome, ProtocolError):  # The claims of the partition tell what is wrong.
            return LOOK_EVERY
        if isinstance(outcome, Exception):
            outage_log.failed("promotion", outcome)
            return RETRY
        outage_log.answered("promotion")
        self._full.discard(partition)
        reply = protocol.read_promote(outcome)
        if reply.lost:
            log_lost(self._stream.name, partition, reply.lost)
        if reply.next_in is None:
            return LOOK_EVERY
        return min(reply.next_in / 1000 + MARGIN, LOOK_EVERY) if reply.next_in else 0.0
