"""Skips a failed event for an operator, as the policy IGNORE does without one."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from runnel import protocol
from runnel.dead_letter import DeadLetter
from runnel.errors import ConfigError, DecodeError, ProtocolError, TooManyWrites, WorkerDied
from runnel.processor import Processor
from runnel.protocol import CheckpointMove, ClaimReply, PartitionDescription, Token
from runnel.protocol.scripts import Call, Scripts

#: Errors for which a worker does not retry an event, because a retry would fail too.
_NOT_RETRIED = (DecodeError.__name__, TooManyWrites.__name__, WorkerDied.__name__)


class Failed(NamedTuple):
    """The event of a partition that `skip` would skip, and how it failed. `fields` has its fields
    and values in turn; it is None if the event is gone."""

    event: str
    attempts: int
    error: str
    fields: list[Any] | None


class Skipped(NamedTuple):
    """The event that was skipped, or None and the reason, empty if it needs no explanation."""

    event: str | None
    reason: str = ""


async def failed_event(
    scripts: Scripts, processor: Processor, partition: int, named: bool = False
) -> Failed | str:
    """The event that `skip` would skip, or the reason why it would skip none, empty if it needs no
    explanation. Changes nothing."""
    partition_keys = processor.keys(partition)
    described = protocol.read_describe(await scripts.call(protocol.describe(partition_keys)))
    event, reason = _to_skip(described, processor.retries, named)
    if event is None:
        return reason
    error = f"{described.error_type}: {described.error_message}"
    fields = await _fields(scripts, partition_keys.log, event)
    return Failed(event, described.attempts or 0, error, fields)


async def skip(
    scripts: Scripts,
    processor: Processor,
    partition: int,
    named: bool = False,
    expected: str | None = None,
) -> Skipped:
    """Skip the event for which a partition is quarantined, or for which HALT stopped a worker. It
    becomes a dead letter if the processor keeps them.

    An event that workers still retry is not skipped, unless the operator `named` its partition.
    If an event is `expected`, no other one is skipped.
    The operator claims the lease, as a member would, so the worker that holds it is fenced. Raises
    ConfigError if the next event is no longer the failed one, or not the expected one. Raises Full
    if there is no room for the dead letter; then the event is not skipped.
    """
    partition_keys = processor.keys(partition)
    described = protocol.read_describe(await scripts.call(protocol.describe(partition_keys)))
    event, reason = _to_skip(described, processor.retries, named)
    if event is None:
        return Skipped(None, reason)
    if expected not in (None, event):
        raise ConfigError(
            f"partition {partition}: the failed event is now {event}, not {expected}: run this "
            "again"
        )
    nonce = secrets.token_hex(16)
    grant = (described.grant or 0) + 1
    call = protocol.claim(partition_keys, processor.stream.contract, "operator", grant, nonce)
    claimed = protocol.read_claim(await scripts.call(call))
    try:
        if claimed.next_id != event:
            raise ConfigError(
                f"partition {partition}: the next event is now {claimed.next_id or 'none'}, not "
                f"{event}, which failed: run this again, or resume without --skip"
            )
        token = Token(claimed.epoch, nonce)
        move = CheckpointMove(claimed.checkpoint, event, 1, release=True)
        await scripts.call(await _commit(scripts, processor, partition, token, move, described))
    except BaseException:
        await _release(scripts, processor, partition, claimed, nonce)
        raise
    finally:  # The previous owner claims it again, whether or not the event was skipped.
        await scripts.call(protocol.revoke(processor.group, [partition]))
    return Skipped(event)


async def _release(
    scripts: Scripts, processor: Processor, partition: int, claimed: ClaimReply, nonce: str
) -> None:
    """Release the lease without a commit: else the next claim would count a death. An error of this
    is dropped, so that the operator gets the first one."""
    move = CheckpointMove(claimed.checkpoint, claimed.checkpoint, 0, release=True)
    call = protocol.commit(processor.keys(partition), Token(claimed.epoch, nonce), move)
    with suppress(RedisError, OSError, ProtocolError):
        await scripts.call(call)


def _to_skip(described: PartitionDescription, retries: int, named: bool) -> tuple[str | None, str]:
    """The event to skip, or None and the reason."""
    event, tries = described.error_event, described.attempts or 0
    if not event:
        return None, "no event of it has failed" if named else ""
    if event != described.next_id:
        return None, "its handler failed before its first event, so there is no event to skip"
    if described.quarantined or tries > retries:
        return event, ""
    if described.error_type in _NOT_RETRIED or (named and tries):
        return event, ""
    return None, f"event {event} has failed {tries} times; it is not skipped, as workers retry it"


async def _commit(
    scripts: Scripts,
    processor: Processor,
    partition: int,
    token: Token,
    move: CheckpointMove,
    described: PartitionDescription,
) -> Call:
    """The commit of the event, with its dead letter if there is a sink."""
    partition_keys, sink = processor.keys(partition), processor.sink
    if sink is None:
        return protocol.commit(partition_keys, token, move)
    log, event = partition_keys.log, move.next
    fields = await _fields(scripts, log, event)
    if fields is None:
        raise ConfigError(f"partition {partition}: event {event} is gone: resume without --skip")
    dead_letter = DeadLetter.of(
        processor.stream.name,
        processor.name,
        partition,
        (event, fields),
        described.attempts or 0,
        (described.error_type or "", described.error_message or ""),
    )
    failed = protocol.Failed(0, await _traceback(scripts, partition_keys.state))
    entry = protocol.with_failed(sink.encode(dead_letter), failed)
    letters = protocol.Entries(sink.sink(partition), [entry])
    return protocol.transact(partition_keys, token, move, [letters])


async def _traceback(scripts: Scripts, state: str) -> str:
    """Where the last failure was raised; empty if it is unknown, or if Redis refuses to tell."""
    (found,) = await scripts.deployment.send([(state, ("HMGET", state, "error_traceback"))])
    return "" if isinstance(found, Exception) else (found[0] or b"").decode(errors="replace")


async def _fields(scripts: Scripts, log: str, event: str) -> list[Any] | None:
    """The fields and values of an event, in turn; None if it is gone."""
    # The raw reply: a dict would lose values if a field is repeated.
    (entries,) = await scripts.deployment.send([(log, ("XRANGE", log, event, event))])
    if isinstance(entries, Exception):
        raise entries
    fields: list[Any] | None = entries[0][1] if entries else None
    return fields
