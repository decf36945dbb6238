"""Middleware: async generators around the events on their way to the handler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from runnel.stream import StreamSpec


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
    """Keeps events that the policy IGNORE sets aside, in a stream derived from their source.

    The dead letter and the checkpoint behind the event are written in one atomic commit. `sink`
    defaults to ``<stream>.<processor>.dead``.
    """

    def __init__(self, sink: Any = None) -> None:
        self.sink: StreamSpec[Any] | None = sink.spec if sink is not None else None
