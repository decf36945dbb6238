"""The waits of a held partition: for its commits, and for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from runnel.core.partition import PartitionState
from runnel.core.reading import Raw
from runnel.delivery.deadlines import Deadlines


class PartitionWaits:
    """`changed` is set when an event or a reply has arrived, or the partition is not open any more.
    `deadlines` is the clock of the waits for a time."""

    def __init__(
        self,
        state: PartitionState,
        schedule_commit: Callable[[PartitionState], None],
        deadlines: Deadlines,
    ) -> None:
        self.state = state
        self.changed = asyncio.Event()
        self.deadlines = deadlines
        self._schedule_commit = schedule_commit

    async def flush(self) -> None:
        """Wait until the cursor is verified and everything that is finished is committed, or the
        lease has ended."""
        state = self.state
        if state.unverified_from is not None:
            self._schedule_commit(state)
        while not ((state.all_committed and state.unverified_from is None) or state.ended):
            self.changed.clear()
            await self.changed.wait()
            # A read that was sent before a postponed event was handed out may come in meanwhile.
            if state.unverified_from is not None and not state.loss_suspected:
                self._schedule_commit(state)

    async def wait_settled(self) -> None:
        """Wait until everything that was read is finished and committed, or the partition is not
        open any more."""
        while self.state.open and not self.state.settled:
            self.changed.clear()
            await self.changed.wait()

    async def pause(self, seconds: float) -> None:
        """Wait that long, or until the partition is not open any more."""
        deadline = self.deadlines.now() + seconds
        while self.state.open and await self._wait_for_change(deadline):
            pass

    async def _wait_for_change(self, deadline: float) -> bool:
        """Wait for a change. Returns False at the deadline, a time of its clock."""
        if deadline <= self.deadlines.now():
            return False
        self.changed.clear()
        try:
            async with self.deadlines.at(deadline):
                await self.changed.wait()
        except TimeoutError:
            return False
        return True

    # What observers are told: see `ObservedQueue`

    def begins(self, raw: Raw) -> None:
        """The handler begins with this event, beside others: called in its task."""

    def ended(self, raw: Raw, error: BaseException | None) -> None:
        """A try of this event, beside others, has ended."""

    def failed(self, error: BaseException, decision: str) -> None:
        """A try has failed, and this follows."""

    def given_up(self, result: str) -> None:
        """This became of an event that was not processed."""
