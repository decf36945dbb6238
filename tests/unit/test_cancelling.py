"""Tasks are cancelled until they have ended, or until there is no more time."""

from __future__ import annotations

import asyncio

from runnel.worker.cancelling import cancel_and_wait


async def swallow(times: int) -> None:
    """Swallow so many cancellations."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            times -= 1
            if times < 0:
                raise


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    tasks = [asyncio.create_task(swallow(times)) for times in (0, 1, 2)]
    await asyncio.sleep(0)
    assert await cancel_and_wait(tasks) == []
    assert all(task.cancelled() for task in tasks)


async def test_what_does_not_end_in_time_is_returned() -> None:
    stubborn, quick = asyncio.create_task(swallow(1000)), asyncio.create_task(swallow(0))
    await asyncio.sleep(0)
    assert await cancel_and_wait((stubborn, quick), 0.15) == [stubborn]
    assert quick.cancelled()
    while not stubborn.done():
        stubborn.cancel()
        await asyncio.sleep(0)


async def test_what_a_task_raises_stays_in_it() -> None:
    async def fail() -> None:
        raise ValueError("no")

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    assert await cancel_and_wait([task]) == []
    assert isinstance(task.exception(), ValueError)
