"""Runs a handler once, in a task of its own, and reports how it failed.

An exception that leaves user code is judged by where it was raised, not by its type: whatever a
handler raises is a failure of the current event, or of the handler if there is no current event. So
is a cancellation that the worker did not ask for. Only SystemExit and KeyboardInterrupt are more:
they end the worker.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from runnel.current_event import CURRENT_EVENT
from runnel.delivery import forked
from runnel.delivery.cancellation import asked_to_end
from runnel.delivery.error_text import describe_error
from runnel.delivery.handout import Handout
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import HandlerReturned, WorkerDied
from runnel.events import EACH_RECORD, ONE_RECORD, Events
from runnel.log import logger_of
from runnel.processor import Processor
from runnel.worker.cancelling import (
    END_AFTER_TIMEOUT,
    END_WITH_WORKER,
    cancel_handlers,
    leave_running,
)

logger = logger_of("runnel.worker")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a handler raised, and what its middleware raised instead. With `killed_workers`, the
    event was not given to the handler, because workers died while they processed it."""

    error: BaseException
    instead: tuple[BaseException, ...] = ()
    killed_workers: bool = False


class HandlerRun:
    """One run of the handler of one partition."""

    def __init__(self, queue: PartitionQueue, processor: Processor) -> None:
        self._state = queue.state
        self._processor = processor
        self._handout = Handout(queue, processor.timeout)
        self._process = os.getpid()
        self._instead: list[BaseException] = []
        #: The worker has cancelled this run.
        self._stopping = False

    async def run(self) -> Failure | None:
        """Run the handler. Returns None if it ended because its events did, otherwise its failure.
        The events that failed, if there are any, are still current.

        SystemExit and KeyboardInterrupt are returned like any other error, because raised in a task
        they would end the event loop at once.
        """
        handout, name = self._handout, f"{self._processor.name}/{self._state.partition}"
        handler = asyncio.create_task(self._handle(), name=name)
        try:
            while not handler.done():
                attention = asyncio.ensure_future(handout.attention.wait())
                try:
                    await asyncio.wait((handler, attention), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    attention.cancel()
                handout.attention.clear()
                if not handler.done() and not await self._check(handler):
                    return self._abandoned_failure()
        except asyncio.CancelledError:
            self._stopping = True
            self._state.left_running = handout.in_thread
            handout.close()
            if not await self._end(handler, END_WITH_WORKER):
                self._abandon(handler)
            raise
        error = handler.result()
        if error is None:
            return None
        killed_workers = error is handout.error and isinstance(error, WorkerDied)
        return Failure(error, tuple(self._instead), killed_workers)

    async def _handle(self) -> BaseException | None:
        processor, handout = self._processor, self._handout
        if (here := CURRENT_EVENT.get()) is not None:  # For this task, and those that it starts.
            here = here._replace(over=lambda: handout.closed)
            CURRENT_EVENT.set(here)
        codec, middleware = processor.stream.codec, processor.middleware
        events: Events[object] = Events(handout, codec, middleware, here)
        raised: BaseException | None = None
        try:
            await processor.handler(events)
        except BaseException as error:
            raised = error
            if isinstance(error, AttributeError) and error.obj is events:
                hint = f"it is to be iterated over, as in {EACH_RECORD}; {ONE_RECORD}"
                raised = AttributeError(f"{error}: {hint}").with_traceback(error.__traceback__)
        forked.check(self._process)
        failed = self._verdict(raised)
        try:
            if failed is not None and not isinstance(failed, (SystemExit, KeyboardInterrupt)):
                self._instead += await handout.raise_in_middleware(failed)
            await handout.end_middleware()
        except (SystemExit, KeyboardInterrupt) as exit_:  # Raised by a middleware.
            return exit_
        except BaseException as error:  # Cancelled while a middleware handled the failure.
            logger.warning(
                "%s: its middleware was cancelled: %s: %s", self._name(), *describe_error(error)
            )
            failed = self._verdict(raised)
        if isinstance(failed, asyncio.CancelledError) and self._instead:
            return self._instead.pop(0)  # It says more, such as that a time limit was over.
        return failed

    def _verdict(self, raised: BaseException | None) -> BaseException | None:
        """The failure of a handler that raised `raised`, or None if it has not failed."""
        handout, state = self._handout, self._state
        if (exit_ := asked_to_end(raised)) is not None:
            return exit_
        if self._stopping:
            return None
        if late := self._late_error():
            late.__cause__ = raised
            return late
        if handout.error is not None:
            return handout.error
        ended = not state.open and not state.current
        if raised is None or isinstance(raised, StopAsyncIteration):
            if not state.open and (raised is None or ended):
                return None
            return self._returned(raised)
        if ended and handout.ignores_end:
            return None
        return raised

    def _returned(self, raised: StopAsyncIteration | None) -> HandlerReturned:
        """The failure of a handler that has ended although its events have not."""
        name, must = self._processor.name, "it must iterate until its events end"
        if raised is not None:
            error = HandlerReturned(
                f"processor {name} ended with StopAsyncIteration, which came from another iterator "
                f"than that of its events; {must}"
            )
            error.__cause__ = raised
            return error
        if self._handout.never_asked:
            return HandlerReturned(
                f"processor {name} returned without having asked for an event; {must}, as in "
                f"{EACH_RECORD}; {ONE_RECORD}"
            )
        return HandlerReturned(f"processor {name} returned; {must}")

    async def _check(self, handler: asyncio.Task[BaseException | None]) -> bool:
        """End a handler that is late, or that keeps asking although its events have ended. Returns
        False if it did not end."""
        handout = self._handout
        if handout.late and handout.in_thread:
            logger.error(
                "%s has had %s for longer than timeout=%g: a plain function runs in a "
                "thread, which cannot be cancelled",
                self._name(),
                self._current_events(),
                handout.timeout,
            )
            handout.late = False
            return True
        if not handout.late and not handout.ignores_end:
            return True
        handout.close()
        if await self._end(handler, END_AFTER_TIMEOUT):
            return True
        self._abandon(handler)
        return False

    def _late_error(self) -> BaseException | None:
        return self._handout.timed_out() if self._handout.closed else None

    def _abandoned_failure(self) -> Failure | None:
        """The failure of a handler that did not end."""
        error = self._late_error() or self._handout.error
        return Failure(error) if error else None

    async def _end(self, handler: asyncio.Task[BaseException | None], seconds: float) -> bool:
        """Cancel the handler and wait until it ends. Returns False if it has not ended in time."""
        return not await cancel_handlers((handler,), seconds, lambda: self._stopping)

    def _abandon(self, handler: asyncio.Task[BaseException | None]) -> None:
        logger.error(
            "%s was cancelled while it had %s, and does not end: the worker continues without it, "
            "and nothing that it still does has an effect on its events",
            self._name(),
            self._current_events(),
        )
        self._state.left_running = True
        leave_running(handler)

    def _name(self) -> str:
        return f"the handler of processor {self._processor.name}, partition {self._state.partition}"

    def _current_events(self) -> str:
        hand = self._state.current
        if not hand:
            return "nothing"
        first = f"event {hand[0][0].decode()}"
        return first if len(hand) == 1 else f"{first} and {len(hand) - 1} more"
