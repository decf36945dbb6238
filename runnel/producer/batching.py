"""Calls of one moment share a round trip, though each is made by a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

from runnel.connection.durability import AckRequirement
from runnel.errors import another
from runnel.protocol.scripts import Call, Scripts

#: Calls in one round trip at the most, so that it ends well before its time limit.
AT_ONCE = 16


class _Batch:
    """A round trip: calls, each with its outcome to come."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Call, asyncio.Future[Any]]] = []
        self.task: asyncio.Task[None]

    @property
    def unwanted(self) -> bool:
        """Has every caller been cancelled?"""
        return all(outcome.cancelled() for _, outcome in self.waiting)


class CallBatcher:
    """Makes the calls of one moment in one round trip to each server."""

    def __init__(self, scripts: Scripts, confirmation: AckRequirement | None) -> None:
        self._scripts = scripts
        self._confirmation = confirmation
        #: The round trip to each server that has not begun.
        self._next: dict[Hashable, _Batch] = {}
        #: Those under way with calls whose callers were cancelled.
        self._adrift: set[_Batch] = set()

    async def call(self, call: Call) -> Any:
        """Make one call and return its reply. Raises what `Scripts.call` raises."""
        server = self._scripts.deployment.node_of(call.keys[0])
        trip = self._next.get(server)
        if trip is None or len(trip.waiting) == AT_ONCE:
            # It begins when the tasks that are ready now have had their turn.
            trip = self._next[server] = _Batch()
            trip.task = asyncio.create_task(self._go(server, trip))
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        trip.waiting.append((call, outcome))
        try:
            reply = await outcome
        except asyncio.CancelledError:
            if not trip.task.done():
                self._adrift.add(trip)
                trip.task.add_done_callback(lambda _: self._adrift.discard(trip))
            raise
        if isinstance(reply, Exception):
            raise another(reply)
        return reply

    async def settled(self) -> None:
        """Wait until all that was asked by somebody who was cancelled has been answered, so that it
        does not arrive after what is sent next."""
        if self._adrift:
            await asyncio.wait([trip.task for trip in self._adrift])

    async def close(self) -> None:
        """End what nobody waits for. Where one caller of several was cancelled, the others wait."""
        unwanted = [trip.task for trip in self._adrift if trip.unwanted]
        for task in unwanted:
            task.cancel()
        if unwanted:
            await asyncio.wait(unwanted)

    async def _go(self, server: Hashable, trip: _Batch) -> None:
        if self._next.get(server) is trip:
            del self._next[server]  # What comes from now on goes with the next one.
        sent = [each for each in trip.waiting if not each[1].cancelled()]
        if not sent:
            return
        try:
            outcomes = await self._scripts.call_all([call for call, _ in sent], self._confirmation)
        except Exception as error:
            outcomes = [error] * len(sent)
        for (_, waiting), outcome in zip(sent, outcomes, strict=True):
            if not waiting.done():
                waiting.set_result(outcome)
