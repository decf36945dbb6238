"""Base class of middleware, and the middleware that keeps dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any


class Middleware:
    """Base class of middleware, which runs code before and after each event of a partition.

    The code before the ``yield`` in `handler` runs before an event (or a batch: a list of events)
    is processed, the code after it runs afterwards. If processing fails, the ``yield`` raises the
    exception. Then the processor's policy applies, whatever the middleware does.
    """

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield each item of `parent`."""
        async for item in parent:
            yield item


class DeadLetterMiddleware(Middleware):
    """Keeps events that the policy IGNORE or `runnel processor resume --skip` skips as dead
    letters, in a stream derived from their stream.

    One atomic commit writes the dead letter and moves the checkpoint past the event. The sink is
    ``<stream>.<processor>.dead``, unless `sink` is another derived stream of `DeadLetter`: see
    `Stream.derive`.
    """

    def __init__(self, sink: Any = None) -> None:
        self.sink = sink
