"""Commits what partitions have finished.

Self-clocking: while one round of commits is under way, finished events gather; the next round
covers them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.partition import PartitionState
from runnel.errors import ProtocolError
from runnel.processor import Processor
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.callbacks import Callbacks
from runnel.worker.feeds import At

#: Partitions of one round at the most: those that follow wait no longer than these take.
ROUND = 500
#: Seconds before the commit of a partition is sent again, at first and at the most.
PAUSE, LONGEST_PAUSE = 0.05, 1.0


class Committer:
    """Commits what its partitions have finished, one round after another.

    A lost reply is asked for again: a repeat changes nothing. What is refused or not answered waits
    by itself before it is sent again, and holds up no other lane.
    """

    def __init__(self, processor: Processor, backend: Backend, callbacks: Callbacks) -> None:
        self._processor = processor
        self._backend = backend
        self._callbacks = callbacks
        self._marked: list[PartitionState] = []
        self._wake = asyncio.Event()
        #: How long each partition waits that was not answered when it was last its turn.
        self._pauses: dict[PartitionState, float] = {}

    def mark(self, state: PartitionState) -> None:
        """The partition has something to commit."""
        if not state.commit_scheduled:
            state.commit_scheduled = True
            self._put(state)

    def _put(self, state: PartitionState) -> None:
        self._marked.append(state)
        self._wake.set()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._wake.wait()
            states, self._marked = self._marked[:ROUND], self._marked[ROUND:]
            if not self._marked:
                self._wake.clear()
            for state in states:
                state.commit_scheduled = False
            await self._commit(states)

    async def _commit(self, states: list[PartitionState]) -> None:
        """One round."""
        doubtful = [
            (state, unverified_from)
            for state in states
            if (unverified_from := state.unverified_from) and not state.over
        ]
        steps = [(state, step) for state in states if (step := state.next_commit())]
        calls = [protocol.commit(state.keys, state.token, step) for state, step in steps]
        for state in states:
            if state.clean:  # All that it has done was counted as lost: nothing else will say so.
                self._callbacks.on_change(state)
        if calls:
            try:
                replies = await self._backend.commit(calls)
            except (RedisError, OSError) as error:
                replies = [error] * len(steps)
            late = [
                (state, reply)
                for (state, step), reply in zip(steps, replies, strict=True)
                if not self._committed(state, step, reply)
            ]
            self._ask_again(late, "commit")
        if doubtful:
            await self._look(doubtful)

    def _committed(
        self, state: PartitionState, step: protocol.CheckpointMove, reply: object
    ) -> bool:
        """Take in what a commit was answered. Returns False if it is to be sent again."""
        if isinstance(reply, ProtocolError):
            rebalance_log.lost(state.partition, reply)
            state.end()
        elif isinstance(reply, Exception):
            return False
        else:
            committed = protocol.read_commit(reply)  # type: ignore[arg-type]
            state.committed(step)
            if committed.paused:
                state.pause()
            if state.next_commit() or (state.unverified_from is not None and not state.clean):
                self.mark(state)
        if self._pauses:
            self._pauses.pop(state, None)
        self._callbacks.on_change(state)
        return True

    def _ask_again(self, late: Sequence[tuple[PartitionState, object]], what: str) -> None:
        """Once each partition has waited. Until then it counts as marked, so that nothing that it
        finishes meanwhile brings it back sooner."""
        if not late:
            outage_log.answered(what)
            return
        error = late[0][1]
        assert isinstance(error, Exception)
        outage_log.failed(what, error)
        loop = asyncio.get_running_loop()
        for state, _ in late:
            pause = self._pauses.get(state, PAUSE)
            self._pauses[state] = min(pause * 2, LONGEST_PAUSE)
            if not state.commit_scheduled:
                state.commit_scheduled = True
                loop.call_later(pause, self._put, state)

    def forget(self, state: PartitionState) -> None:
        """It is over."""
        self._pauses.pop(state, None)

    async def _look(self, doubtful: Sequence[tuple[PartitionState, str]]) -> None:
        """Look at the cursors behind which events were handed out meanwhile."""
        places: list[At] = [
            (state.keys.log, unverified_from) for state, unverified_from in doubtful
        ]
        try:
            seen = await self._backend.look(places)
        except (RedisError, OSError) as error:
            seen = [error] * len(places)
        late: list[tuple[PartitionState, object]] = []
        for (state, unverified_from), there in zip(doubtful, seen, strict=True):
            if isinstance(there, Exception):
                late.append((state, there))
            elif not state.verified(unverified_from, there):
                self._callbacks.suspect(state)
            else:
                self._callbacks.on_change(state)
                if state.next_commit():
                    self.mark(state)
        self._ask_again(late, "check of the log")
