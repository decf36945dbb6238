"""Runs the handler over one held partition, and decides what follows when it fails."""

from __future__ import annotations

import logging
from enum import Enum

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.partition import Raw
from runnel.dead_letter import DeadLetter
from runnel.delivery.current_event import IN_HAND, InHand
from runnel.delivery.error_text import told
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import DecodeError, Full, Halted, HandlerExit, ProtocolError
from runnel.log import logger_of
from runnel.operations.figures import failed_before_first
from runnel.processor import ExceptionPolicy, Processor
from runnel.protocol.scripts import Call
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.handling import Failure, Handling
from runnel.worker.quarantine_reminder import way_out

logger = logger_of("runnel.worker")


class Decision(Enum):
    """What follows a failure."""

    RETRY = "retry"
    ISOLATE = "isolate"
    GIVE_UP = "give up"


_NEXT = {
    Decision.RETRY: ", trying it again",
    Decision.ISOLATE: ", trying its batch again one by one",
    Decision.GIVE_UP: "",
}


def decide(hopeless: bool, whole: bool, attempts: int, retries: int) -> Decision:
    """What to do about a failure of what has failed `attempts` times; `whole` if it cannot be taken
    apart, `hopeless` if trying again changes nothing. Pure, so that it can be read and tested by
    itself."""
    if not hopeless and attempts <= retries:
        return Decision.RETRY
    return Decision.GIVE_UP if whole else Decision.ISOLATE


