"""What follows a failure: another try, or the policy of the processor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import Enum

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.parking import ParkedRaw
from runnel.core.reading import Raw
from runnel.dead_letter import DeadLetter
from runnel.delivery.error_text import describe_error, traceback_of, traceback_text
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import DecodeError, Full, Halted, TooManyWrites
from runnel.log import logger_of, one_line
from runnel.operations.figures import failed_before_first
from runnel.processor import ExceptionPolicy, Processor
from runnel.protocol.scripts import Call
from runnel.worker import outage_log
from runnel.worker.backend import Backend
from runnel.worker.handler_run import Failure
from runnel.worker.quarantine_reminder import way_out
from runnel.worker.room_waits import RoomWaits

logger = logger_of("runnel.worker")


class Decision(Enum):
    """What to do after a failure."""

    RETRY = "retry"
    POSTPONE = "postpone"
    ISOLATE = "isolate"
    GIVE_UP = "give up"


#: The policies under which a partition is quarantined if the handler fails without an event.
QUARANTINED_WITHOUT_EVENT = (
    ExceptionPolicy.QUARANTINE,
    ExceptionPolicy.PARK,
    ExceptionPolicy.RETRY_LATER,
)


def decide(
    no_retry: bool, whole: bool, attempts: int, retries: int, *, later: bool = False
) -> Decision:
    """What to do about events that have failed `attempts` times. `whole` if they are one event, or
    must stay together; `no_retry` if another try would change nothing; `later` if events step aside
    until they are tried again."""
    again = not no_retry and attempts <= retries
    if again and not later:
        return Decision.RETRY
    if not whole:
        return Decision.ISOLATE
    return Decision.POSTPONE if again else Decision.GIVE_UP


def decide_for(
    processor: Processor, batch: Sequence[Raw], failure: Failure, attempts: int, *, whole: bool
) -> Decision:
    """The same for events of this processor."""
    later = processor.policy is ExceptionPolicy.RETRY_LATER
    no_retry = hopeless(processor, batch, failure)
    return decide(no_retry, whole, attempts, processor.retries, later=later)


def attempts_of(raw: Raw) -> int:
    """How often a parked event has failed that has just failed again. 0 for others: the worker and
    the claim count those."""
    return raw.attempts + 1 if isinstance(raw, ParkedRaw) and raw.postponed else 0


def hopeless(processor: Processor, batch: Sequence[Raw], failure: Failure) -> bool:
    """Would another try of these events change nothing?"""
    error = failure.error
    return (
        failure.killed_workers
        or isinstance(error, TooManyWrites)
        or (isinstance(error, DecodeError) and unreadable(processor, batch))
    )


def _next(decision: Decision, attempts: int, processor: Processor) -> str:
    """What comes next, for people."""
    if decision is Decision.RETRY:
        return f", retry {attempts}/{processor.retries}"
    if decision is Decision.POSTPONE:
        pause = processor.delay(attempts)
        return f", retry {attempts}/{processor.retries} in {pause:g} s, later events go on"
    return ", retrying its batch one by one" if decision is Decision.ISOLATE else ""


def unreadable(processor: Processor, batch: Sequence[Raw]) -> bool:
    """Is one of these events the one that cannot be decoded, and not something else that the
    handler has read?"""
    for raw in batch:
        try:
            processor.stream.codec.decode(raw[1])
        except DecodeError:
            return True
    return False


def failed_of(raw: Raw, failure: Failure) -> protocol.Failed:
    """What is kept of a failure beside an event that is set aside."""
    replays = raw.replays + (not raw.postponed) if isinstance(raw, ParkedRaw) else 0
    return protocol.Failed(replays, traceback_text(failure.error))


class GivingUp:
    """Tells Redis of the failures in one partition, and applies the policy of the processor to
    events that are given up."""

    def __init__(
        self, queue: PartitionQueue, processor: Processor, backend: Backend, waits: RoomWaits
    ) -> None:
        self._queue = queue
        self._state = queue.state
        self._processor = processor
        self._backend = backend
        self._waits = waits

    def log(self, event: str, attempts: int, decision: Decision, failure: Failure) -> None:
        """Log that an event has failed: the traceback once, when the retries are used up; until
        then one line is enough."""
        processor, last = self._processor, decision is Decision.GIVE_UP
        where = f"processor {processor.name}, partition {self._state.partition}, event {event}"
        logger.log(
            logging.ERROR if last else logging.WARNING,
            "processor %s, partition %d, event %s failed (attempt %d of %d)%s: %s: %s",
            processor.name,
            self._state.partition,
            event,
            attempts,
            attempts if last else max(attempts, processor.retries + 1),
            _next(decision, attempts, processor),
            *describe_error(failure.error, failure.instead),
            exc_info=traceback_of(failure.error, where) if last else None,
            extra={"event": event, "attempt": attempts},
        )
        self._queue.failed(failure.error, decision.value.replace(" ", "_"))

    async def apply(self, raw: Raw, attempts: int, failure: Failure) -> bool:
        """Apply the policy to the first current event. Returns False if it could not step aside,
        because as many are parked as may be: it is to be tried again in place. Raises Halted and
        ProtocolError."""
        policy, replayed = self._processor.policy, isinstance(raw, ParkedRaw)
        postponed = isinstance(raw, ParkedRaw) and raw.postponed
        skips = policy is ExceptionPolicy.IGNORE or self._processor.sink is not None
        decision = decide_for(self._processor, [raw], failure, attempts, whole=True)
        if policy is ExceptionPolicy.RETRY_LATER and (postponed or not replayed):
            if decision is Decision.POSTPONE or not skips:
                again = decision is Decision.POSTPONE
                return await self._postpone(raw, attempts, failure, again=again)
            await self._skip(raw, attempts, failure)
        elif postponed and policy is not ExceptionPolicy.IGNORE:
            await self._postpone(raw, attempts, failure, again=False)
        elif policy is ExceptionPolicy.PARK or (replayed and policy is not ExceptionPolicy.IGNORE):
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
            await self.quarantine(raw[0].decode(), attempts, failure)
        else:
            await self._skip(raw, attempts, failure)
        return True

    async def quarantine(self, event: str, attempts: int, failure: Failure) -> None:
        """Stop the partition, at this event, until an operator resumes it."""
        if not await self.record("quarantine", event, attempts, failure):
            return  # The partition is not open any more, and the quarantine is not stored.
        state = self._state
        state.stop(quarantined=True)
        self._queue.given_up("quarantined")
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
            failed = failed_of(raw, failure)
            entry = protocol.parked_entry(key, event, raw[1], attempts, error, failed)
            parked = protocol.ParkedEntries(state.keys, processor.park_limit, [entry])
            call = protocol.transact(state.keys, state.token, move, [parked])
            if not await self._retry_until_answered(call):
                return
            state.skipped(move)
            state.parked(raw)
            what = "is parked, and so will be later events of its key"
        self._queue.given_up("parked")
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

    async def _postpone(self, raw: Raw, attempts: int, failure: Failure, *, again: bool) -> bool:
        """Move the checkpoint past the event, which steps aside by itself: until it is tried
        `again`, or else until somebody replays or drops it. Returns False if there is no room."""
        state, processor = self._state, self._processor
        await self._queue.flush()
        if state.ended:
            return True
        event, error = raw[0].decode(), describe_error(failure.error, failure.instead)
        ms = round(processor.delay(attempts) * 1000) if again else None
        if isinstance(raw, ParkedRaw):
            told = event, attempts, error
            call = protocol.postpone(state.keys, state.token, raw.entry, ms, told)
            if not await self._retry_until_answered(call):
                return True
            state.parked_again()
        else:
            key, move = state.parking.key_of(raw), state.next_skip()
            name = protocol.postponed_key(event, key)
            failed = failed_of(raw, failure)
            entries = [protocol.parked_entry(name, event, raw[1], attempts, error, failed)]
            aside: protocol.Effect = protocol.ParkedEntries(
                state.keys, processor.park_limit, entries
            )
            if ms is not None:
                aside = protocol.PostponedEntries(state.keys, ms, processor.park_limit, entries)
            call = protocol.transact(state.keys, state.token, move, [aside])
            try:
                if not await self._retry_until_answered(call, wait_for_room=False):
                    return True
            except Full:
                state.skip_in_flight = False
                return False
            state.skipped(move)
            state.postponed()
        self._queue.changed.set()
        self._queue.look_for_due()
        if not again:
            self._queue.given_up("parked")
            logger.error(
                "processor %s, partition %d: event %s has used up its retries, and stays parked: "
                "`runnel dead list %s`",
                processor.name,
                state.partition,
                event,
                processor.target,
                extra={"event": event},
            )
        return True

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
            entry = protocol.with_failed(sink.encode(letter), failed_of(raw, failure))
            effects.append(protocol.Entries(sink.sink(state.partition), [entry]))
        if effects:
            call = protocol.transact(state.keys, state.token, move, effects)
        else:
            call = protocol.commit(state.keys, state.token, move)
        if await self._retry_until_answered(call):
            state.skipped(move)
            self._queue.given_up("dead_letter" if sink else "skipped")
            self._queue.changed.set()  # A repeated claim may wait until the partition is settled.
            logger.warning(
                "processor %s, partition %d: event %s was %s",
                processor.name,
                state.partition,
                raw[0].decode(),
                f"dead-lettered in {sink.name}" if sink else "skipped, without a dead letter",
                extra={"event": raw[0].decode()},
            )

    async def record(self, kind: str, event: str, attempts: int, failure: Failure) -> bool:
        """Store a failure, for `inspect` and for the next worker. Returns as the call below."""
        state, text = self._state, describe_error(failure.error, failure.instead)
        where = traceback_text(failure.error)
        call = protocol.attempt(state.keys, state.token, kind, event, attempts, text, where)
        return await self._retry_until_answered(call)

    async def _retry_until_answered(self, call: Call, *, wait_for_room: bool = True) -> bool:
        """Make a call that is safe to repeat. Returns True once it got a reply, False if the
        partition is not open any more.

        While the sink is full, this waits, and the partition with it; without `wait_for_room`, it
        raises Full. Raises any other refusal.
        """
        for attempt in range(1, 1_000_000):
            try:
                (reply,) = await self._backend.commit([call])
                if isinstance(reply, Exception):
                    raise reply
                outage_log.answered("failure report")
                if call.script != "attempt":  # That one needs no room.
                    self._waits.over(self._state)
                return True
            except Full as error:
                await self._waits.refused(self._state, error)
                if not wait_for_room:
                    raise
            except (RedisError, OSError) as error:
                outage_log.failed("failure report", error)
            if not self._state.open:
                outage_log.answered("failure report")
                return False
            await self._queue.pause(min(0.1 * 2 ** min(attempt, 5), 2.0))
        return False
