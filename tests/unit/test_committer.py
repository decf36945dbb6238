"""A committer repeats what got no reply, ends what was refused, and verifies cursors. It reports
that all is committed even if there was nothing to commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.exceptions import ConnectionError

from runnel.core.partition import PartitionState
from runnel.errors import Fenced
from runnel.protocol.scripts import Call
from runnel.worker.callbacks import Callbacks
from runnel.worker.cancelling import cancel_and_wait
from runnel.worker.committer import PARTITIONS_PER_ROUND, Committer
from tests.unit.partition_states import state, unverified


class Stage:
    """A committer, a backend with the given replies, and what the committer called."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        #: The number of commits in each round.
        self.rounds: list[int] = []
        self.exists: Any = True
        self.refusals: dict[PartitionState, int] = {}
        self.changed = asyncio.Event()
        self.suspected: asyncio.Queue[PartitionState] = asyncio.Queue()
        self.wrong: list[PartitionState] = []
        callbacks = Callbacks(
            lambda _: self.changed.set(), self.suspected.put_nowait, self.wrong.append
        )
        me = cast("Any", self)
        self.committer = Committer(me, callbacks, me, me)

    async def commit(self, calls: Sequence[Call]) -> list[Any]:
        self.rounds.append(len(calls))
        await asyncio.sleep(0)
        reply = self.replies.pop(0) if self.replies else [1, 0]
        if isinstance(reply, OSError | ConnectionError):
            raise reply
        return [reply] * len(calls)

    async def verify_cursors(self, cursors: Sequence[Any]) -> list[Any]:
        return [self.exists] * len(cursors)

    @property
    def commits(self) -> int:
        return sum(self.rounds)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.committer.run())
        try:
            yield
        finally:
            await cancel_and_wait([task])

    async def until_changed(self) -> None:
        await asyncio.wait_for(self.changed.wait(), 10)
        self.changed.clear()


def finished(*numbers: int) -> PartitionState:
    it = state(*numbers)
    it.hand_out(len(numbers))
    it.finish()
    return it


async def test_what_is_finished_is_committed() -> None:
    stage, it = Stage(), finished(1, 2)
    async with stage.running():
        stage.committer.schedule(it)
        stage.committer.schedule(it)
        await stage.until_changed()
    assert (it.checkpoint, it.processed, stage.commits) == ("2-0", 2, 1)


async def test_a_round_has_a_limited_number_of_partitions() -> None:
    stage, states = Stage(), [finished(1) for _ in range(PARTITIONS_PER_ROUND + 1)]
    for it in states:
        stage.committer.schedule(it)
    async with stage.running():
        while not states[-1].all_committed:
            await stage.until_changed()
    assert stage.rounds == [PARTITIONS_PER_ROUND, 1]
    assert {it.checkpoint for it in states} == {"1-0"}


async def test_a_commit_without_a_reply_is_repeated() -> None:
    stage, it = Stage(), finished(1)
    stage.replies = [ConnectionError("lost"), ConnectionError("lost")]
    async with stage.running():
        stage.committer.schedule(it)
        await stage.until_changed()
    assert (it.checkpoint, stage.commits) == ("1-0", 3)


async def test_a_refusal_ends_the_lease() -> None:
    stage, it = Stage(), finished(1)
    stage.replies = [Fenced("FENCED", {})]
    async with stage.running():
        stage.committer.schedule(it)
        await stage.until_changed()
    assert it.ended
    assert stage.commits == 1


async def test_a_cursor_is_verified_before_what_follows_is_committed() -> None:
    stage, it = Stage(), unverified(2)
    it.hand_out(1)
    it.finish()
    async with stage.running():
        stage.committer.schedule(it)
        while it.checkpoint != "2-0":
            await stage.until_changed()
    assert stage.suspected.empty()


async def test_a_cursor_whose_entry_is_gone_is_a_suspected_loss() -> None:
    stage, it = Stage(), unverified(2)
    it.hand_out(1)
    it.finish()
    stage.exists = False
    async with stage.running():
        stage.committer.schedule(it)
        assert await asyncio.wait_for(stage.suspected.get(), 10) is it
    assert stage.suspected.empty()
    assert (it.checkpoint, stage.commits) == ("1-0", 0)


async def test_all_is_committed_if_what_was_finished_was_counted_as_lost() -> None:
    stage, it = Stage(), state()
    assert it.all_committed
    assert it.next_commit() is None
    async with stage.running():
        stage.committer.schedule(it)
        await stage.until_changed()
    assert stage.commits == 0
