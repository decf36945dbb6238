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


async def test_a_wait_without_a_time_does_not_end() -> None:
    async with LOOP.at(None):
        await asyncio.sleep(0)
