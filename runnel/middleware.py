"""Middleware: async generators around the events on their way to the handler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any


class Middleware:
    """Wraps the stream of events of one partition.

    What `handler` does before its ``yield`` happens before an event (or a batch: a list of events)
    is processed, what follows happens after. If processing fails, the exception is raised at the
    ``yield``; what becomes of the event is still up to the processor's policy.
    """

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield each item of `parent`."""
        async for item in parent:
            yield item


class DeadLetterMiddleware(Middleware):
    """Keeps events that the policy IGNORE or `runnel processor resume --skip` sets aside, in a
    stream derived from their source.

    The dead letter and the checkpoint behind the event are written in one atomic commit. Each
    processor that has this middleware has a sink of its own, ``<stream>.<processor>.dead``, unless
    `sink` names a stream of `DeadLetter` derived from the source: see `Stream.derive`.
    """

    def __init__(self, sink: Any = None) -> None:
        self.sink = sink
