"""The clock of the waits of a partition is that of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from runnel.delivery.deadlines import LOOP


async def test_a_wait_ends_at_its_time() -> None:
    with pytest.raises(TimeoutError):
        async with LOOP.at(LOOP.now() + 0.001):
            await asyncio.Event().wait()
    assert abs(LOOP.now() - asyncio.get_running_loop().time()) < 60


async def test_a_call_is_made_later() -> None:
    called = asyncio.Event()
    LOOP.call_later(0.001, called.set)
    await asyncio.wait_for(called.wait(), 10)


async def test_a_wait_without_a_time_does_not_end() -> None:
    async with LOOP.at(None):
        await asyncio.sleep(0)
