"""Runs the handler over one held partition, and decides what follows when it fails."""

from __future__ import annotations

import logging
from enum import Enum

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.lane import Raw
from runnel.dead_letter import DeadLetter
from runnel.errors import DecodeError, Full, ProtocolError, RunnelError
from runnel.events import Events, Lease, WorkerDied
from runnel.processor import ExceptionPolicy, Processor
from runnel.scripts import Call
from runnel.worker.link import Link
from runnel.worker.reminder import way_out

logger = logging.getLogger("runnel.worker")


class HandlerReturned(RunnelError):
    """The handler returned although its partition goes on. It must iterate over its events."""


class Halted(RunnelError):
    """The policy HALT stops the worker: an event failed for good. The event is still there."""


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

#: Trying these again changes nothing.
HOPELESS = (DecodeError, WorkerDied)


def decide(error: BaseException, in_hand: int, attempts: int, retries: int) -> Decision:
    """What to do about a failure with so many events in hand, the first of which has failed
    `attempts` times: pure, so that it can be read and tested by itself."""
    if in_hand > 1 and (isinstance(error, HOPELESS) or attempts > retries):
        return Decision.ISOLATE
    if isinstance(error, HOPELESS) or attempts > retries:
        return Decision.GIVE_UP
    return Decision.RETRY


