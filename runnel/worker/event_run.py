"""One try of one event that is processed beside others of its partition.

The function of the user runs in a task of its own. What leaves it is judged as `HandlerRun` does:
by where it was raised, not by its type.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Never

from runnel.core.own_effects import OwnEffects
from runnel.core.partition import PartitionState
from runnel.core.reading import Raw, record_of
from runnel.core.table_state import Field
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.delivery import forked
from runnel.delivery.cancellation import asked_to_end
from runnel.errors import HandlerTimeout
from runnel.event import Event
from runnel.log import logger_of
from runnel.processor import Processor
from runnel.stream import Stream
from runnel.worker.cancelling import END_AFTER_TIMEOUT, cancel_handlers, leave_running
from runnel.worker.handler_run import Failure
from runnel.worker.table_reads import HandlerReads

logger = logger_of("runnel.worker")


class EventRun:
    """The function of `processor` runs with one event, for which it may write `effects`.

    It is given this object as its events. `ended` is called with its failure, or with None, once;
    not if it was closed before. `begins` is told, in the task, that it begins.
    """

    __slots__ = (
        "_begins",
        "_ended",
        "_failed",
        "_late",
        "_process",
        "_processor",
        "_raw",
        "_reads",
        "_state",
        "_task",
        "_timer",
        "effects",
        "in_thread",
    )

    def __init__(
        self,
        processor: Processor,
        state: PartitionState,
        reads: HandlerReads,
        event: tuple[Raw, OwnEffects],
        ended: Callable[[Failure | None], None],
        begins: Callable[[Raw], None] | None = None,
    ) -> None:
        self._process = os.getpid()
        self._processor = processor
        self._state = state
        self._reads = reads
        self._raw, self.effects = event
        self._ended = ended
        self._begins = begins
        #: It takes too long; it has failed, or the worker does without it.
        self._late = self._failed = False
        #: A thread runs the function, and nothing can cancel it.
        self.in_thread = False
        self._timer: asyncio.TimerHandle | None = None
        name = f"{processor.name}/{state.partition}"
        self._task = asyncio.create_task(self._handle(), name=name)

    @property
    def task(self) -> asyncio.Task[None]:
        """The task in which the function runs."""
        return self._task

    async def _handle(self) -> None:
        effects, state, timeout = self.effects, self._state, self._processor.timeout
        run = 0 if effects.tables is None else effects.tables.run
        CURRENT_EVENT.set(
            CurrentEvent(
                state.keys.log,
                state.keys.processor,
                self._stuck_at,
                self._has_event,
                effects.tables,
                self._load,
                run,
                self._over,
                effects.emit,
            )
        )
        if timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout, self._take_too_long)
        if self._begins is not None:
            self._begins(self._raw)
        raised: BaseException | None = None
        try:
            await self._processor.handler(self)
        except BaseException as error:
            raised = error
        forked.check(self._process)
        if not effects.closed:
            self._end(self._verdict(raised))

    def _verdict(self, raised: BaseException | None) -> BaseException | None:
        """The failure of a function that raised `raised`, or None if it has not failed."""
        if (exit_ := asked_to_end(raised)) is not None:
            return exit_
        if self._late:
            late = self._timed_out()
            late.__cause__ = raised
            return late
        if raised is None:
            try:
                self.effects.done()
            except Exception as error:  # A value that was changed in place cannot be stored.
                return error
        return raised

    def _end(self, failed: BaseException | None) -> None:
        self.close(failed=failed is not None)
        self._ended(None if failed is None else Failure(failed))

    def close(self, *, failed: bool = True) -> None:
        """What the function still does has no effect."""
        self._failed = failed
        self.effects.close()
        if self._timer is not None:
            self._timer.cancel()

    # Too late

    def _timed_out(self) -> BaseException:
        return HandlerTimeout(f"it took longer than timeout={self._processor.timeout:g} s")

    def _take_too_long(self) -> None:
        if self.in_thread:
            logger.error(
                "%s has had event %s for longer than timeout=%g: a plain function runs in a "
                "thread, which cannot be cancelled",
                self._name(),
                self._raw[0].decode(),
                self._processor.timeout,
            )
            return
        leave_running(asyncio.create_task(self._cancel()))

    async def _cancel(self) -> None:
        if self.effects.closed:
            return  # It ended just now: the event loop itself was late.
        self._late = True
        left = await cancel_handlers((self._task,), END_AFTER_TIMEOUT, lambda: False)
        if left and not self.effects.closed:
            self.abandon()
            self._end(self._timed_out())

    def abandon(self) -> None:
        """Go on without the function, which was cancelled and does not end."""
        logger.error(
            "%s was cancelled while it had event %s, and does not end: the worker continues "
            "without it, and nothing that it still does has an effect on its events",
            self._name(),
            self._raw[0].decode(),
        )
        self._state.left_running = True
        leave_running(self._task)

    def _name(self) -> str:
        return f"the handler of processor {self._processor.name}, partition {self._state.partition}"

    # For the function: its current event

    def _stuck_at(self, checkpoint: str) -> bool:
        """Does the checkpoint stay at this id until this event is finished? Not if others come
        first, unless the partition is stopped at one of them."""
        state = self._state
        first = bool(state.current) and state.current[0] is self._raw
        return (first or state.quarantined) and state.stuck_at(checkpoint)

    def _has_event(self) -> bool:
        return not self.effects.closed

    def _over(self) -> bool:
        return self._late or self._failed

    async def _load(self, fields: list[Field]) -> None:
        assert self.effects.tables is not None
        await self._reads.load(self.effects.tables, fields)

    # For the function: its events

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self._state.partition

    def __aiter__(self) -> AsyncIterator[Event[Any]]:
        return _Once(Event(self._raw, self._state.partition, self._processor.stream.codec), _same)

    def records(self) -> AsyncIterator[Any]:
        """The record of the event."""
        decode = self._processor.stream.codec.decode
        return _Once(self._raw, lambda raw: record_of(raw, decode))

    def emit(
        self,
        stream: Stream[Any],
        record: Any,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Never,
    ) -> None:
        """Send a record to another stream with the commit of the event: see `Stream.emit`."""
        stream.emit(record, headers=headers, **options)

    def ahead(self, *_: Any) -> None:
        """A thread processes this event alone: see `Events.ahead`."""

    @contextmanager
    def uncancellable(self) -> Iterator[None]:
        """A thread processes the event."""
        self.in_thread = True
        try:
            yield
        finally:
            self.in_thread = False


class _Once(AsyncIterator[Any]):
    """Gives out what `make` makes of one thing."""

    __slots__ = ("_make", "_thing")

    def __init__(self, thing: Any, make: Callable[[Any], Any]) -> None:
        self._thing = thing
        self._make = make

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> Any:
        if self._thing is None:
            raise StopAsyncIteration
        thing, self._thing = self._thing, None
        return self._make(thing)


def _same(event: Any) -> Any:
    return event
