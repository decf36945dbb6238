"""Reads the dead letters of the ledger in this process."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from runnel import DeadLetter
from tests.worker.inside import Ledger


async def dead_letters(redis: Redis, ledger: Ledger) -> list[tuple[int, DeadLetter]]:
    """The number of each item that was dead-lettered, and its dead letter."""
    sink = ledger.app.processors["work"].sink
    assert sink is not None
    entries: Any = await redis.xrange(f"{sink.prefix(0)}:log")
    found = [
        sink.codec.decode([each for pair in fields.items() for each in pair])
        for _, fields in entries
    ]
    return [(ledger.items.original(each).number, each) for each in found]
