"""An event that was given up becomes a dead letter with its error, and its record can be read."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import (
    DeadLetter,
    DeadLetterMiddleware,
    Events,
)
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


async def test_the_record_of_a_dead_letter_can_be_decoded(redis: Redis, ledger: Ledger) -> None:
    broken = True
    dead_letters = ledger.items.dead_letters("work")

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if broken:
                raise ValueError("not yet")
            ledger.seen.append(item.number)

    async def revive(events: Events[DeadLetter]) -> None:
        async for letter in events.records():
            ledger.seen.append(ledger.items.original(letter).number)

    ledger.processor(
        work, retries=0, exception_policy="ignore", middleware=[DeadLetterMiddleware()]
    )
    ledger.app.processor(dead_letters, name="revive")(revive)
    assert ledger.items.dead_letters("work") is dead_letters
    await ledger.send(1, 2)
    async with ledger.running():
        await until(lambda: ledger.seen == [1, 2], "the dead letters are read")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [ValueError("half a character: \ud800"), Unspeakable()])
async def test_an_event_whose_error_has_no_valid_text_is_dead_lettered(
    redis: Redis, ledger: Ledger, error: Exception
) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number == 1:
                raise error
            ledger.seen.append(item.number)

    ledger.processor(
        work, retries=1, exception_policy="ignore", middleware=[DeadLetterMiddleware()]
    )
    await ledger.send(0, 1, 2)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert ledger.seen == [0, 2]


async def test_another_processor_reads_the_dead_letters(redis: Redis, ledger: Ledger) -> None:
    rescued: list[int] = []

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number % 2:
                raise ValueError("odd")

    async def rescue(events: Events[DeadLetter]) -> None:
        async for dead_letter in events.records():
            assert dead_letter.error_type == "ValueError"
            rescued.append(ledger.items.original(dead_letter).number)

    ledger.processor(
        work, middleware=[DeadLetterMiddleware()], retries=0, exception_policy="ignore"
    )
    ledger.app.processor(ledger.app.streams["items.work.dead"])(rescue)
    await ledger.send(*range(6))
    for _ in range(2):
        await Worker(ledger.app).run(burst=True)
    assert rescued == [1, 3, 5]
