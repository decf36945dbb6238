"""Who waits until a partition is clean is told, even when there is nothing to commit."""

from __future__ import annotations

import asyncio
from typing import Any

from runnel.core.partition import PartitionState
from runnel.protocol import ClaimReply, PartitionKeys, Token
from runnel.worker.callbacks import Callbacks
from runnel.worker.committer import Committer


async def test_a_lane_whose_finished_events_were_counted_as_lost_is_told_that_it_is_clean() -> None:
    told: asyncio.Queue[PartitionState] = asyncio.Queue()
    nobody: Any = None  # Without anything to commit, no call is made.
    committer = Committer(nobody, nobody, Callbacks(told.put_nowait, told.put_nowait))
    claimed = ClaimReply(7, "0-0", 0, 0, "", 0, False, False, None, True, False, "", 0)
    state = PartitionState(0, PartitionKeys("p", "work"), 1, Token(7, "n"), claimed)
    assert state.clean
    assert state.next_commit() is None
    running = asyncio.create_task(committer.run())
    committer.mark(state)
    async with asyncio.timeout(10):
        assert await told.get() is state
    running.cancel()
