"""Commits what the handlers of partitions have finished.

While one round of commits is in flight, further events are finished; the next round covers them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.exceptions import RedisError, ResponseError

from runnel import protocol
from runnel.core.partition import PartitionState
from runnel.errors import BadArgument, Full, Mismatch, Missing, NotWriter, ProtocolError
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.callbacks import Callbacks
from runnel.worker.feeds import LogCursor
from runnel.worker.forwarder import Forwarders
from runnel.worker.room_waits import RoomWaits
from runnel.worker.table_reads import is_wrong_type

#: The most partitions of one round: the others wait no longer than these take.
PARTITIONS_PER_ROUND = 500
#: Seconds before the commit of a partition is sent again, at first and at most.
PAUSE, LONGEST_PAUSE = 0.05, 1.0


class Committer:
    """Commits what its partitions have finished, one round after another.

    A commit whose reply was lost is repeated: that changes nothing. A partition whose commit failed
    waits by itself before the repeat, and holds up no other partition.
    """

    def __init__(
        self, backend: Backend, callbacks: Callbacks, waits: RoomWaits, forwarders: Forwarders
    ) -> None:
        self._backend = backend
        self._callbacks = callbacks
        self._waits = waits
        self._forwarders = forwarders
        self._scheduled: list[PartitionState] = []
        self._wake = asyncio.Event()
        #: How long a partition waits if its commit fails again.
        self._pauses: dict[PartitionState, float] = {}

    def schedule(self, state: PartitionState) -> None:
        """Commit this partition in the next round."""
        if not state.commit_scheduled:
            state.commit_scheduled = True
            self._add(state)

    def _add(self, state: PartitionState) -> None:
        self._scheduled.append(state)
        self._wake.set()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._wake.wait()
            states, self._scheduled = (
                self._scheduled[:PARTITIONS_PER_ROUND],
                self._scheduled[PARTITIONS_PER_ROUND:],
            )
            if not self._scheduled:
                self._wake.clear()
            for state in states:
                state.commit_scheduled = False
            await self._commit(states)

    async def _commit(self, states: list[PartitionState]) -> None:
        """One round."""
        unverified = [
            (state, cursor)
            for state in states
            if (cursor := state.unverified_from) and not state.ended
        ]
        moves = [(state, move) for state in states if (move := state.next_commit())]
        calls = [state.commit_call(move) for state, move in moves]
        for state in states:
            # There may be nothing left to commit, because a claim has counted the finished events
            # as lost, or the lease has ended. Wake those who wait for the commit.
            if state.all_committed or state.ended:
                self._callbacks.on_change(state)
        if calls:
            try:
                replies = await self._backend.commit(calls)
            except (RedisError, OSError) as error:
                replies = [error] * len(moves)
            failed = [
                (state, reply)
                for (state, move), reply in zip(moves, replies, strict=True)
                if not await self._settle_refusal(state, reply)
                and not self._committed(state, move, reply)
            ]
            for state, reply in failed:
                if isinstance(reply, ResponseError | BadArgument):
                    await self._waits.refused_by_redis(state, reply)
            self._retry(failed, "commit")
        if unverified:
            await self._verify_cursors(unverified)

    async def _settle_refusal(self, state: PartitionState, reply: object) -> bool:
        """Do what a refusal because of another stream needs. Returns False if it is none."""
        if isinstance(reply, Full | BadArgument) and state.draining and state.handler_ended:
            state.drop_finished()  # Only the release is left: others wait for the partition.
            self.schedule(state)
        elif isinstance(reply, Full):
            if refusal := self._forwarders.reason_of(state, reply):
                await self._waits.refused(state, refusal)
            self._schedule_later(state)
        elif isinstance(reply, (Missing, Mismatch)) and "sink" in reply.details:
            try:
                if isinstance(reply, Mismatch):
                    raise reply
                for call in state.declarations(reply.details["sink"]):
                    await self._backend.call(call)
                self.schedule(state)
            except Mismatch as error:
                state.refuse(error)
                self._callbacks.on_change(state)
            except (RedisError, OSError) as error:
                self._retry([(state, error)], "declare")
        else:
            return False
        return True

    def _committed(
        self, state: PartitionState, move: protocol.CheckpointMove, reply: object
    ) -> bool:
        """Take in the reply to a commit. Returns False if the commit must be repeated."""
        if isinstance(reply, NotWriter):
            state.refuse(reply)
        elif isinstance(reply, ProtocolError) and not isinstance(reply, BadArgument):
            rebalance_log.lost(state.partition, reply)
            state.end()
        elif isinstance(reply, Exception):
            if is_wrong_type(reply) and state.tables is not None:
                self._callbacks.on_wrong_key(state)
            return False
        else:
            committed = protocol.read_commit(reply)  # type: ignore[arg-type]
            fills_outbox = state.fills_outbox
            state.committed(move)
            if fills_outbox:
                self._forwarders.wrote(state)
            if state in self._waits.refusals:
                self._waits.over(state)
            if committed.paused:
                state.stop()
            if state.next_commit() or (
                state.unverified_from is not None and not state.all_committed
            ):
                self.schedule(state)
        if self._pauses:
            self._pauses.pop(state, None)
        self._callbacks.on_change(state)
        return True

    def _retry(self, failed: Sequence[tuple[PartitionState, object]], call: str) -> None:
        """Schedule the partitions again, each after its pause. It counts as scheduled until then,
        so that an event that it finishes meanwhile does not bring it back sooner."""
        if not failed:
            outage_log.answered(call)
            return
        error = failed[0][1]
        assert isinstance(error, Exception)
        outage_log.failed(call, error)
        for state, _ in failed:
            self._schedule_later(state)

    def _schedule_later(self, state: PartitionState) -> None:
        pause = self._pauses.get(state, PAUSE)
        self._pauses[state] = min(pause * 2, LONGEST_PAUSE)
        if not state.commit_scheduled:
            state.commit_scheduled = True
            asyncio.get_running_loop().call_later(pause, self._add, state)

    def forget(self, state: PartitionState) -> None:
        """The partition is not held any more."""
        self._pauses.pop(state, None)
        if state in self._waits.refusals:
            self._waits.over(state)

    async def _verify_cursors(self, unverified: Sequence[tuple[PartitionState, str]]) -> None:
        """Check that the entries exist after which events were handed out."""
        cursors: list[LogCursor] = [(state.keys.log, cursor) for state, cursor in unverified]
        try:
            found = await self._backend.verify_cursors(cursors)
        except (RedisError, OSError) as error:
            found = [error] * len(cursors)
        failed: list[tuple[PartitionState, object]] = []
        for (state, cursor), exists in zip(unverified, found, strict=True):
            if isinstance(exists, Exception):
                failed.append((state, exists))
            elif not state.verified(cursor, exists):
                self._callbacks.on_suspected_loss(state)
            else:
                self._callbacks.on_change(state)
                if state.next_commit():
                    self.schedule(state)
        self._retry(failed, "verify cursor")
