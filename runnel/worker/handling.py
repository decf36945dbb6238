"""Runs a handler once, in a task of its own, and says how it failed.

What leaves user code is told by where it comes from, not by its type: whatever a handler raises is
a failure of the event in hand. So is a cancellation that nobody here has asked for.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from runnel.delivery.error_text import told
from runnel.delivery.handout import Handing
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import HandlerReturned, WorkerDied, asked_to_end
from runnel.events import EACH_RECORD, ONE_RECORD, Events
from runnel.log import logger_of
from runnel.processor import Processor

logger = logger_of("runnel.worker")

#: Seconds that a handler has to end once it is cancelled: because it took too long, and because
#: its worker ends. In that time it may clean up; a cancellation that it swallows is repeated once.
END_AFTER_TIMEOUT, END_WITH_WORKER = 5.0, 0.9

#: Tasks of handlers that did not end. The event loop alone would let them vanish.
_abandoned: set[asyncio.Task[BaseException | None]] = set()


@dataclass(frozen=True, slots=True)
class Failure:
    """What a handler raised, and what its middleware raised when it was told. `condemned` if the
    event never came to the handler, because workers died of it."""

    error: BaseException
    instead: tuple[BaseException, ...] = ()
    condemned: bool = False


class Handling:
    """One run of the handler of one partition."""

    def __init__(self, queue: PartitionQueue, processor: Processor) -> None:
        self._state = queue.state
        self._processor = processor
        self._handing = Handing(queue, processor.timeout)
        self._instead: list[BaseException] = []
        #: The worker wants it to end.
        self._stopping = False

    async def run(self) -> Failure | None:
        """None if the handler ended because its events did. What a failure is about is in hand.

        SystemExit and KeyboardInterrupt are returned like any other error, since raised in a task
        they would end the event loop at once.
        """
        handing, name = self._handing, f"{self._processor.name}/{self._state.partition}"
        handler = asyncio.create_task(self._handle(), name=name)
        try:
            while not handler.done():
                look = asyncio.ensure_future(handing.conspicuous.wait())
                try:
                    await asyncio.wait((handler, look), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    look.cancel()
                handing.conspicuous.clear()
                if not handler.done() and not await self._look(handler):
                    return self._late()
        except asyncio.CancelledError:
            self._stopping = True
            self._state.left_running = handing.in_thread
            handing.close()
            if not await self._end(handler, END_WITH_WORKER):
                self._abandon(handler)
            raise
        error = handler.result()
        if error is None:
            return None
        condemned = error is handing.error and isinstance(error, WorkerDied)
        return Failure(error, tuple(self._instead), condemned)

    async def _handle(self) -> BaseException | None:
        processor, handing = self._processor, self._handing
        events: Events[object] = Events(handing, processor.stream.codec, processor.middleware)
        raised: BaseException | None = None
        try:
            await processor.handler(events)
        except BaseException as error:
            raised = error
            if isinstance(error, AttributeError) and error.obj is events:
                hint = f"it is to be iterated over, as in {EACH_RECORD}; {ONE_RECORD}"
                raised = AttributeError(f"{error}: {hint}").with_traceback(error.__traceback__)
        failed = self._verdict(raised)
        try:
            if failed is not None and not isinstance(failed, (SystemExit, KeyboardInterrupt)):
                self._instead += await handing.tell(failed)
            await handing.end()
        except (SystemExit, KeyboardInterrupt) as exit_:  # A middleware's.
            return exit_
        except BaseException as error:  # Cancelled while middleware is told.
            logger.warning("%s: its middleware was cut off: %s: %s", self._who(), *told(error))
            failed = self._verdict(raised)
        if isinstance(failed, asyncio.CancelledError) and self._instead:
            return self._instead.pop(0)  # Which alone says what happened: a time limit, perhaps.
        return failed

    def _verdict(self, raised: BaseException | None) -> BaseException | None:
        """What a handler failed with, if it failed, given what it raised."""
        handing, state = self._handing, self._state
        if (exit_ := asked_to_end(raised)) is not None:
            return exit_
        if self._stopping:
            return None
        if late := self._late_error():
            late.__cause__ = raised
            return late
        if handing.error is not None:
            return handing.error
        ended = not state.open and not state.in_hand
        if raised is None or isinstance(raised, StopAsyncIteration):
            if not state.open and (raised is None or ended):
                return None
            return self._returned(raised)
        if ended and handing.restless:
            return None
        return raised

    def _returned(self, raised: StopAsyncIteration | None) -> HandlerReturned:
        """The failure of a handler that has ended though its events have not."""
        name, must = self._processor.name, "it must iterate until its events end"
        if raised is not None:
            error = HandlerReturned(
                f"processor {name} ended with StopAsyncIteration, which came from another iterator "
                f"than that of its events; {must}"
            )
            error.__cause__ = raised
            return error
        if self._handing.untouched:
            return HandlerReturned(
                f"processor {name} returned without having asked for an event; {must}, as in "
                f"{EACH_RECORD}; {ONE_RECORD}"
            )
        return HandlerReturned(f"processor {name} returned; {must}")

    async def _look(self, handler: asyncio.Task[BaseException | None]) -> bool:
        """End a handler that is late, or goes on asking for events when there are no more. Returns
        False if it did not end."""
        handing = self._handing
        if handing.late and handing.in_thread:
            logger.error(
                "%s has had %s in hand for longer than timeout=%g: a plain function runs in a "
                "thread, which cannot be cancelled",
                self._who(),
                self._what(),
                handing.timeout,
            )
            handing.late = False
            return True
        if not handing.late and not handing.restless:
            return True
        handing.close()
        if await self._end(handler, END_AFTER_TIMEOUT):
            return True
        self._abandon(handler)
        return False

    def _late_error(self) -> BaseException | None:
        return self._handing.timed_out() if self._handing.closed else None

    def _late(self) -> Failure | None:
        """What became of a handler that is left to itself."""
        error = self._late_error() or self._handing.error
        return Failure(error) if error else None

    async def _end(self, handler: asyncio.Task[BaseException | None], seconds: float) -> bool:
        """Cancel it, and wait until it has ended. Returns False if it has not by then."""
        now = asyncio.get_running_loop().time
        for until in (now() + seconds / 2, now() + seconds):
            handler.cancel()
            while not handler.done() and (left := until - now()) > 0:
                try:
                    await asyncio.wait((handler,), timeout=left)
                except asyncio.CancelledError:
                    if not self._stopping:  # Else it is said again, and raised in the end.
                        raise
        return handler.done()

    def _abandon(self, handler: asyncio.Task[BaseException | None]) -> None:
        logger.error(
            "%s was cancelled with %s in hand and does not end: it is left to itself, and what it "
            "still does does not count",
            self._who(),
            self._what(),
        )
        self._state.left_running = True
        _abandoned.add(handler)
        handler.add_done_callback(_abandoned.discard)

    def _who(self) -> str:
        return f"the handler of processor {self._processor.name}, partition {self._state.partition}"

    def _what(self) -> str:
        hand = self._state.in_hand
        if not hand:
            return "nothing"
        first = f"event {hand[0][0].decode()}"
        return first if len(hand) == 1 else f"{first} and {len(hand) - 1} more"
