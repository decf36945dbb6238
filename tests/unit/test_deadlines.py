"""One timer for many reads ends each in its time, and no other."""

from __future__ import annotations

import asyncio

import pytest

from runnel.deadlines import Deadlines, Late


def reading(reader: asyncio.StreamReader) -> asyncio.Task[bytes]:
    return asyncio.create_task(reader.read(100))


async def test_a_read_that_takes_too_long_is_ended_and_so_are_those_that_follow() -> None:
    deadlines, reader = Deadlines(), asyncio.StreamReader()
    deadlines.begin(reader, 0.01)
    for _ in range(2):
        with pytest.raises(Late):
            await reader.read(100)


async def test_a_read_is_ended_that_began_behind_a_longer_one() -> None:
    deadlines, longer, shorter = Deadlines(), asyncio.StreamReader(), asyncio.StreamReader()
    deadlines.begin(longer, 3600)
    other = reading(longer)
    deadlines.begin(shorter, 0.01)
    with pytest.raises(Late):
        await shorter.read(100)
    longer.feed_data(b"there")
    assert await other == b"there"
    deadlines.close()


async def test_a_read_is_ended_that_began_while_the_timer_was_another_ones() -> None:
    deadlines, readers = Deadlines(), [asyncio.StreamReader() for _ in range(2)]
    for number, reader in enumerate(readers):
        deadlines.begin(reader, 0.01 * (number + 1))
    for each in [reading(reader) for reader in readers]:
        with pytest.raises(Late):
            await each


async def test_who_was_in_time_is_in_no_hurry_afterwards() -> None:
    deadlines, early, late = Deadlines(), asyncio.StreamReader(), asyncio.StreamReader()
    deadlines.begin(early, 0.01)
    early.feed_data(b"there")
    assert await early.read(100) == b"there"
    deadlines.end(early)
    deadlines.begin(late, 0.01)
    with pytest.raises(Late):
        await late.read(100)
    assert early.exception() is None
