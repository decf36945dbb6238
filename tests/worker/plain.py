"""Plain functions under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from tests.worker.inside import Item, Ledger

NUMBERS = [*range(100)]


def plain(ledger: Ledger, call: Callable[[int], Any] | None = None, **options: Any) -> None:
    """Declare a plain function that calls `call` with each number and then notes it."""

    def work(item: Item) -> Any:
        result = call(item.number) if call else None
        ledger.seen.append(item.number)
        return result

    ledger.app.on(ledger.items, name="work", **options)(work)


async def state_of(redis: Redis, ledger: Ledger) -> dict[str, str]:
    found: Any = await redis.hgetall(ledger.state)
    return {key.decode(): value.decode() for key, value in found.items()}
