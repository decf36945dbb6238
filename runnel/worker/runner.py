"""Runs the handler over one held partition, and decides what to do when it fails."""

from __future__ import annotations

from runnel.core.table_state import Field
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.delivery.error_text import describe_error, traceback_of
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import Halted, HandlerExit, ProtocolError
from runnel.log import logger_of
from runnel.processor import ExceptionPolicy, Processor
from runnel.worker import rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.giving_up import (
    QUARANTINED_WITHOUT_EVENT,
    Decision,
    GivingUp,
    attempts_of,
    decide_for,
)
from runnel.worker.handler_run import Failure, HandlerRun
from runnel.worker.room_waits import RoomWaits
from runnel.worker.table_reads import HandlerReads

logger = logger_of("runnel.worker")


class Runner:
    """Keeps the handler of one partition running while the partition is open."""

    def __init__(
        self, queue: PartitionQueue, processor: Processor, backend: Backend, waits: RoomWaits
    ) -> None:
        self._giving_up = GivingUp(queue, processor, backend, waits)
        self._queue = queue
        self._state = queue.state
        self._processor = processor
        self._reads = HandlerReads(backend, queue.state)
        #: Failures in a row without a current event, and the checkpoint at that time.
        self._failures_before_first, self._failed_at = 0, ""

    async def run(self) -> None:
        """Run while the partition is open. Raises Halted if the policy is HALT, and HandlerExit."""
        state = self._state

        async def load(fields: list[Field]) -> None:
            assert state.tables is not None
            await self._reads.load(state.tables, fields)

        here = CurrentEvent(
            state.keys.log,
            state.keys.processor,
            state.stuck_at,
            lambda: bool(state.current),
            state.tables,
            load,
            emit=state.emit,
        )
        try:
            while self._state.open:
                failure = await self._run_handler(here)
                if failure:
                    await self._failed(failure)
        except ProtocolError as refusal:  # Of a call here: `HandlerRun` returns those of handlers.
            rebalance_log.lost(self._state.partition, refusal)
            self._state.end()
        finally:
            self._state.rewind()
            self._state.handler_ended = True
            self._queue.release_start_lock()

    async def _run_handler(self, here: CurrentEvent) -> Failure | None:
        """Run the handler once. What it leaves running can write to no table afterwards."""
        tables = self._state.tables
        CURRENT_EVENT.set(here._replace(run=tables.run if tables else 0))
        try:
            return await HandlerRun(self._queue, self._processor).run()
        finally:
            self._state.undo()
            if tables is not None:
                tables.run += 1

    async def _failed(self, failure: Failure) -> None:
        state, processor, error = self._state, self._processor, failure.error
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise HandlerExit.of(error) from error
        if self._reads.table_unusable:
            return
        if not state.current:
            await self._failed_before_first(failure)
            return
        batch, event, suspicion = list(state.current), state.current[0][0], state.suspicion
        event_id = event.decode()
        # The deaths of an event that killed workers were counted when its workers died.
        attempts = suspicion.attempts if failure.killed_workers else suspicion.failed(event)
        attempts = max(attempts, attempts_of(batch[0]))
        # While events are tried one by one, several current events are one item that a middleware
        # has made: then the first is given up for all.
        whole = len(batch) == 1 or suspicion.isolating
        decision = decide_for(processor, batch, failure, attempts, whole=whole)
        self._giving_up.log(event_id, attempts, decision, failure)
        # A failed batch is no failure of its first event: a worker that claims the partition before
        # they are tried one by one must not give up the first of them for it.
        counted = attempts if len(batch) == 1 else 0
        await self._giving_up.record("failure", event_id, counted, failure)
        if decision in (Decision.GIVE_UP, Decision.POSTPONE):
            state.rewind(keep=1)
            if await self._giving_up.apply(batch[0], attempts, failure):
                self._queue.release_start_lock()
                return
        state.rewind()
        self._queue.release_start_lock()
        if decision is Decision.ISOLATE:
            suspicion.isolate(batch[-1][0])
        else:
            await self._queue.pause(processor.delay(attempts))

    async def _failed_before_first(self, failure: Failure) -> None:
        """No event is to blame, so none is given up: with IGNORE, retry for ever, with backoff."""
        state, policy, error = self._state, self._processor.policy, failure.error
        if state.checkpoint != self._failed_at:
            self._failures_before_first, self._failed_at = 0, state.checkpoint
        self._failures_before_first += 1
        failures = self._failures_before_first
        logger.error(
            "processor %s, partition %d failed without a current event (attempt %d): %s: %s",
            self._processor.name,
            state.partition,
            failures,
            *describe_error(error, failure.instead),
            exc_info=traceback_of(
                error, f"processor {self._processor.name}, partition {state.partition}"
            ),
            extra={"attempt": failures},
        )
        self._queue.failed(error, "no_event")
        # This is for `inspect`; it counts as an attempt of no event.
        await self._giving_up.record("failure", state.checkpoint, 0, failure)
        if failures <= self._processor.retries or policy is ExceptionPolicy.IGNORE:
            await self._queue.pause(self._processor.delay(failures))
        elif policy in QUARANTINED_WITHOUT_EVENT:
            await self._giving_up.quarantine(state.checkpoint, failures, failure)
        else:
            text = ": ".join(describe_error(error, failure.instead))
            raise Halted(
                f"processor {self._processor.name} failed {failures} times without a "
                f"current event: {text}. Fix the handler and start the worker again"
            ) from error