class Runner:
    """Keeps the handler of one partition running until the partition is drained."""

    def __init__(self, lease: Lease, processor: Processor, link: Link) -> None:
        self._lease = lease
        self._lane = lease.lane
        self._processor = processor
        self._link = link
        self._barren = 0

    async def run(self) -> None:
        """Run until the lane closes. Raises Halted if the policy says so."""
        try:
            while self._lane.open:
                await self._run_once()
        except ProtocolError as refusal:
            logger.warning("partition %d: %s", self._lane.partition, refusal)
            self._lane.end()
        finally:
            self._lane.rewind()
            self._lane.idle = True
            self._lease.give_turn()

    async def _run_once(self) -> None:
        spec = self._processor.stream
        events: Events[object] = Events(self._lease, spec.codec, self._processor.middleware)
        error: Exception
        try:
            await self._processor.handler(events)
            if not self._lane.open:
                return
            error = HandlerReturned(
                f"processor {self._processor.name} returned; it must iterate until its events end"
            )
        except ProtocolError:
            raise
        except Exception as raised:
            error = raised
            await events.failed(error)
        await self._failed(error)

    async def _failed(self, error: Exception) -> None:
        lane, processor = self._lane, self._processor
        if not lane.in_hand:
            await self._failed_before_any(error)
            return
        batch, event = list(lane.in_hand), lane.in_hand[0][0]
        event_id = event.decode()
        attempts = lane.failed(event)
        decision = decide(error, len(batch), attempts, processor.retries)
        # The traceback once, when the tries are over; until then a line will do.
        last = decision is Decision.GIVE_UP
        logger.log(
            logging.ERROR if last else logging.WARNING,
            "processor %s, partition %d, event %s failed (time %d)%s: %s: %s",
            processor.name,
            lane.partition,
            event_id,
            attempts,
            _NEXT[decision],
            *_told(error),
            exc_info=error if last else None,
        )
        # A batch that failed condemns none of its events: who claims the partition before they were
        # tried one by one must not give up the first for it.
        blamed = attempts if len(batch) == 1 else 0
        await self._record("failure", event_id, blamed, error)
        if decision is Decision.GIVE_UP:
            await self._give_up(batch[0], attempts, error)
            self._lease.give_turn()
            return
        lane.rewind()
        self._lease.give_turn()
        if decision is Decision.ISOLATE:
            lane.isolate_until, lane.attempts = batch[-1][0], 0
        else:
            await self._lease.pause(processor.delay(attempts))

    async def _failed_before_any(self, error: Exception) -> None:
        """No event is to blame, so none is set aside: IGNORE tries for ever, with backoff."""
        self._barren += 1
        policy = self._processor.policy
        logger.error(
            "processor %s, partition %d failed before it took an event (time %d)",
            self._processor.name,
            self._lane.partition,
            self._barren,
            exc_info=error,
        )
        # For `inspect`; no event is charged with it.
        await self._record("failure", self._lane.checkpoint, 0, error)
        if self._barren <= self._processor.retries or policy is ExceptionPolicy.IGNORE:
            await self._lease.pause(self._processor.delay(self._barren))
        elif policy is ExceptionPolicy.QUARANTINE:
            await self._quarantine(self._lane.checkpoint, self._barren, error)
        else:
            raise Halted(
                f"processor {self._processor.name} failed {self._barren} times before it took an "
                f"event: {': '.join(_told(error))}. Mend the handler and start the worker again"
            ) from error

    async def _give_up(self, raw: Raw, attempts: int, error: Exception) -> None:
        policy = self._processor.policy
        if policy is ExceptionPolicy.HALT:
            raise Halted(
                f"processor {self._processor.name}, partition {self._lane.partition}: event "
                f"{raw[0].decode()} failed {attempts} times: {': '.join(_told(error))}. Mend the "
                "handler and start the worker again, or set the event aside: `runnel processor "
                f"resume {self._processor.target} --partition {self._lane.partition} --skip`"
            ) from error
        if policy is ExceptionPolicy.QUARANTINE:
            self._lane.rewind()
            await self._quarantine(raw[0].decode(), attempts, error)
        else:
            await self._set_aside(raw, attempts, error)

    async def _quarantine(self, event: str, attempts: int, error: Exception) -> None:
        await self._record("quarantine", event, attempts, error)
        self._lane.park(quarantined=True)
        logger.error(
            "processor %s: partition %d is quarantined: %s",
            self._processor.name,
            self._lane.partition,
            way_out(self._processor, [self._lane.partition]),
        )

    async def _set_aside(self, raw: Raw, attempts: int, error: Exception) -> None:
        """Move the checkpoint over the event; with a dead letter, in the same commit."""
        lane, processor = self._lane, self._processor
        await self._lease.flush()
        if lane.over:
            return
        place, step = processor.place(lane.partition), lane.set_aside()
        sink = processor.sink
        if sink is None:
            call = protocol.commit(place, lane.token, step)
        else:
            letter = DeadLetter.of(
                processor.stream.name,
                processor.name,
                lane.partition,
                (raw[0].decode(), raw[1]),
                attempts,
                _told(error),
            )
            call = protocol.emit(
                place,
                lane.token,
                step,
                sink.prefix(lane.partition),
                sink.partition_size,
                "refuse",
                [sink.encode(letter)],
            )
        if await self._insist(call):
            lane.finish_aside(step)
            self._lease.changed.set()  # A claim anew may wait for the lane to be at rest.
            logger.warning(
                "processor %s, partition %d: event %s was set aside, %s",
                processor.name,
                lane.partition,
                step.next,
                f"as a dead letter in {sink.name}" if sink else "without a dead letter",
            )

    async def _record(self, kind: str, event: str, attempts: int, error: Exception) -> None:
        place = self._processor.place(self._lane.partition)
        call = protocol.attempt(place, self._lane.token, kind, event, attempts, _told(error))
        await self._insist(call)

    async def _insist(self, call: Call) -> bool:
        """Make a call that is safe to repeat, until it is answered or the lane closes.

        A full sink is waited for: the partition waits with it. Raises a refusal.
        """
        for attempt in range(1, 1_000_000):
            try:
                (reply,) = await self._link.commit([call])
                if isinstance(reply, Exception):
                    raise reply
                return True
            except Full as error:
                logger.error("dead letters have no room, waiting: %s", error)
            except (RedisError, OSError) as error:
                logger.warning("call not answered, asking again: %s", error)
            if not self._lane.open:
                return False
            await self._lease.pause(min(0.1 * 2 ** min(attempt, 5), 2.0))
        return False


def _told(error: Exception) -> tuple[str, str]:
    """Type and message of an error, in one line of text that can be stored."""
    try:
        message = str(error)
    except Exception:  # It is the user's code that makes it.
        message = "(its message cannot be shown)"
    return type(error).__name__, " ".join(message.split()).encode(errors="replace").decode()
