"""Runs the handler over one held partition, and decides what to do when it fails."""

from __future__ import annotations

import logging
from enum import Enum

from redis.exceptions import RedisError, ResponseError

from runnel import protocol
from runnel.core.parking import ParkedRaw
from runnel.core.reading import Raw
from runnel.core.table_state import Field
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.dead_letter import DeadLetter
from runnel.delivery.error_text import describe_error, traceback_of
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import DecodeError, Full, Halted, HandlerExit, ProtocolError, TooManyWrites
from runnel.log import logger_of, one_line
from runnel.operations.figures import failed_before_first
from runnel.processor import ExceptionPolicy, Processor
from runnel.protocol.scripts import Call
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.handler_run import Failure, HandlerRun
from runnel.worker.quarantine_reminder import way_out
from runnel.worker.room_waits import RoomWaits
from runnel.worker.table_reads import is_wrong_type, read_fields

logger = logger_of("runnel.worker")


class Decision(Enum):
    """What to do after a failure."""

    RETRY = "retry"
    ISOLATE = "isolate"
    GIVE_UP = "give up"


def decide(no_retry: bool, whole: bool, attempts: int, retries: int) -> Decision:
    """What to do about events that have failed `attempts` times. `whole` if they are one event, or
    must stay together; `no_retry` if another try would change nothing."""
    if not no_retry and attempts <= retries:
        return Decision.RETRY
    return Decision.GIVE_UP if whole else Decision.ISOLATE


def _next(decision: Decision, attempts: int, retries: int) -> str:
    """What comes next, for people."""
    if decision is Decision.RETRY:
        return f", retry {attempts}/{retries}"
    return ", retrying its batch one by one" if decision is Decision.ISOLATE else ""


