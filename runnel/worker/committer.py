"""Commits of all held partitions of one processor, together in one round trip.

Self-clocking: while one round is under way, finished events gather; the next round covers them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.lane import Lane
from runnel.errors import ProtocolError
from runnel.processor import Processor
from runnel.protocol import Step
from runnel.scripts import Scripts

logger = logging.getLogger("runnel.worker")


class Committer:
    """Sends what the lanes want committed; calls `settled` for a lane that moved or is over."""

    def __init__(
        self, processor: Processor, scripts: Scripts, settled: Callable[[Lane], None]
    ) -> None:
        self._processor = processor
        self._scripts = scripts
        self._settled = settled
        self._dirty: dict[int, Lane] = {}
        self._wake = asyncio.Event()

    def mark(self, lane: Lane) -> None:
        """The lane has something to commit."""
        self._dirty[id(lane)] = lane
        self._wake.set()

    async def run(self) -> None:
        """Commit until cancelled. A lost reply is asked for again: a repeat changes nothing."""
        pause = 0.05
        while True:
            await self._wake.wait()
            self._wake.clear()
            lanes, self._dirty = list(self._dirty.values()), {}
            steps = [(lane, step) for lane in lanes if (step := lane.next_commit())]
            if not steps:
                continue
            calls = [
                protocol.commit(self._processor.place(lane.partition), lane.token, step)
                for lane, step in steps
            ]
            try:
                replies = await self._scripts.call_all(calls)
            except (RedisError, OSError) as error:
                logger.warning("commit not answered, asking again: %s", error)
                replies = [error] * len(steps)
            again = False
            for (lane, step), reply in zip(steps, replies, strict=True):
                again |= self._take(lane, step, reply)
            if again:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                pause = 0.05

    def _take(self, lane: Lane, step: Step, reply: object) -> bool:
        """Take in one reply. Returns True if the call must be sent again."""
        if isinstance(reply, ProtocolError):
            logger.warning(
                "partition %d of %s: commit refused: %s",
                lane.partition,
                self._processor.name,
                reply,
            )
            lane.over = True
        elif isinstance(reply, Exception):
            self._dirty[id(lane)] = lane
            self._wake.set()
            return True
        else:
            committed = protocol.read_commit(reply)  # type: ignore[arg-type]
            lane.committed(step)
            if committed.paused:
                lane.parked = True
            if lane.next_commit():
                self.mark(lane)
        self._settled(lane)
        return False
