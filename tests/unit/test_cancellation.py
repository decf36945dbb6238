"""A requested cancellation is distinguished from a CancelledError that user code raises."""

from __future__ import annotations

import asyncio

from runnel.delivery.cancellation import asked_to_end, cancelled


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


def test_an_exit_is_found_in_a_group_of_errors() -> None:
    exit_ = SystemExit(3)
    group = BaseExceptionGroup("", [ValueError("no"), BaseExceptionGroup("", [exit_])])
    assert asked_to_end(group) is exit_
    assert asked_to_end(exit_) is exit_
    assert asked_to_end(ExceptionGroup("", [ValueError("no")])) is None
    assert asked_to_end(None) is None