class Runner:
    """Keeps the handler of one partition running while the partition is open."""

    def __init__(
        self, queue: PartitionQueue, processor: Processor, backend: Backend, waits: RoomWaits
    ) -> None:
        self._waits = waits
        self._queue = queue
        self._state = queue.state
        self._processor = processor
        self._backend = backend
        #: Failures in a row without a current event, and the checkpoint at that time.
        self._failures_before_first, self._failed_at = 0, ""
        self._table_unusable = False

    async def run(self) -> None:
        """Run while the partition is open. Raises Halted if the policy is HALT, and HandlerExit."""
        state, backend = self._state, self._backend

        async def load(fields: list[Field]) -> None:
            assert state.tables is not None
            try:
                await read_fields(backend, [(state.tables, state.tables.unknown_of(fields))])
            except ResponseError as error:
                if is_wrong_type(error):  # No fault of the event. It will be found again.
                    self._table_unusable = True
                    state.end()
                raise

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
        if self._table_unusable:
            return
        if not state.current:
            await self._failed_before_first(failure)
            return
        batch, event, suspicion = list(state.current), state.current[0][0], state.suspicion
        event_id = event.decode()
        # The deaths of an event that killed workers were counted when its workers died.
        attempts = suspicion.attempts if failure.killed_workers else suspicion.failed(event)
        no_retry = (
            failure.killed_workers
            or isinstance(error, TooManyWrites)
            or (isinstance(error, DecodeError) and self._unreadable(batch))
        )
        # While events are tried one by one, several current events are one item that a middleware
        # has made: then the first is given up for all.
        whole = len(batch) == 1 or suspicion.isolating
        decision = decide(no_retry, whole, attempts, processor.retries)
        # Log the traceback once, when the retries are used up; until then one line is enough.
        last = decision is Decision.GIVE_UP
        logger.log(
            logging.ERROR if last else logging.WARNING,
            "processor %s, partition %d, event %s failed (attempt %d of %d)%s: %s: %s",
            processor.name,
            state.partition,
            event_id,
            attempts,
            attempts if last else max(attempts, processor.retries + 1),
            _next(decision, attempts, processor.retries),
            *describe_error(error, failure.instead),
            exc_info=traceback_of(error, self._where(event_id)) if last else None,
            extra={"event": event_id, "attempt": attempts},
        )
        # A failed batch is no failure of its first event: a worker that claims the partition before
        # they are tried one by one must not give up the first of them for it.
        counted = attempts if len(batch) == 1 else 0
        await self._record("failure", event_id, counted, failure)
        if decision is Decision.GIVE_UP:
            state.rewind(keep=1)
            await self._apply_policy(batch[0], attempts, failure)
            self._queue.release_start_lock()
            return
        state.rewind()
        self._queue.release_start_lock()
        if decision is Decision.ISOLATE:
            suspicion.isolate(batch[-1][0])
        else:
            await self._queue.pause(processor.delay(attempts))

    def _where(self, event: str | None = None) -> str:
        where = f"processor {self._processor.name}, partition {self._state.partition}"
        return where if event is None else f"{where}, event {event}"

    def _unreadable(self, batch: list[Raw]) -> bool:
        """Is one of these events the one that cannot be decoded, and not something else that the
        handler has read?"""
        for raw in batch:
            try:
                self._processor.stream.codec.decode(raw[1])
            except DecodeError:
                return True
        return False

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
            exc_info=traceback_of(error, self._where()),
            extra={"attempt": failures},
        )
        # This is for `inspect`; it counts as an attempt of no event.
        await self._record("failure", state.checkpoint, 0, failure)
        if failures <= self._processor.retries or policy is ExceptionPolicy.IGNORE:
            await self._queue.pause(self._processor.delay(failures))
        elif policy in (ExceptionPolicy.QUARANTINE, ExceptionPolicy.PARK):
            await self._quarantine(state.checkpoint, failures, failure)
        else:
            text = ": ".join(describe_error(error, failure.instead))
            raise Halted(
                f"processor {self._processor.name} failed {failures} times without a "
                f"current event: {text}. Fix the handler and start the worker again"
            ) from error

    async def _apply_policy(self, raw: Raw, attempts: int, failure: Failure) -> None:
        policy, replayed = self._processor.policy, isinstance(raw, ParkedRaw)
        if policy is ExceptionPolicy.PARK or (replayed and policy is not ExceptionPolicy.IGNORE):
            await self._park(raw, attempts, failure)
        elif policy is ExceptionPolicy.HALT:
            text = ": ".join(describe_error(failure.error, failure.instead))
            raise Halted(
                f"processor {self._processor.name}, partition {self._state.partition}: event "
                f"{raw[0].decode()} failed {attempts} times: {text}. Fix the handler and start "
                "the worker again, or skip the event: `runnel processor resume "
                f"{self._processor.target} --partition {self._state.partition} --skip`"
            ) from failure.error
        elif policy is ExceptionPolicy.QUARANTINE:
            self._state.rewind()
            await self._quarantine(raw[0].decode(), attempts, failure)
        else:
            await self._skip(raw, attempts, failure)

    async def _quarantine(self, event: str, attempts: int, failure: Failure) -> None:
        if not await self._record("quarantine", event, attempts, failure):
            return  # The partition is not open any more, and the quarantine is not stored.
        state = self._state
        state.stop(quarantined=True)
        no_event = failed_before_first(event, state.checkpoint)
        logger.error(
            "processor %s: partition %d is quarantined: %s",
            self._processor.name,
            state.partition,
            way_out(self._processor, [state.partition], no_event),
        )

    async def _park(self, raw: Raw, attempts: int, failure: Failure) -> None:
        """Move the checkpoint past the event, which steps aside in the same commit. A replayed one
        stays where it is."""
        state, processor = self._state, self._processor
        await self._queue.flush()
        if state.ended:
            return
        event, error = raw[0].decode(), describe_error(failure.error, failure.instead)
        if isinstance(raw, ParkedRaw):
            call = protocol.park_again(state.keys, state.token, raw.key, event, attempts, error)
            if not await self._retry_until_answered(call):
                return
            key, what = raw.key, "has failed again, and stays parked with what is behind it"
            state.parked_again()
        else:
            key, move = state.parking.key_of(raw), state.next_skip()
            entry = protocol.parked_entry(key, event, raw[1], attempts, error)
            parked = protocol.ParkedEntries(state.keys, processor.park_limit, [entry])
            call = protocol.transact(state.keys, state.token, move, [parked])
            if not await self._retry_until_answered(call):
                return
            state.skipped(move)
            state.parked(raw)
            what = "is parked, and so will be later events of its key"
        self._queue.changed.set()
        logger.error(
            "processor %s, partition %d: event %s, key %s, %s: `runnel dead list %s`",
            processor.name,
            state.partition,
            event,
            one_line(key.decode(errors="backslashreplace")[:100]) or "(none)",
            what,
            processor.target,
            extra={"event": event},
        )

    async def _skip(self, raw: Raw, attempts: int, failure: Failure) -> None:
        """Move the checkpoint past the event. Its dead letter, if there is a sink, is part of the
        same commit."""
        state, processor = self._state, self._processor
        await self._queue.flush()
        if state.ended:
            return
        move, effects = state.next_skip(), state.skip_effects()
        sink = processor.sink
        if sink is not None:
            letter = DeadLetter.of(
                processor.stream.name,
                processor.name,
                state.partition,
                (raw[0].decode(), raw[1]),
                attempts,
                describe_error(failure.error, failure.instead),
            )
            effects.append(protocol.Entries(sink.sink(state.partition), [sink.encode(letter)]))
        if effects:
            call = protocol.transact(state.keys, state.token, move, effects)
        else:
            call = protocol.commit(state.keys, state.token, move)
        if await self._retry_until_answered(call):
            state.skipped(move)
            self._queue.changed.set()  # A repeated claim may wait until the partition is settled.
            logger.warning(
                "processor %s, partition %d: event %s was %s",
                processor.name,
                state.partition,
                raw[0].decode(),
                f"dead-lettered in {sink.name}" if sink else "skipped, without a dead letter",
                extra={"event": raw[0].decode()},
            )

    async def _record(self, kind: str, event: str, attempts: int, failure: Failure) -> bool:
        state, text = self._state, describe_error(failure.error, failure.instead)
        call = protocol.attempt(state.keys, state.token, kind, event, attempts, text)
        return await self._retry_until_answered(call)

    async def _retry_until_answered(self, call: Call) -> bool:
        """Make a call that is safe to repeat. Returns True once it got a reply, False if the
        partition is not open any more.

        While the sink is full, this waits, and the partition with it. Raises any other refusal.
        """
        for attempt in range(1, 1_000_000):
            try:
                (reply,) = await self._backend.commit([call])
                if isinstance(reply, Exception):
                    raise reply
                outage_log.answered("failure report")
                self._waits.over(self._state)
                return True
            except Full as error:
                await self._waits.refused(self._state, error)
            except (RedisError, OSError) as error:
                outage_log.failed("failure report", error)
            if not self._state.open:
                outage_log.answered("failure report")
                return False
            await self._queue.pause(min(0.1 * 2 ** min(attempt, 5), 2.0))
        return False
