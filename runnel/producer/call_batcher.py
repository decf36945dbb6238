"""Sends the calls that many tasks make at one moment in one round trip to each server."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

from runnel.connection.durability import AckRequirement
from runnel.producer.error_copies import copy_of
from runnel.protocol.scripts import Call, Scripts

#: Calls in one round trip at most, so that it ends well before its time limit.
MAX_CALLS = 16


class _Batch:
    """Calls that share a round trip, each with the future of its outcome."""

    def __init__(self) -> None:
        self.calls: list[tuple[Call, asyncio.Future[Any]]] = []
        self.task: asyncio.Task[None]

    @property
    def unwanted(self) -> bool:
        """Has every caller been cancelled?"""
        return all(outcome.cancelled() for _, outcome in self.calls)


class CallBatcher:
    """Makes the calls of one moment in one round trip to each server."""

    def __init__(self, scripts: Scripts, ack: AckRequirement | None) -> None:
        self._scripts = scripts
        self._ack = ack
        #: The batch for each server that is not sent yet.
        self._next: dict[Hashable, _Batch] = {}
        #: Batches under way that have calls whose callers were cancelled.
        self._orphans: set[_Batch] = set()

    async def call(self, call: Call) -> Any:
        """Make one call and return its reply. Raises what `Scripts.call` raises."""
        server = self._scripts.deployment.node_of(call.keys[0])
        batch = self._next.get(server)
        if batch is None or len(batch.calls) == MAX_CALLS:
            # The new task runs after all tasks that are ready now, so they can add their calls.
            batch = self._next[server] = _Batch()
            batch.task = asyncio.create_task(self._send(server, batch))
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        batch.calls.append((call, outcome))
        try:
            reply = await outcome
        except asyncio.CancelledError:
            if not batch.task.done():
                self._orphans.add(batch)
                batch.task.add_done_callback(lambda _: self._orphans.discard(batch))
            raise
        if isinstance(reply, Exception):
            raise copy_of(reply)
        return reply

    async def wait_for_orphans(self) -> None:
        """Wait until the calls of cancelled callers are answered, so that they do not arrive after
        what is sent next."""
        if self._orphans:
            await asyncio.wait([batch.task for batch in self._orphans])

    async def close(self) -> None:
        """Cancel the batches that nobody waits for. If one caller of several was cancelled, the
        others wait for their batch."""
        unwanted = [batch.task for batch in self._orphans if batch.unwanted]
        for task in unwanted:
            task.cancel()
        if unwanted:
            await asyncio.wait(unwanted)

    async def _send(self, server: Hashable, batch: _Batch) -> None:
        if self._next.get(server) is batch:
            del self._next[server]  # Later calls go into the next batch.
        sent = [each for each in batch.calls if not each[1].cancelled()]
        if not sent:
            return
        try:
            outcomes = await self._scripts.call_all([call for call, _ in sent], self._ack)
        except Exception as error:
            outcomes = [error] * len(sent)
        for (_, waiting), outcome in zip(sent, outcomes, strict=True):
            if not waiting.done():
                waiting.set_result(outcome)
