"""Reads delayed events for people who look at them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any, NamedTuple

from runnel import keys, protocol
from runnel.connection.redis_client import Arg
from runnel.delayed import Delayed
from runnel.protocol import DelayedEntry
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec

#: Events in one reply: each may have a megabyte.
PAGE = 20


class Waiting(NamedTuple):
    """A delayed event: its receipt, and the fields and values of its entry in turn."""

    receipt: Delayed
    entry: list[bytes]


async def next_due(
    scripts: Scripts, spec: StreamSpec[Any], partitions: Iterable[int], number: int
) -> list[Waiting]:
    """The events that are due next, at most so many, in the order in which they are due."""
    found: list[Waiting] = []
    for partition in partitions:
        at = 0
        while at < number:
            page = await _read(scripts, spec, partition, at, at + PAGE - 1)
            found += page[: number - at]
            at += PAGE
            if len(page) < PAGE:
                break
        found = heapq.nsmallest(number, found, key=lambda each: each.receipt.due)
    return found


async def count(scripts: Scripts, spec: StreamSpec[Any]) -> int:
    """How many events of a stream wait."""
    names = [keys.delayed(spec.prefix(number)) for number in range(spec.partition_count)]
    replies = await scripts.deployment.ask([(each, ("ZCARD", each)) for each in names])
    return sum(map(int, replies))


async def find(scripts: Scripts, spec: StreamSpec[Any], delayed: Delayed) -> Waiting | None:
    """The event of a receipt, or None if it does not wait any more."""
    due, _ = delayed.parts()
    at = 0
    while page := await _read(
        scripts, spec, delayed.partition, due, due, "BYSCORE", "LIMIT", at, PAGE
    ):
        for each in page:
            if each.receipt.id == delayed.id:
                return each
        at += PAGE
    return None


async def _read(
    scripts: Scripts, spec: StreamSpec[Any], partition: int, *bounds: Arg
) -> list[Waiting]:
    key = keys.delayed(spec.prefix(partition))
    (flat,) = await scripts.deployment.ask([(key, ("ZRANGE", key, *bounds, "WITHSCORES"))])
    found = []
    for member, due in zip(flat[::2], flat[1::2], strict=True):
        read = protocol.read_delayed(member, due) or DelayedEntry(int(float(due)), 0, [])
        found.append(Waiting(Delayed.of(partition, read.due, read.order), read.entry))
    return found
