"""Commits what lanes have finished.

Self-clocking: while one round of commits is under way, finished events gather; the next round
covers them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.core.partition import Lane
from runnel.errors import ProtocolError
from runnel.processor import Processor
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Link
from runnel.worker.callbacks import Signals
from runnel.worker.feeds import At

#: Lanes of one round at the most: those that follow wait no longer than these take.
ROUND = 500
#: Seconds before the commit of a lane is sent again, at first and at the most.
PAUSE, LONGEST_PAUSE = 0.05, 1.0


class Committer:
    """Commits what its lanes have finished, one round after another.

    A lost reply is asked for again: a repeat changes nothing. What is refused or not answered waits
    by itself before it is sent again, and holds up no other lane.
    """

    def __init__(self, processor: Processor, link: Link, signals: Signals) -> None:
        self._processor = processor
        self._link = link
        self._signals = signals
        self._marked: list[Lane] = []
        self._wake = asyncio.Event()
        #: How long each lane waits that was not answered when it was last its turn.
        self._pauses: dict[Lane, float] = {}

    def mark(self, lane: Lane) -> None:
        """The lane has something to commit."""
        if not lane.marked:
            lane.marked = True
            self._put(lane)

    def _put(self, lane: Lane) -> None:
        self._marked.append(lane)
        self._wake.set()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._wake.wait()
            lanes, self._marked = self._marked[:ROUND], self._marked[ROUND:]
            if not self._marked:
                self._wake.clear()
            for lane in lanes:
                lane.marked = False
            await self._commit(lanes)

    async def _commit(self, lanes: list[Lane]) -> None:
        """One round."""
        doubtful = [(lane, doubt) for lane in lanes if (doubt := lane.doubt) and not lane.over]
        steps = [(lane, step) for lane in lanes if (step := lane.next_commit())]
        calls = [
            protocol.commit(self._processor.place(lane.partition), lane.token, step)
            for lane, step in steps
        ]
        for lane in lanes:
            if lane.clean:  # All that it has done was counted as lost: nothing else will say so.
                self._signals.stirred(lane)
        if calls:
            try:
                replies = await self._link.commit(calls)
            except (RedisError, OSError) as error:
                replies = [error] * len(steps)
            late = [
                (lane, reply)
                for (lane, step), reply in zip(steps, replies, strict=True)
                if not self._committed(lane, step, reply)
            ]
            self._ask_again(late, "commit")
        if doubtful:
            await self._look(doubtful)

    def _committed(self, lane: Lane, step: protocol.Step, reply: object) -> bool:
        """Take in what a commit was answered. Returns False if it is to be sent again."""
        if isinstance(reply, ProtocolError):
            rebalance_log.lost(lane.partition, reply)
            lane.end()
        elif isinstance(reply, Exception):
            return False
        else:
            committed = protocol.read_commit(reply)  # type: ignore[arg-type]
            lane.committed(step)
            if committed.paused:
                lane.park()
            if lane.next_commit() or (lane.doubt is not None and not lane.clean):
                self.mark(lane)
        if self._pauses:
            self._pauses.pop(lane, None)
        self._signals.stirred(lane)
        return True

    def _ask_again(self, late: Sequence[tuple[Lane, object]], what: str) -> None:
        """Once each lane has waited. Until then it counts as marked, so that nothing that it
        finishes meanwhile brings it back sooner."""
        if not late:
            outage_log.answered(what)
            return
        error = late[0][1]
        assert isinstance(error, Exception)
        outage_log.failed(what, error)
        loop = asyncio.get_running_loop()
        for lane, _ in late:
            pause = self._pauses.get(lane, PAUSE)
            self._pauses[lane] = min(pause * 2, LONGEST_PAUSE)
            if not lane.marked:
                lane.marked = True
                loop.call_later(pause, self._put, lane)

    def forget(self, lane: Lane) -> None:
        """It is over."""
        self._pauses.pop(lane, None)

    async def _look(self, doubtful: Sequence[tuple[Lane, str]]) -> None:
        """Look at the cursors behind which events were handed out meanwhile."""
        places: list[At] = [
            (keys.log(self._processor.stream.prefix(lane.partition)), doubt)
            for lane, doubt in doubtful
        ]
        try:
            seen = await self._link.look(places)
        except (RedisError, OSError) as error:
            seen = [error] * len(places)
        late: list[tuple[Lane, object]] = []
        for (lane, doubt), there in zip(doubtful, seen, strict=True):
            if isinstance(there, Exception):
                late.append((lane, there))
            elif not lane.looked(doubt, there):
                self._signals.suspect(lane)
            else:
                self._signals.stirred(lane)
                if lane.next_commit():
                    self.mark(lane)
        self._ask_again(late, "check of the log")