class Runner:
    """Keeps the handler of one partition running until the partition is drained."""

    def __init__(self, queue: PartitionQueue, processor: Processor, backend: Backend) -> None:
        self._queue = queue
        self._state = queue.state
        self._processor = processor
        self._backend = backend
        #: Failures in a row with nothing in hand, and where the checkpoint was then.
        self._barren, self._barren_at = 0, ""

    async def run(self) -> None:
        """Run until the partition closes. Raises Halted if the policy says so, and HandlerExit."""
        IN_HAND.set(InHand(self._state.keys.log, self._state.keys.processor, self._state.stuck_at))
        try:
            while self._state.open:
                failure = await Handling(self._queue, self._processor).run()
                if failure:
                    await self._failed(failure)
        except ProtocolError as refusal:  # A call of this lease's own: see `Handling`.
            rebalance_log.lost(self._state.partition, refusal)
            self._state.end()
        finally:
            self._state.rewind()
            self._state.idle = True
            self._queue.give_turn()

    async def _failed(self, failure: Failure) -> None:
        state, processor, error = self._state, self._processor, failure.error
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise HandlerExit.of(error) from error
        if not state.in_hand:
            await self._failed_before_any(failure)
            return
        batch, event, suspicion = list(state.in_hand), state.in_hand[0][0], state.suspicion
        event_id = event.decode()
        # A condemned event was counted when its workers died.
        attempts = suspicion.attempts if failure.condemned else suspicion.failed(event)
        hopeless = failure.condemned or (isinstance(error, DecodeError) and self._unreadable(batch))
        # Several though they came one by one: a middleware makes one item of them, and the first is
        # given up for all.
        whole = len(batch) == 1 or suspicion.isolating
        decision = decide(hopeless, whole, attempts, processor.retries)
        # The traceback once, when the tries are over; until then a line will do.
        last = decision is Decision.GIVE_UP
        logger.log(
            logging.ERROR if last else logging.WARNING,
            "processor %s, partition %d, event %s failed (attempt %d of %d)%s: %s: %s",
            processor.name,
            state.partition,
            event_id,
            attempts,
            attempts if last else max(attempts, processor.retries + 1),
            _NEXT[decision],
            *told(error, failure.instead),
            exc_info=error if last else None,
            extra={"event": event_id, "attempt": attempts},
        )
        # A batch that failed condemns none of its events: who claims the partition before they were
        # tried one by one must not give up the first for it.
        blamed = attempts if len(batch) == 1 else 0
        await self._record("failure", event_id, blamed, failure)
        if decision is Decision.GIVE_UP:
            state.rewind(keep=1)
            await self._give_up(batch[0], attempts, failure)
            self._queue.give_turn()
            return
        state.rewind()
        self._queue.give_turn()
        if decision is Decision.ISOLATE:
            suspicion.isolate(batch[-1][0])
        else:
            await self._queue.pause(processor.delay(attempts))

    def _unreadable(self, batch: list[Raw]) -> bool:
        """Is it one of these events that cannot be decoded, and not something else that the
        handler has read?"""
        for raw in batch:
            try:
                self._processor.stream.codec.decode(raw[1])
            except DecodeError:
                return True
        return False

    async def _failed_before_any(self, failure: Failure) -> None:
        """No event is to blame, so none is set aside: IGNORE tries for ever, with backoff."""
        state, policy, error = self._state, self._processor.policy, failure.error
        if state.checkpoint != self._barren_at:
            self._barren, self._barren_at = 0, state.checkpoint
        self._barren += 1
        logger.error(
            "processor %s, partition %d failed with no event in hand (attempt %d): %s: %s",
            self._processor.name,
            state.partition,
            self._barren,
            *told(error, failure.instead),
            exc_info=error,
        )
        # For `inspect`; no event is charged with it.
        await self._record("failure", state.checkpoint, 0, failure)
        if self._barren <= self._processor.retries or policy is ExceptionPolicy.IGNORE:
            await self._queue.pause(self._processor.delay(self._barren))
        elif policy is ExceptionPolicy.QUARANTINE:
            await self._quarantine(state.checkpoint, self._barren, failure)
        else:
            said = ": ".join(told(error, failure.instead))
            raise Halted(
                f"processor {self._processor.name} failed {self._barren} times with no event in "
                f"hand: {said}. Mend the handler and start the worker again"
            ) from error

    async def _give_up(self, raw: Raw, attempts: int, failure: Failure) -> None:
        policy = self._processor.policy
        if policy is ExceptionPolicy.HALT:
            said = ": ".join(told(failure.error, failure.instead))
            raise Halted(
                f"processor {self._processor.name}, partition {self._state.partition}: event "
                f"{raw[0].decode()} failed {attempts} times: {said}. Mend the handler and start "
                "the worker again, or set the event aside: `runnel processor resume "
                f"{self._processor.target} --partition {self._state.partition} --skip`"
            ) from failure.error
        if policy is ExceptionPolicy.QUARANTINE:
            self._state.rewind()
            await self._quarantine(raw[0].decode(), attempts, failure)
        else:
            await self._set_aside(raw, attempts, failure)

    async def _quarantine(self, event: str, attempts: int, failure: Failure) -> None:
        if not await self._record("quarantine", event, attempts, failure):
            return  # The partition has closed, and Redis knows of no quarantine.
        self._state.pause(quarantined=True)
        logger.error(
            "processor %s: partition %d is quarantined: %s",
            self._processor.name,
            self._state.partition,
            way_out(
                self._processor,
                [self._state.partition],
                failed_before_first(event, self._state.checkpoint),
            ),
        )

    async def _set_aside(self, raw: Raw, attempts: int, failure: Failure) -> None:
        """Move the checkpoint over the event; with a dead letter, in the same commit."""
        state, processor = self._state, self._processor
        await self._queue.flush()
        if state.over:
            return
        step = state.set_aside()
        sink = processor.sink
        if sink is None:
            call = protocol.commit(state.keys, state.token, step)
        else:
            letter = DeadLetter.of(
                processor.stream.name,
                processor.name,
                state.partition,
                (raw[0].decode(), raw[1]),
                attempts,
                told(failure.error, failure.instead),
            )
            call = protocol.emit(
                state.keys,
                state.token,
                step,
                sink.prefix(state.partition),
                sink.partition_size,
                "refuse",
                [sink.encode(letter)],
            )
        if await self._retry_until_answered(call):
            state.finish_aside(step)
            self._queue.changed.set()  # A claim anew may wait for the partition to be at rest.
            logger.warning(
                "processor %s, partition %d: event %s was set aside, %s",
                processor.name,
                state.partition,
                step.next,
                f"as a dead letter in {sink.name}" if sink else "without a dead letter",
            )

    async def _record(self, kind: str, event: str, attempts: int, failure: Failure) -> bool:
        state, words = self._state, told(failure.error, failure.instead)
        call = protocol.attempt(state.keys, state.token, kind, event, attempts, words)
        return await self._retry_until_answered(call)

    async def _retry_until_answered(self, call: Call) -> bool:
        """Make a call that is safe to repeat, until it is answered or the partition closes.

        A full sink is waited for: the partition waits with it. Raises a refusal.
        """
        full = 0
        for attempt in range(1, 1_000_000):
            try:
                (reply,) = await self._backend.commit([call])
                if isinstance(reply, Exception):
                    raise reply
                outage_log.answered("report of a failure")
                if full:
                    logger.warning("%s: there is room for its dead letter again", self._who())
                return True
            except Full as error:
                full += 1
                if full.bit_count() == 1:  # At first, and then more and more seldom.
                    logger.error(
                        "%s: no room for a dead letter in %s, because %s; waiting for room, which "
                        "a processor that reads them makes. `runnel processor dead-letters %s` "
                        "shows them",
                        self._who(),
                        error.sink,
                        error.reason,
                        self._processor.target,
                    )
            except (RedisError, OSError) as error:
                outage_log.failed("report of a failure", error)
            if not self._state.open:
                outage_log.answered("report of a failure")
                return False
            await self._queue.pause(min(0.1 * 2 ** min(attempt, 5), 2.0))
        return False

    def _who(self) -> str:
        return f"processor {self._processor.name}, partition {self._state.partition}"
