"""One timer for many waits ends each in its time, and no other."""

from __future__ import annotations

import asyncio

import pytest

from runnel.time_limits import TimeLimits


async def forever() -> None:
    await asyncio.Event().wait()


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_a_wait_that_takes_too_long_is_ended_and_its_task_goes_on() -> None:
    limits = TimeLimits()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await limits.within(0.01, forever())
        assert cancellations() == 0
    assert await limits.within(60, asyncio.sleep(0, "done")) == "done"


async def test_a_wait_is_ended_that_began_behind_a_longer_one() -> None:
    limits = TimeLimits()
    longer = asyncio.create_task(limits.within(3600, forever()))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await limits.within(0.01, forever())
    assert not longer.done()
    longer.cancel()


async def test_a_wait_is_ended_that_began_while_the_timer_was_another_ones() -> None:
    limits = TimeLimits()
    first = asyncio.create_task(limits.within(0.01, forever()))
    await asyncio.sleep(0)
    second = asyncio.create_task(limits.within(0.02, forever()))
    for each in (first, second):
        with pytest.raises(TimeoutError):
            await each


async def test_who_is_cancelled_by_somebody_else_sees_that() -> None:
    limits = TimeLimits()
    task = asyncio.create_task(limits.within(60, forever()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_late_and_cancelled_by_somebody_else_is_cancelled() -> None:
    limits = TimeLimits()
    task = asyncio.create_task(limits.within(0, forever()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_limit_there_is_no_timer() -> None:
    limits = TimeLimits()
    assert await limits.within(None, asyncio.sleep(0, "done")) == "done"


async def test_what_fails_in_time_fails_as_it_does() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await TimeLimits().within(60, fail())
