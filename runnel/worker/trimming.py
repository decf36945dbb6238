"""Trims the partitions that a member holds, if their stream has a `max_age`.

Every append trims, too, and a busy stream needs nothing else. But old events must also leave when
nobody sends any more. The script `trim` decides what may leave, so it does not matter who calls it,
how often, or whether the lease has ended meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.partition import PartitionState
from runnel.errors import ProtocolError
from runnel.log import logger_of
from runnel.processor import Processor
from runnel.worker.backend import Backend

logger = logger_of("runnel.worker")

#: Partitions that are trimmed in one round trip.
AT_ONCE = 20
#: Seconds between two trims of a partition, at least and at most.
LEAST, MOST = 1.0, 60.0
#: Seconds before a partition is trimmed again of which one call has not removed everything.
PAUSE = 0.05


def every(max_age_ms: int) -> float:
    """Seconds between two trims of a partition: a twentieth of its age, within limits."""
    return min(max(max_age_ms / 20_000, LEAST), MOST)


async def trim_by_age(
    processor: Processor, backend: Backend, states: Callable[[], Iterable[PartitionState]]
) -> None:
    """Trim all partitions held in turn, spread over the time between two trims of each, until
    cancelled. Ends at once if the stream has no `max_age`."""
    if not processor.stream.retention.max_age_ms:
        return
    period, trimmer = every(processor.stream.retention.max_age_ms), Trimmer(processor, backend)
    while True:
        # Each turn is short if there are many, so that no second of it has all the work.
        waiting = deque(state.keys.prefix for state in states() if not state.ended)
        turns = max(1, -(-len(waiting) // AT_ONCE))
        for _ in range(turns):
            await asyncio.sleep(period / turns)
            batch = [waiting.popleft() for _ in range(min(AT_ONCE, len(waiting)))]
            batch = await trimmer.trim(batch)
            while batch:  # The next turn may be far away.
                await asyncio.sleep(PAUSE)
                batch = await trimmer.trim(batch)


class Trimmer:
    """Trims partitions of the stream of one processor. `failing` is whether the last try failed."""

    def __init__(self, processor: Processor, backend: Backend) -> None:
        self._processor = processor
        self._backend = backend
        self.failing = False

    async def trim(self, prefixes: list[str]) -> list[str]:
        """One bounded step in each of these partitions. Returns those that have more to remove."""
        retention = self._processor.stream.retention
        age, when_full = retention.max_age_ms, retention.when_full
        calls = [protocol.trim(each, 0, age, when_full) for each in prefixes]
        try:
            outcomes = await self._backend.call_all(calls)
        except (RedisError, OSError, ProtocolError) as error:
            outcomes = [error]
        if failed := [each for each in outcomes if isinstance(each, Exception)]:
            # Not more than a warning: it costs memory, no event. An outage is logged elsewhere.
            name = self._processor.name
            level = logger.debug if self.failing else logger.warning
            level("processor %s: old events could not be removed: %s", name, failed[0])
        self.failing = bool(failed)
        found = zip(prefixes, outcomes, strict=False)
        return [prefix for prefix, reply in found if self._has_more(reply)]

    def _has_more(self, reply: Any) -> bool:
        return not isinstance(reply, Exception) and protocol.read_trim(reply).more
