"""One timer for many waits ends each in its time, and no other."""

from __future__ import annotations

import asyncio

import pytest

from runnel.deadlines import Deadlines, Late


def waits(number: int) -> list[asyncio.Future[None]]:
    return [asyncio.get_running_loop().create_future() for _ in range(number)]


async def test_a_wait_that_takes_too_long_is_ended() -> None:
    deadlines, (late,) = Deadlines(), waits(1)
    deadlines.begin(late, 0.01)
    with pytest.raises(Late):
        await late


async def test_a_wait_is_ended_that_began_behind_a_longer_one() -> None:
    deadlines, (longer, shorter) = Deadlines(), waits(2)
    deadlines.begin(longer, 3600)
    deadlines.begin(shorter, 0.01)
    with pytest.raises(Late):
        await shorter
    assert not longer.done()
    deadlines.close()


async def test_a_wait_is_ended_that_began_while_the_timer_was_another_ones() -> None:
    deadlines, both = Deadlines(), waits(2)
    for number, each in enumerate(both):
        deadlines.begin(each, 0.01 * (number + 1))
    for each in both:
        with pytest.raises(Late):
            await each


async def test_who_was_in_time_is_in_no_hurry_afterwards() -> None:
    deadlines, (ended, answered, late) = Deadlines(), waits(3)
    for each in (ended, answered):
        deadlines.begin(each, 0.01)
    deadlines.end(ended)
    answered.set_result(None)
    deadlines.begin(late, 0.02)
    with pytest.raises(Late):
        await late
    assert not ended.done()
    assert answered.result() is None
