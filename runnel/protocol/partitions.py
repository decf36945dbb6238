"""Calls about one processor on one partition: claim it, move its checkpoint, and what operators
do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.common import CheckpointMove, PartitionKeys, StreamContract, Token, text
from runnel.protocol.scripts import Call
from runnel.protocol.streams import Entry, flat


def register(place: PartitionKeys, contract: StreamContract, start: str) -> Call:
    """Make the partition ready for the processor. `start` is ``0`` or ``$``."""
    return Call("register", place.of_script(), (*contract.args(), place.processor, start))


def read_register(reply: list[Any]) -> Literal["there", "new", "mended"]:
    """Was the processor registered there, or was it with keys that were lost meanwhile?"""
    found: tuple[Literal["there", "new", "mended"], ...] = ("there", "new", "mended")
    return found[int(reply[0])]


def claim(
    place: PartitionKeys,
    contract: StreamContract,
    member: str,
    grant: int,
    nonce: str,
    accept: int | None = None,
) -> Call:
    """Take the lease under a grant. `accept` is a number of lost events named before."""
    accepted = "" if accept is None else accept
    args = (*contract.args(), place.processor, member, grant, nonce, accepted)
    return Call("claim", place.of_script(), args)


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """Reply of `claim`: see the file's header."""

    epoch: int
    checkpoint: str
    processed: int
    attempts: int
    event: str
    tenures: int
    paused: bool
    quarantined: bool
    lost: int | None
    exact: bool
    checkpoint_exists: bool
    next_id: str
    deaths: int = 0
    previous_owner: str = ""


def read_claim(reply: Sequence[Any]) -> ClaimReply:
    return ClaimReply(
        epoch=int(reply[0]),
        checkpoint=text(reply[1]),
        processed=int(reply[2]),
        attempts=int(reply[3]),
        event=text(reply[4]),
        tenures=int(reply[5]),
        paused=bool(reply[6]),
        quarantined=bool(reply[7]),
        lost=None if int(reply[8]) < 0 else int(reply[8]),
        exact=bool(reply[9]),
        checkpoint_exists=bool(reply[10]),
        next_id=text(reply[11]),
        deaths=int(reply[12]),
        previous_owner=text(reply[13]),
    )


def _commit_args(place: PartitionKeys, token: Token, step: CheckpointMove) -> tuple[Arg, ...]:
    return (
        place.processor,
        token.epoch,
        token.nonce,
        step.prev,
        step.next,
        step.count,
        int(step.release),
    )


def commit(place: PartitionKeys, token: Token, step: CheckpointMove) -> Call:
    """Move the checkpoint; optionally release the lease."""
    return Call("commit", place.of_script(), _commit_args(place, token, step))


def emit(
    place: PartitionKeys,
    token: Token,
    step: CheckpointMove,
    sink: str,
    size: int,
    policy: str,
    entries: Iterable[Entry],
) -> Call:
    """A commit that also adds `entries` to the derived stream with the key prefix `sink`."""
    names = (*place.of_script(), keys.log(sink), keys.meta(sink))
    args = (*_commit_args(place, token, step), size, policy, *flat(entries))
    return Call("emit", names, args)


@dataclass(frozen=True, slots=True)
class CommitReply:
    """Reply of `commit` and `emit`."""

    applied: bool
    paused: bool


def read_commit(reply: Sequence[Any]) -> CommitReply:
    return CommitReply(applied=bool(reply[0]), paused=bool(reply[1]))


def attempt(
    place: PartitionKeys,
    token: Token,
    kind: str,
    event: str,
    attempts: int,
    error: tuple[str, str] = ("", ""),
) -> Call:
    """Record a start, a failure or a quarantine. `error` is type and message."""
    args = (token.epoch, token.nonce, kind, event, attempts, error[0][:200], error[1][:1000])
    return Call("attempt", place.of_script()[2:], args)


def seek(place: PartitionKeys, start: str, read: int | None, nonce: str) -> Call:
    """Set the position. `start` is the first event to be processed: ``0``, ``$`` or an id."""
    args = (place.processor, start, "" if read is None else read, nonce)
    return Call("seek", place.of_script(), args)


def pause(place: PartitionKeys) -> Call:
    return Call("pause", place.of_script()[2:], ())


def resume(place: PartitionKeys) -> Call:
    return Call("resume", place.of_script()[2:], ())


def remove(place: PartitionKeys) -> Call:
    return Call("remove", place.of_script(), (place.processor,))


def describe(place: PartitionKeys) -> Call:
    return Call("describe", place.of_script(), (place.processor,))
