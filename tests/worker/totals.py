"""Handlers that count events in a table, and what Redis has of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from runnel import Events, keys
from runnel.table import Table
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


async def stored(redis: Redis, ledger: Ledger, name: str = "totals") -> dict[str, str]:
    """What Redis has of a table."""
    found: Any = await redis.hgetall(keys.table(ledger.partition_keys.prefix, name))
    return {key.decode(): value.decode() for key, value in found.items()}


def once(*numbers: int) -> dict[str, str]:
    """The totals if each of these events counted once."""
    return {str(each): str(n) for each, n in Counter(numbers).items()}


async def run_to_end(redis: Redis, ledger: Ledger) -> None:
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is committed")


def adds(totals: Table[int], fails: Callable[[int], Any] | None = None) -> Any:
    """A handler that adds 1 to the total of each event, and then may fail."""

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            totals[item.number] += 1
            if fails and (error := fails(item.number)):
                raise error

    return work
