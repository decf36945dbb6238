"""How the events of one lease come to one run of a handler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from runnel.core.partition import Raw
from runnel.delivery.middleware_chain import Chain
from runnel.delivery.partition_queue import PartitionQueue
from runnel.delivery.stopwatch import Watch
from runnel.errors import HandlerTimeout, IterationError, WorkerDied
from runnel.log import logger_of

logger = logger_of("runnel.worker")

#: How often a handler may ask again after it was told that its events have ended.
ASKS_AFTER_END = 10


class Asker(Protocol):
    """An iterator that a handler has."""

    @property
    def chain(self) -> Chain | None:
        """The middleware that it runs."""
        ...

    def hold(self) -> None:
        """Ask before the next event is given out."""


class Handing:
    """Knows who was given what is in hand, whether it takes too long, and whether it is over.

    `timeout` is the seconds that one event, or one list, may take.
    """

    def __init__(self, queue: PartitionQueue, timeout: float | None = None) -> None:
        self.queue = queue
        self.timeout = timeout
        self.watch = Watch(timeout, self._late) if timeout is not None else None
        #: The iterator that was asked last, and its middleware.
        self._asker: Asker | None = None
        self._chain: Chain | None = None
        #: An ask is under way.
        self.waiting = False
        self._asks_after_end = 0
        #: What went wrong on the way to the handler, if anything: it may have swallowed that.
        self.error: BaseException | None = None
        #: Nothing is given out any more: the handler has failed, or ended.
        self.closed = False
        #: What is in hand has been there for longer than `timeout`.
        self.late = False
        #: A thread has it, and nothing can cancel that.
        self.in_thread = False
        #: Set when the handler is to be looked at: it is late, or does not end.
        self.conspicuous = asyncio.Event()

    # For the iterators

    async def enter(self, asker: Asker) -> None:
        """Something is asked for. Raises IterationError if somebody else has something in hand."""
        other = self._asker
        if self.waiting or (other not in (None, asker) and self.queue.state.in_hand):
            raise IterationError(
                "events are iterated over in one place at a time: here a second iterator, or a "
                "second task, asks for one while the first still has its own; use one iterator, "
                "or finish what is in hand with `await events.commit()` first"
            )
        if other is not None and other is not asker:
            other.hold()
            if self._chain:
                self.waiting = True  # Its middleware may wait at its end: nobody else asks then.
                try:
                    await self._chain.close()
                finally:
                    self.waiting = False
        asker.hold()
        self._asker, self._chain = asker, asker.chain

    async def ask(
        self,
        limit: int,
        within: float | None = None,
        empty: bool = False,
        finish: int | None = None,
    ) -> Sequence[Raw] | None:
        """What the lease gives next. None at the end."""
        if self.closed:
            await self.ended()
            return None
        self._done_in_time()
        try:
            raws = await self.queue.take(limit, within, empty=empty, finish=finish)
        except WorkerDied as error:
            if self.closed:
                return self._put_back(1)
            self.broke(error)
            return None
        if self.closed and raws:
            return self._put_back(len(raws))
        if raws is None:
            await self.ended()
            return None
        if self.watch and raws:
            self.watch.start()
        return raws

    def _put_back(self, count: int) -> None:
        """Whoever waited here was left behind by a handler that has ended meanwhile: what has come
        is for the next one."""
        state = self.queue.state
        state.rewind(keep=len(state.in_hand) - count)
        self.queue.changed.set()

    async def ended(self) -> None:
        """Told once, a handler ends. One that goes on asking must not keep the event loop from
        whatever else it has to do, such as to cancel it."""
        self._asks_after_end += 1
        if self._asks_after_end > ASKS_AFTER_END:
            self.conspicuous.set()
            await asyncio.sleep(0.05)
        elif self._asks_after_end > 1:
            await asyncio.sleep(0)

    def broke(self, error: BaseException) -> None:
        """A failure between the partition and the handler: the policy is to hear of it, whatever
        the handler makes of it."""
        self.error = self.error or error
        self.close()

    async def commit(self) -> None:
        """Finish what is in hand, and wait until that is committed."""
        if self.closed:
            raise IterationError("these events are over for this handler: it has failed or ended")
        self._done_in_time()
        await self.queue.commit(self._chain.finished() if self._chain else None)

    def _done_in_time(self) -> None:
        if self.watch is None:
            return
        self.late = False
        took = self.watch.stop()
        if took is not None and took > self.watch.seconds:
            logger.warning(
                "partition %d: what was in hand until now took %.1f s, longer than timeout=%g; it "
                "could not be cancelled",
                self.queue.partition,
                took,
                self.watch.seconds,
            )

    # For the worker

    @contextmanager
    def uncancellable(self) -> Iterator[None]:
        """What is in hand is processed by a thread."""
        self.in_thread = True
        try:
            yield
        finally:
            self.in_thread = False

    def timed_out(self) -> HandlerTimeout | None:
        """The error of what has been in hand for too long."""
        if not self.late:
            return None
        return HandlerTimeout(f"it took longer than timeout={self.timeout:g} s")

    @property
    def untouched(self) -> bool:
        """Has the handler never asked for anything?"""
        return self._asker is None

    @property
    def restless(self) -> bool:
        """Does the handler go on asking though its events have ended?"""
        return self._asks_after_end > ASKS_AFTER_END

    def close(self) -> None:
        """Give nothing out any more. What a failure would be about is left in hand."""
        if self.closed:
            return
        self.closed = True
        if self.watch:
            self.watch.close()
        if self._asker:
            self._asker.hold()
        if self._chain:
            self._chain.closed = True
            self.queue.finish(self._chain.blame())

    async def tell(self, error: BaseException) -> list[BaseException]:
        """Raise `error` at the ``yield`` of each middleware, the innermost last. Returns what they
        raised instead."""
        self.close()
        return await self._chain.tell(error) if self._chain else []

    async def end(self) -> None:
        """End every middleware."""
        self.close()
        if self._chain:
            await self._chain.close()

    def _late(self) -> None:
        self.late = True
        self.conspicuous.set()
