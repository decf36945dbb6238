"""Reads the events of several partitions as one list, in pages, for people who look at them.

It registers nothing, and each command reads so little that it delays nobody.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from runnel import keys, protocol
from runnel.connection.deployment import Command, Deployment
from runnel.core.reading import Raw
from runnel.protocol import PartitionDescription, PartitionKeys, text
from runnel.protocol.ids import parts
from runnel.protocol.scripts import Scripts, error_from
from runnel.stream import StreamSpec

#: Events of one log in one reply, and of all logs together, at most. One of each log is the least.
OF_ONE_LOG, OF_ALL_LOGS = 100, 1000
#: Bytes of what was read and not yet shown, of all logs together, as far as sizes can be guessed.
BYTES = 8 * 1024 * 1024

#: The first and the last id of what is to be read of a partition.
Range = tuple[str, str]


class Found(NamedTuple):
    """An entry as it was read: `fields` has its fields and values in turn."""

    partition: int
    id: str
    fields: Sequence[bytes]


class PageSize:
    """How many events of each log the next reply may have: one, until their size is known."""

    def __init__(self, logs: int) -> None:
        self._logs = max(1, logs)
        self._bytes = 0.0

    @property
    def limit(self) -> int:
        """Events of one log."""
        if not self._bytes:
            return 1
        few = min(OF_ALL_LOGS // self._logs, int(BYTES / self._logs / self._bytes))
        return max(1, min(OF_ONE_LOG, few))

    def saw(self, entries: Iterable[Raw]) -> None:
        """Take in the sizes of these."""
        largest = max((sum(map(len, fields)) for _, fields in entries), default=0)
        self._bytes = max(float(largest), self._bytes * 0.9, 1.0 if largest else 0.0)


async def described(
    scripts: Scripts, spec: StreamSpec[Any], partitions: Iterable[int]
) -> dict[int, PartitionDescription]:
    """What the partitions hold: their first and last ids, for instance."""
    numbers = list(partitions)
    calls = [protocol.describe(PartitionKeys(spec.prefix(number), "")) for number in numbers]
    found = {}
    for number, reply in zip(numbers, await scripts.call_all(calls), strict=True):
        if isinstance(reply, Exception):
            raise error_from(reply)
        found[number] = protocol.read_describe(reply)
    return found


async def merged(
    deployment: Deployment,
    spec: StreamSpec[Any],
    ranges: Mapping[int, Range],
    newest_first: bool = False,
) -> AsyncGenerator[Found]:
    """The events of partitions, merged by the time in their ids.

    Those of one partition are in order. Those of several are as well as that time goes: it is the
    clock of the server that has the partition. Raises redis-py's errors.
    """
    left, size, sign = dict(ranges), PageSize(len(ranges)), -1 if newest_first else 1
    pages: dict[int, deque[Raw]] = {}
    heap: list[tuple[int, int, int]] = []

    async def fill(numbers: Sequence[int]) -> None:
        limit = size.limit
        commands = [_page(spec, number, left[number], limit, newest_first) for number in numbers]
        for number, entries in zip(numbers, await deployment.ask(commands), strict=True):
            pages[number] = deque(entries)
            size.saw(entries)
            if len(entries) < limit:
                del left[number]
                continue
            (first, last), seen = left[number], f"({text(entries[-1][0])}"
            left[number] = (first, seen) if newest_first else (seen, last)

    def push(number: int) -> None:
        if pages[number]:
            ms, sequence = parts(text(pages[number][0][0]))
            heapq.heappush(heap, (sign * ms, sign * sequence, sign * number))

    await fill(list(ranges))
    for number in ranges:
        push(number)
    while heap:
        number = sign * heapq.heappop(heap)[2]
        id_, fields = pages[number].popleft()
        yield Found(number, text(id_), fields)
        if not pages[number] and number in left:
            await fill([number])
        push(number)


def _page(
    spec: StreamSpec[Any], number: int, range_: Range, limit: int, newest_first: bool
) -> Command:
    log = keys.log(spec.prefix(number))
    first, last = range_
    if newest_first:
        return log, ("XREVRANGE", log, last, first, "COUNT", limit)
    return log, ("XRANGE", log, first, last, "COUNT", limit)
