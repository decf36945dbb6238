"""Hands the events of one partition to one run of its handler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from runnel.core.reading import Raw
from runnel.delivery.middleware_chain import MiddlewareChain
from runnel.delivery.partition_queue import PartitionQueue
from runnel.delivery.stopwatch import Stopwatch
from runnel.errors import HandlerTimeout, IterationError, WorkerDied
from runnel.log import logger_of

logger = logger_of("runnel.worker")

#: How often a handler may ask again after its events have ended.
ASKS_AFTER_END = 10


class HandlerIterator(Protocol):
    """An iterator that a handler uses."""

    @property
    def chain(self) -> MiddlewareChain | None:
        """The middleware that it runs."""
        ...

    def stop_shortcut(self) -> None:
        """Take the next event from the handout, and not directly from the queue."""


class Handout:
    """Knows which iterator got the current events, whether these take too long, and whether more
    may be handed out.

    `timeout` is how many seconds one event, or one list, may take.
    """

    def __init__(self, queue: PartitionQueue, timeout: float | None = None) -> None:
        self.queue = queue
        self.timeout = timeout
        self.stopwatch = Stopwatch(timeout, self._late) if timeout is not None else None
        #: The iterator that asked last, and its middleware.
        self._iterator: HandlerIterator | None = None
        self._chain: MiddlewareChain | None = None
        #: An iterator waits for an event.
        self.waiting = False
        self._asks_after_end = 0
        #: The failure between the queue and the handler, if any: the handler may have swallowed it.
        self.error: BaseException | None = None
        #: Nothing is handed out any more: the handler has failed or ended.
        self.closed = False
        #: The current events take longer than `timeout`.
        self.late = False
        #: A thread processes the current events, and nothing can cancel it.
        self.in_thread = False
        #: Set when the worker must end the handler: it is late, or asks on after its events have
        #: ended.
        self.attention = asyncio.Event()

    # For the iterators

    async def enter(self, iterator: HandlerIterator) -> None:
        """This iterator asks for events. Raises IterationError if another one has events in
        hand, or waits for one."""
        other = self._iterator
        if self.waiting or (other not in (None, iterator) and self.queue.state.current):
            raise IterationError(
                "events are iterated over in one place at a time: here a second iterator, or a "
                "second task, asks for one while the first still has its own; use one iterator, "
                "or finish the current events with `await events.commit()` first"
            )
        if other is not None and other is not iterator:
            other.stop_shortcut()
            if self._chain:
                self.waiting = True  # Its middleware may wait at its end: refuse others meanwhile.
                try:
                    await self._chain.close()
                finally:
                    self.waiting = False
        iterator.stop_shortcut()
        self._iterator, self._chain = iterator, iterator.chain

    async def take(
        self,
        limit: int,
        within: float | None = None,
        empty: bool = False,
        finish: int | None = None,
    ) -> Sequence[Raw] | None:
        """The next events of the queue (see `PartitionQueue.take`). None at the end."""
        if self.closed:
            await self.at_end()
            return None
        self._stop_stopwatch()
        try:
            raws = await self.queue.take(limit, within, empty=empty, finish=finish)
        except WorkerDied as error:
            if self.closed:
                return self._put_back(1)
            self.fail(error)
            return None
        if self.closed and raws:
            return self._put_back(len(raws))
        if raws is None:
            await self.at_end()
            return None
        if self.stopwatch and raws:
            self.stopwatch.start()
        return raws

    def _put_back(self, count: int) -> None:
        """Return events to the buffer: the handler ended while a task that it left behind waited
        for them. They are for the next run of the handler."""
        state = self.queue.state
        state.rewind(keep=len(state.current) - count)
        self.queue.changed.set()

    async def at_end(self) -> None:
        """An iterator asked, and there are no more events. A handler that keeps asking must not
        keep the event loop from other work, such as cancelling it."""
        self._asks_after_end += 1
        if self._asks_after_end > ASKS_AFTER_END:
            self.attention.set()
            await asyncio.sleep(0.05)
        elif self._asks_after_end > 1:
            await asyncio.sleep(0)

    def fail(self, error: BaseException) -> None:
        """Fail the current event, even if the handler swallows the error: it was raised between the
        queue and the handler."""
        self.error = self.error or error
        self.close()

    async def commit(self) -> None:
        """Finish the current events, and wait until they are committed."""
        if self.closed:
            raise IterationError("this handler gets no more events: it has failed or ended")
        self._stop_stopwatch()
        await self.queue.commit(self._chain.finished() if self._chain else None)

    def next_begins(self) -> None:
        """The current event is another one than before, and the handler begins with it."""
        if self.stopwatch is not None:
            self._stop_stopwatch()
            self.stopwatch.start()

    def _stop_stopwatch(self) -> None:
        if self.stopwatch is None:
            return
        self.late = False
        seconds = self.stopwatch.stop()
        if seconds is not None and seconds > self.stopwatch.seconds:
            logger.warning(
                "partition %d: the last event or batch took %.1f s, longer than timeout=%g; the "
                "handler could not be cancelled",
                self.queue.partition,
                seconds,
                self.stopwatch.seconds,
            )

    # For the worker

    @contextmanager
    def uncancellable(self) -> Iterator[None]:
        """A thread processes the current events."""
        self.in_thread = True
        try:
            yield
        finally:
            self.in_thread = False

    def timed_out(self) -> HandlerTimeout | None:
        """The error of the current events if they take too long."""
        if not self.late:
            return None
        return HandlerTimeout(f"it took longer than timeout={self.timeout:g} s")

    @property
    def never_asked(self) -> bool:
        """Has the handler never asked for an event?"""
        return self._iterator is None

    @property
    def ignores_end(self) -> bool:
        """Does the handler keep asking although its events have ended?"""
        return self._asks_after_end > ASKS_AFTER_END

    def close(self) -> None:
        """Hand out nothing more. The events that a failure is about stay current."""
        if self.closed:
            return
        self.closed = True
        if self.stopwatch:
            self.stopwatch.close()
        if self._iterator:
            self._iterator.stop_shortcut()
        if self._chain:
            self._chain.closed = True
            self.queue.finish(self._chain.keep_blamed())

    async def raise_in_middleware(self, error: BaseException) -> list[BaseException]:
        """Raise `error` at the ``yield`` of each middleware, the one nearest to the handler first.
        Returns what they raised instead."""
        self.close()
        return await self._chain.throw(error) if self._chain else []

    async def end_middleware(self) -> None:
        """End every middleware."""
        self.close()
        if self._chain:
            await self._chain.close()

    def _late(self) -> None:
        self.late = True
        self.attention.set()
