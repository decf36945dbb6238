"""Sets a failed event aside by an operator's hand, as the policy IGNORE does by itself."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from runnel import protocol
from runnel.dead_letter import DeadLetter
from runnel.errors import ConfigError, DecodeError, ProtocolError, WorkerDied
from runnel.processor import Processor
from runnel.protocol import CheckpointMove, ClaimReply, Token
from runnel.protocol.scripts import Call, Scripts

#: Errors for which a worker gives an event up at once: to try it again changes nothing.
_HOPELESS = (DecodeError.__name__, WorkerDied.__name__)


class Skipped(NamedTuple):
    """The event that was set aside, or None and why there was none, if that needs a word."""

    event: str | None
    reason: str = ""


async def skip(
    scripts: Scripts, processor: Processor, partition: int, asked_for: bool = False
) -> Skipped:
    """Set aside the event that a partition stands on: the one it is quarantined for, or the one
    that HALT stopped a worker for. It becomes a dead letter if the processor keeps them.

    An event that workers still try again is left to them, unless the operator has `asked_for` its
    partition. The operator takes the lease, as any member would, so a worker that holds it is
    fenced. Raises ConfigError if another event is the next one by then, and Full, with the event
    where it was, if there is no room for its dead letter.
    """
    place = processor.keys(partition)
    picture = protocol.read_describe(await scripts.call(protocol.describe(place)))
    event, reason = _to_skip(picture, processor.retries, asked_for)
    if event is None:
        return Skipped(None, reason)
    nonce = secrets.token_hex(16)
    grant = int(picture.get("grant", "0")) + 1
    call = protocol.claim(place, processor.stream.contract, "operator", grant, nonce)
    claimed = protocol.read_claim(await scripts.call(call))
    try:
        if claimed.next_id != event:
            raise ConfigError(
                f"partition {partition}: the next event is {claimed.next_id or 'none'} by now, "
                f"and not {event}, which failed: run this again, or resume without --skip"
            )
        token, step = (
            Token(claimed.epoch, nonce),
            CheckpointMove(claimed.checkpoint, event, 1, release=True),
        )
        await scripts.call(await _finish(scripts, processor, partition, token, step, picture))
    except BaseException:
        await _release(scripts, processor, partition, claimed, nonce)
        raise
    finally:  # Who held it claims it anew, whatever became of the event.
        await scripts.call(protocol.revoke(processor.group, [partition]))
    return Skipped(event)


async def _release(
    scripts: Scripts, processor: Processor, partition: int, claimed: ClaimReply, nonce: str
) -> None:
    """Release what was claimed in vain: whoever claims it next is not to believe that its holder
    died. What went wrong before is what the operator is told."""
    step = CheckpointMove(claimed.checkpoint, claimed.checkpoint, 0, release=True)
    call = protocol.commit(processor.keys(partition), Token(claimed.epoch, nonce), step)
    with suppress(RedisError, OSError, ProtocolError):
        await scripts.call(call)


def _to_skip(picture: dict[str, str], retries: int, asked_for: bool) -> tuple[str | None, str]:
    event, next_id = picture.get("error_event"), picture.get("next_id")
    tries = int(picture.get("attempts", "0"))
    if not event:
        return None, "no event of it has failed" if asked_for else ""
    if event != next_id:
        return None, "its handler failed before it took an event, so there is none to set aside"
    if picture.get("quarantined") == "1" or tries > retries:
        return event, ""
    if picture.get("error_type") in _HOPELESS or (asked_for and tries):
        return event, ""
    return None, f"event {event} has failed {tries} times and is tried again: left to the workers"


async def _finish(
    scripts: Scripts,
    processor: Processor,
    partition: int,
    token: Token,
    step: CheckpointMove,
    picture: dict[str, str],
) -> Call:
    """The commit that passes the event, with its dead letter if there is a sink."""
    place, sink = processor.keys(partition), processor.sink
    if sink is None:
        return protocol.commit(place, token, step)
    log, event = place.log, step.next
    # The raw reply: as a dict it would lose values of fields that repeat.
    (entries,) = await scripts.deployment.send([(log, ("XRANGE", log, event, event))])
    if isinstance(entries, Exception):
        raise entries
    fields: list[Any] = entries[0][1]
    letter = DeadLetter.of(
        processor.stream.name,
        processor.name,
        partition,
        (event, fields),
        int(picture.get("attempts", "0")),
        (picture.get("error_type", ""), picture.get("error_message", "")),
    )
    encoded = [sink.encode(letter)]
    size = sink.partition_size
    return protocol.emit(place, token, step, sink.prefix(partition), size, "refuse", encoded)
