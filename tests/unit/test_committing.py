"""Who waits until a lane is clean is told, even when there is nothing to commit."""

from __future__ import annotations

import asyncio
from typing import Any

from runnel.core.lane import Lane
from runnel.protocol import Claimed, Token
from runnel.worker.committing import Committer
from runnel.worker.signals import Signals


async def test_a_lane_whose_finished_events_were_counted_as_lost_is_told_that_it_is_clean() -> None:
    told: asyncio.Queue[Lane] = asyncio.Queue()
    nobody: Any = None  # Without anything to commit, no call is made.
    committer = Committer(nobody, nobody, Signals(told.put_nowait, told.put_nowait))
    claimed = Claimed(7, "0-0", 0, 0, "", 0, False, False, None, True, False, "", 0)
    lane = Lane(0, 1, Token(7, "n"), claimed)
    assert lane.clean
    assert lane.next_commit() is None
    running = asyncio.create_task(committer.run())
    committer.mark(lane)
    async with asyncio.timeout(10):
        assert await told.get() is lane
    running.cancel()
