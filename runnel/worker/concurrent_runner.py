"""Processes events of one held partition at the same time, those of one key in order.

An event is taken from the queue, joins those of its key (see `runnel.core.window`), and gets a task
of its own (see `EventRun`) when those before it are done. Whatever is finished without a gap is
committed. When one fails, its key waits, and others go on as long as there is room in the window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from runnel.codec.entry import COMPRESSED
from runnel.core.own_effects import OwnEffects
from runnel.core.parking import ParkedRaw
from runnel.core.reading import Raw
from runnel.core.window import InHand, Stage, Window
from runnel.delivery.observed_queue import ObservedQueue
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import (
    Halted,
    HandlerExit,
    ProtocolError,
    WorkerDied,
)
from runnel.log import logger_of
from runnel.processor import Processor
from runnel.worker import rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.cancelling import END_WITH_WORKER, cancel_handlers
from runnel.worker.event_run import EventRun
from runnel.worker.giving_up import Decision, GivingUp, attempts_of, decide_for
from runnel.worker.handler_run import Failure
from runnel.worker.room_waits import RoomWaits
from runnel.worker.table_reads import HandlerReads

logger = logger_of("runnel.worker")

#: Seconds for which events are still started that lie between others which were, once nothing more
#: is handed out: what lies behind a gap cannot be committed, and is processed again.
FILL_GAPS = 5.0


class ConcurrentRunner:
    """Keeps the handler of one partition running while the partition is open.

    `fail` is called with the reason if the member must end.
    """

    def __init__(
        self,
        queue: PartitionQueue,
        processor: Processor,
        backend: Backend,
        waits: RoomWaits,
        fail: Callable[[Halted | HandlerExit], None],
    ) -> None:
        self._queue = queue
        self._state = queue.state
        self._processor = processor
        self._giving_up = GivingUp(queue, processor, backend, waits)
        self._reads = HandlerReads(backend, queue.state)
        self._fail = fail
        #: Its queue, if observers are told of what it does.
        self._observed = queue if isinstance(queue, ObservedQueue) else None
        self._window = queue.window = Window(processor.concurrency, processor.prefetch)
        #: What runs.
        self._runs: dict[InHand, EventRun] = {}
        #: Tasks that tell Redis of a failure, or apply the policy to the first event.
        self._failing: dict[asyncio.Task[Any], None] = {}
        self._applying = False
        #: The member ends because of a failure: nothing more is started at all.
        self._ends = False
        #: How often the session had ended when something could last be started.
        self._lapses = 0
        #: What one of these tasks has raised.
        self._error: Exception | None = None

    async def run(self) -> None:
        """Run while the partition is open."""
        state = self._state
        try:
            while state.open:
                await self._step()
            await self._finish()
        except ProtocolError as refusal:
            self._lost(refusal)
        except asyncio.CancelledError:
            await self._stop()
            raise
        finally:
            state.rewind()
            state.shrink()
            state.handler_ended = True
            self._queue.release_start_lock()
        if self._error is not None:
            raise self._error

    async def _step(self) -> None:
        """Do what can be done now; then wait for a change."""
        state, queue, window = self._state, self._queue, self._window
        self._lapses = queue.lapses
        self._advance()
        if state.suspicion.one_by_one or state.alone:
            if not len(window):
                await self._take_one()
        else:
            room = window.room(state.buffer_limit)
            for raw in queue.take_beside(room):
                self._add(raw)
        self._start()
        if not (window.may_start and queue.in_session) and state.open:
            await queue.next_change()

    async def _take_one(self) -> None:
        """Take one event as the `Runner` does, with its start recorded if it may be to blame."""
        try:
            raws = await self._queue.take(1)
        except WorkerDied as error:
            item = self._add(self._state.current[0])
            self._window.start()
            self._ended(item, Failure(error, killed_workers=True))
            return
        for raw in raws or ():
            self._add(raw)

    def _add(self, raw: Raw) -> InHand:
        suspicion = self._state.suspicion
        if len(raw) == 2 and COMPRESSED not in raw[1][0]:
            with suppress(Exception):  # Raised again, where it is the failure of the event.
                raw.append(self._processor.stream.codec.decode(raw[1]))
        item = self._window.add(raw, self._state.parking.key_of(raw))
        if suspicion.attempts and suspicion.event == raw[0]:
            item.attempts = suspicion.attempts
        return item

    def _start(self) -> None:
        """Start what may be started."""
        window, state = self._window, self._state
        while window.may_start and self._queue.in_session:
            item = window.start()
            assert item is not None
            effects = item.effects = OwnEffects(state, key=item.key)
            self._runs[item] = EventRun(
                self._processor,
                state,
                self._reads,
                (item.raw, effects),
                partial(self._ended, item),
                None if self._observed is None else self._observed.begins,
            )

    def _ended(self, item: InHand, failure: Failure | None) -> None:
        """A try of an event has ended."""
        self._runs.pop(item, None)
        if self._observed is not None:
            self._observed.ended(item.raw, None if failure is None else failure.error)
        if failure is None:
            assert item.effects is not None
            item.effects.show()
            self._window.done(item)
            if self._state.open:
                self._start()  # At once: events that wait for the same time would end together.
        else:
            self._window.failed(item)
            self._spawn(partial(self._failed, item, failure))
        self._queue.changed.set()

    def _advance(self) -> None:
        """Finish the prefix of events that are done. If the next one is given up, its turn has
        come."""
        window = self._window
        if finished := window.finished():
            self._queue.finish_each(
                [None if each.stage is Stage.ASIDE else each.effects for each in finished]
            )
            self._queue.release_start_lock()
        first = window.first
        given_up = first is not None and first.failure is not None
        if first is not None and given_up and self._state.open and not self._applying:
            self._applying = True
            self._spawn(partial(self._apply, first))

    # Failures

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._failing[task] = None

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except ProtocolError as refusal:
            self._lost(refusal)
        except (Halted, HandlerExit) as ending:
            self._ends = True
            self._fail(ending)
            self._state.drain()  # The release comes with it, so that this tenure is not unclean.
        except Exception as error:
            self._ends, self._error = True, error
            self._state.drain()
        finally:
            task = asyncio.current_task()
            assert task is not None
            del self._failing[task]  # Before those are woken who wait until there is none.
            self._queue.changed.set()

    def _lost(self, refusal: ProtocolError) -> None:
        rebalance_log.lost(self._state.partition, refusal)
        self._state.end()

    async def _failed(self, item: InHand, failure: Failure) -> None:
        processor, error = self._processor, failure.error
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise HandlerExit.of(error) from error
        if self._reads.table_unusable:
            return
        attempts = self._count(item, failure)
        decision = decide_for(processor, [item.raw], failure, attempts, whole=True)
        event = item.raw[0].decode()
        self._giving_up.log(event, attempts, decision, failure)
        await self._giving_up.record("failure", event, attempts, failure)
        if decision in (Decision.GIVE_UP, Decision.POSTPONE):
            item.failure = failure
        else:
            await self._retry(item)

    async def _retry(self, item: InHand) -> None:
        """Try an event again in place, after a pause."""
        pause, state = self._processor.delay(item.attempts), self._state
        due_first = state.alone and len(self._window) == 1
        if self._alone(item) or due_first:
            self._queue.release_start_lock()
            await self._queue.pause(pause)
            if due_first:
                state.suspicion.event, state.suspicion.attempts = item.raw[0], item.attempts
            state.rewind()  # So that its next start is recorded, too.
            self._window.clear()
        else:
            self._queue.deadlines.call_later(pause, partial(self._again, item))

    def _count(self, item: InHand, failure: Failure) -> int:
        """How often an event has failed."""
        suspicion, event = self._state.suspicion, item.raw[0]
        if failure.killed_workers:  # Its deaths were counted when its workers died.
            item.attempts = suspicion.attempts
        elif self._alone(item) or suspicion.event == event:
            item.attempts = suspicion.failed(event)
        else:
            item.attempts += 1
        item.attempts = max(item.attempts, attempts_of(item.raw))
        return item.attempts

    def _alone(self, item: InHand) -> bool:
        """Is it taken anew for each try, and no other beside it?"""
        return self._state.suspicion.one_by_one or isinstance(item.raw, ParkedRaw)

    def _again(self, item: InHand) -> None:
        if self._state.open:
            self._window.again(item)
            self._queue.changed.set()

    async def _apply(self, item: InHand) -> None:
        """Apply the policy to the first event, which was given up."""
        state = self._state
        try:
            aside = await self._giving_up.apply(item.raw, item.attempts, item.failure)
        finally:
            self._applying = False
        if not aside and state.open:
            item.failure = None
            await self._retry(item)
            return
        if state.current and state.current[0] is item.raw:
            return  # The partition is not open any more.
        if state.parking.counts.get(item.key):
            self._window.parked()
        else:
            self._window.skipped()
        self._queue.release_start_lock()

    # The end

    async def _finish(self) -> None:
        """Nothing more is handed out: wait for what runs, and for what lies in between."""
        state, queue, window = self._state, self._queue, self._window
        window.close()
        deadline = asyncio.get_running_loop().time() + FILL_GAPS
        while True:
            if not state.ended:
                self._advance()
            left = deadline - asyncio.get_running_loop().time()
            # If the session has ended meanwhile, the partition may have another owner.
            lost = state.ended or queue.lapses != self._lapses
            fill = left > 0 and not (lost or state.quarantined or self._ends)
            if fill and not self._failing:
                self._start()
            if not (self._runs or self._failing):
                return
            await queue.next_change()

    async def _stop(self) -> None:
        """The worker has cancelled this: end what runs."""
        state, runs = self._state, list(self._runs.values())
        if not state.ended:
            self._advance()
        state.left_running |= any(each.in_thread for each in runs)
        for each in runs:
            each.close()
        for task in self._failing:
            task.cancel()
        left = await cancel_handlers([each.task for each in runs], END_WITH_WORKER, lambda: True)
        for each in runs:
            if each.task in left:
                each.abandon()
