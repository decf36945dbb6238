"""Calls about one processor on one partition: of its owner, and of operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.common import CheckpointMove, PartitionKeys, StreamContract, Token, shown, text
from runnel.protocol.parked import parked_names
from runnel.protocol.scripts import Call

#: Bytes of a traceback.
_MOST_TRACEBACK = 4000


def register(partition_keys: PartitionKeys, contract: StreamContract, start: str) -> Call:
    """Register the processor on the partition. `start` is ``0`` or ``$``."""
    return Call(
        "register", partition_keys.of_script(), (*contract.args(), partition_keys.processor, start)
    )


def read_register(reply: Sequence[Any]) -> Literal["there", "new", "mended"]:
    """Whether the processor was registered before, is new, or got back keys that were lost."""
    found: tuple[Literal["there", "new", "mended"], ...] = ("there", "new", "mended")
    return found[int(reply[0])]


def claim(
    partition_keys: PartitionKeys,
    contract: StreamContract,
    member: str,
    grant: int,
    nonce: str,
    accept: int | None = None,
) -> Call:
    """Take the lease under a grant. `accept` is the number of lost events that the owner accepts,
    as an earlier reply reported it."""
    accepted = "" if accept is None else accept
    args = (*contract.args(), partition_keys.processor, member, grant, nonce, accepted)
    return Call("claim", partition_keys.of_script(), args)


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """Reply of `claim`: see the header of the script."""

    epoch: int
    checkpoint: str
    processed: int
    attempts: int
    event: str
    unclean_tenures: int
    paused: bool
    quarantined: bool
    lost: int | None
    exact: bool
    checkpoint_exists: bool
    next_id: str
    deaths: int = 0
    previous_owner: str = ""
    outbox: int = 0
    parked: int = 0
    replay: int = 0


def read_claim(reply: Sequence[Any]) -> ClaimReply:
    return ClaimReply(
        epoch=int(reply[0]),
        checkpoint=text(reply[1]),
        processed=int(reply[2]),
        attempts=int(reply[3]),
        event=text(reply[4]),
        unclean_tenures=int(reply[5]),
        paused=bool(reply[6]),
        quarantined=bool(reply[7]),
        lost=None if int(reply[8]) < 0 else int(reply[8]),
        exact=bool(reply[9]),
        checkpoint_exists=bool(reply[10]),
        next_id=text(reply[11]),
        deaths=int(reply[12]),
        previous_owner=shown(reply[13]),
        outbox=int(reply[14]),
        parked=int(reply[15]),
        replay=int(reply[16]),
    )


def commit_args(
    partition_keys: PartitionKeys, token: Token, move: CheckpointMove
) -> tuple[Arg, ...]:
    """The arguments that `commit` and `transact` share."""
    return (
        partition_keys.processor,
        token.epoch,
        token.nonce,
        move.prev,
        move.next,
        move.count,
        int(move.release),
    )


def commit(partition_keys: PartitionKeys, token: Token, move: CheckpointMove) -> Call:
    """Move the checkpoint, and release the lease if the move says so."""
    return Call("commit", partition_keys.of_script(), commit_args(partition_keys, token, move))


@dataclass(frozen=True, slots=True)
class CommitReply:
    """Reply of `commit` and `transact`."""

    applied: bool
    paused: bool


def read_commit(reply: Sequence[Any]) -> CommitReply:
    return CommitReply(applied=bool(reply[0]), paused=bool(reply[1]))


def attempt(
    partition_keys: PartitionKeys,
    token: Token,
    kind: str,
    event: str,
    attempts: int,
    error: tuple[str, str] = ("", ""),
    traceback: str = "",
) -> Call:
    """Record a start, a failure or a quarantine. `error` is type and message. Of a traceback that
    is too long, the end is kept: it says where the error was raised."""
    args: list[Arg] = [token.epoch, token.nonce, kind, event, attempts]
    args += (error[0][:200], error[1][:1000])
    if traceback:
        args.append(traceback.encode(errors="replace")[-_MOST_TRACEBACK:])
    return Call("attempt", partition_keys.of_script()[2:], args)


def seek(
    partition_keys: PartitionKeys,
    start: str,
    read: int | None,
    nonce: str,
    tables: Iterable[str] = (),
) -> Call:
    """Set the checkpoint, and empty these tables. `start` is the first event to be processed:
    ``0``, ``$`` or an id. `read` is the number of entries ever added before it, None if the script
    can count them."""
    args = (partition_keys.processor, start, "" if read is None else read, nonce)
    emptied = [key for each in tables for key in keys.all_of_table(partition_keys.prefix, each)]
    return Call("seek", (*partition_keys.of_script(), *emptied), args)


@dataclass(frozen=True, slots=True)
class SeekReply:
    """Reply of `seek`. `read` is the number of entries ever added up to the new checkpoint."""

    checkpoint: str
    read: int


def read_seek(reply: Sequence[Any]) -> SeekReply:
    return SeekReply(text(reply[0]), int(reply[1]))


def clear_table(partition_keys: PartitionKeys, name: str, nonce: str) -> Call:
    """Delete the table `name` of the partition, which the processor writes, and forget its writer.
    Ends the processor's lease."""
    table = keys.all_of_table(partition_keys.prefix, name)
    names = (partition_keys.meta, partition_keys.state, *table)
    return Call("clear_table", names, (partition_keys.processor, nonce))


def pause(partition_keys: PartitionKeys) -> Call:
    return Call("pause", partition_keys.of_script()[2:], ())


def resume(partition_keys: PartitionKeys) -> Call:
    return Call("resume", partition_keys.of_script()[2:], ())


def acknowledge(partition_keys: PartitionKeys, lost: int) -> Call:
    """Note that an operator has dealt with so many lost events of the partition."""
    return Call("acknowledge", partition_keys.of_script()[2:], (lost,))


def remove(partition_keys: PartitionKeys) -> Call:
    """End the registration, and delete what is parked. Raises Unforwarded while entries wait in the
    outbox."""
    parked = (*parked_names(partition_keys), partition_keys.postponed)
    names = (*partition_keys.of_script(), partition_keys.outbox, *parked)
    return Call("remove", names, (partition_keys.processor,))


def describe(partition_keys: PartitionKeys) -> Call:
    return Call("describe", partition_keys.of_script(), (partition_keys.processor,))
