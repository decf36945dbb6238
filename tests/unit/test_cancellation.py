"""A requested cancellation is distinguished from a CancelledError that user code raises."""

from __future__ import annotations

import asyncio

from runnel.delivery.cancellation import cancelled


async def test_only_a_task_that_other_code_cancels_is_cancelled() -> None:
    seen: list[bool] = []

    async def work() -> None:
        try:
            raise asyncio.CancelledError
        except asyncio.CancelledError:
            seen.append(cancelled())
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(cancelled())

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert seen == [False, True]
