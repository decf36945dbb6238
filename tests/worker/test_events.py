"""What a handler can ask of its events: lists, and commits."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n": 5, "empty": True}, "needs within"),
        ({"n": 5, "within": -1.0}, "0 seconds or more"),
        ({"n": 5, "within": float("nan")}, "0 seconds or more"),
    ],
)
async def test_numbers_that_make_no_sense_are_refused(
    redis: Redis, ledger: Ledger, arguments: dict[str, Any], said: str
) -> None:
    refused: list[str] = []

    async def work(events: Events[Item]) -> None:
        try:
            events.take(**arguments)
        except ValueError as error:
            refused.append(str(error))
        async for _ in events:
            pass

    ledger.processor(work)
    async with ledger.running():
        await until(lambda: refused, "it is refused")
    assert said in refused[0]


@pytest.mark.parametrize("mode", ["each", "explicit"])
async def test_an_event_is_committed_before_the_next_when_asked_for(
    redis: Redis, ledger: Ledger, mode: str
) -> None:
    behind: list[int] = []

    async def careful(events: Events[Item]) -> None:
        async for item in events.records():
            (group,) = await redis.xinfo_groups(ledger.log)
            behind.append(group["entries-read"] - item.number)
            if mode == "explicit":
                await events.commit()

    ledger.processor(careful, commit="each" if mode == "each" else "auto")
    await ledger.send(*range(20))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert behind == [0] * 20
