"""One function per script: the only module that knows the order of KEYS and ARGV.

Each builds a `Call`; the matching `read_…` turns the reply into a dataclass. Neither does I/O, so
the core can make calls that a simulator carries out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.scripts import PROTOCOL, Call

Entry = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class StreamContract:
    """What every client of a stream must agree on."""

    partitions: int
    hash: str

    def args(self) -> tuple[Arg, ...]:
        return (PROTOCOL, self.partitions, self.hash)


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """One processor on one partition: the keys of partition scope."""

    prefix: str
    processor: str

    def keys(self) -> tuple[str, str, str]:
        return (
            keys.log(self.prefix),
            keys.meta(self.prefix),
            keys.state(self.prefix, self.processor),
        )


@dataclass(frozen=True, slots=True)
class Token:
    """The fence of a lease. Two tokens are the same only if both parts are equal."""

    epoch: int
    nonce: str


def text(value: Any) -> str:
    """A string of a reply, whether or not the client decodes replies."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _flat(entries: Iterable[Entry]) -> list[Arg]:
    values: list[Arg] = []
    for entry in entries:
        values += (len(entry), *entry)
    return values


# Partition scope


def register(place: PartitionKeys, contract: StreamContract, start: str) -> Call:
    """Make the partition ready for the processor. `start` is ``0`` or ``$``."""
    return Call("register", place.keys(), (*contract.args(), place.processor, start))


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
    return Call("claim", place.keys(), args)


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
    after: str = ""


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
        after=text(reply[13]),
    )


@dataclass(frozen=True, slots=True)
class CheckpointMove:
    """A move of a checkpoint: from `prev` to `next` over `count` finished events."""

    prev: str
    next: str
    count: int
    release: bool = False


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
    return Call("commit", place.keys(), _commit_args(place, token, step))


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
    names = (*place.keys(), keys.log(sink), keys.meta(sink))
    args = (*_commit_args(place, token, step), size, policy, *_flat(entries))
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
    return Call("attempt", place.keys()[2:], args)


def declare(prefix: str, contract: StreamContract) -> Call:
    """Make sure that a partition with this prefix, and with 0 the stream, is seen alike by all."""
    return Call("declare", (keys.meta(prefix),), contract.args())


class Appends:
    """Appends to one partition: what they have in common is put together once."""

    def __init__(self, prefix: str, contract: StreamContract, size: int) -> None:
        self._keys = (keys.log(prefix), keys.meta(prefix), keys.producers(prefix))
        self._args: tuple[Arg, ...] = (*contract.args(), size)
        self._head = Call("append", self._keys, self._args).command()

    def call(self, policy: str, producer: str, sequence: int, entries: Iterable[Entry]) -> Call:
        """Add events to the partition, at most once per producer and sequence number."""
        args = [*self._args, policy, producer, sequence]
        for entry in entries:
            args += (len(entry), *entry)
        return Call("append", self._keys, args)

    def command(self, policy: str, producer: str, sequence: int, entry: Entry) -> tuple[Arg, ...]:
        """The Redis command of such a call with one entry, in less time."""
        return (*self._head, policy, producer, sequence, len(entry), *entry)


def append(
    prefix: str,
    contract: StreamContract,
    size: int,
    policy: str,
    producer: str,
    sequence: int,
    entries: Iterable[Entry],
) -> Call:
    """One of `Appends`, alone."""
    return Appends(prefix, contract, size).call(policy, producer, sequence, entries)


class Appended(NamedTuple):
    """Reply of `append`: the ids of the events."""

    applied: bool
    ids: list[str]


def read_append(reply: Sequence[Any]) -> Appended:
    return Appended(bool(reply[0]), appended_ids(reply))


def appended_ids(reply: Sequence[Any]) -> list[str]:
    """The ids alone."""
    _, first, count = reply
    if count == 1:
        return [text(first)]
    ms, _, sequence = text(first).partition("-")
    start = int(sequence)
    over = max(0, start + count - 2**64)  # They go on in the next millisecond.
    ids = [f"{ms}-{i}" for i in range(start, start + count - over)]
    return ids + [f"{int(ms) + 1}-{i}" for i in range(over)] if over else ids


def seek(place: PartitionKeys, start: str, read: int | None, nonce: str) -> Call:
    """Set the position. `start` is the first event to be processed: ``0``, ``$`` or an id."""
    args = (place.processor, start, "" if read is None else read, nonce)
    return Call("seek", place.keys(), args)


def pause(place: PartitionKeys) -> Call:
    return Call("pause", place.keys()[2:], ())


def resume(place: PartitionKeys) -> Call:
    return Call("resume", place.keys()[2:], ())


def remove(place: PartitionKeys) -> Call:
    return Call("remove", place.keys(), (place.processor,))


def delete(prefix: str) -> Call:
    """End the partition with this prefix, with all its events."""
    return Call("delete", (keys.log(prefix), keys.meta(prefix), keys.producers(prefix)), ())


def describe(place: PartitionKeys) -> Call:
    return Call("describe", place.keys(), (place.processor,))


def read_describe(reply: Sequence[Any]) -> dict[str, str]:
    values = [text(each) for each in reply]
    return dict(zip(values[::2], values[1::2], strict=True))


# Group scope


#: What a member wants: to stay, to take nothing more and give back what it holds, or to leave.
Action = Literal["stay", "retire", "leave"]


@dataclass(frozen=True, slots=True)
class Revoked:
    """A partition given back: under which grant, and the grant seen there if that was stale."""

    partition: int
    grant: int
    seen: int = 0


def sync(
    group: str,
    partitions: int,
    times: tuple[int, int, int],
    member: tuple[str, str, str],
    call: int,
    action: Action,
    held: Iterable[tuple[int, int]],
    let_go: Iterable[Revoked],
) -> Call:
    """`times` are session, drain and collect in ms; `member` is id, incarnation, description."""
    pairs = [value for pair in held for value in pair]
    rest = [value for each in let_go for value in (each.partition, each.grant, each.seen)]
    names = (keys.plan(group), keys.members(group), keys.sessions(group))
    args: tuple[Arg, ...] = (
        partitions,
        *times,
        member[0],
        member[1],
        call,
        action,
        member[2],
        len(pairs) // 2,
        *pairs,
        *rest,
    )
    return Call("sync", names, args)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a member should do about one partition: hold it under `number`, or give it back."""

    partition: int
    number: int
    hold: bool


@dataclass(frozen=True, slots=True)
class SyncReply:
    """Reply of `sync`. `session_ms` is the group's; `again_ms` is None if nothing is due."""

    call: int
    generation: int
    session_ms: int
    again_ms: int | None
    grants: tuple[Grant, ...]


def read_sync(reply: Sequence[Any]) -> SyncReply:
    numbers = [int(each) for each in reply]
    grants = tuple(
        Grant(numbers[i], numbers[i + 1], bool(numbers[i + 2])) for i in range(4, len(numbers), 3)
    )
    again = None if numbers[3] < 0 else numbers[3]
    return SyncReply(numbers[0], numbers[1], numbers[2], again, grants)


def revoke(group: str, partitions: Iterable[int]) -> Call:
    """Have the partitions claimed anew by whoever holds them."""
    return Call("revoke", (keys.plan(group),), tuple(partitions))


def describe_group(group: str) -> Call:
    return Call("describe_group", (keys.plan(group), keys.members(group), keys.sessions(group)), ())


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the group sees it. `left_ms` of its session is negative once it has ended."""

    id: str
    left_ms: int
    call: int
    joined_ms: int
    action: str
    description: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who the group thinks holds a partition, and who should."""

    partition: int
    holder: str | None
    target: str | None
    grant: int


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """Reply of `describe_group`."""

    now_ms: int
    generation: int
    session_ms: int
    members: tuple[Member, ...]
    assignments: tuple[Assignment, ...]


def read_describe_group(reply: Sequence[Any]) -> GroupDescription:
    values = [text(each) for each in reply]
    count = int(float(values[3]))
    members = tuple(
        Member(v[0], int(v[1]), int(v[2]), int(v[3]), v[4], v[5])
        for v in (values[4 + 6 * i : 10 + 6 * i] for i in range(count))
    )
    rest = values[4 + 6 * count :]
    assignments = tuple(
        Assignment(int(v[0]), _somebody(v[1]), _somebody(v[2]), int(v[3]))
        for v in (rest[i : i + 4] for i in range(0, len(rest), 4))
    )
    return GroupDescription(
        int(values[0]),
        int(values[1]),
        int(values[2]),
        members,
        tuple(sorted(assignments, key=lambda each: each.partition)),
    )


def _somebody(name: str) -> str | None:
    return None if name == "-" else name


# App scope


def elect(app: str, member: str, nonce: str, session_ms: int, leave: bool = False) -> Call:
    args = (member, nonce, session_ms, "leave" if leave else "hold")
    return Call("elect", (keys.leader(app),), args)


def tick(app: str, task: str, instant_ms: int, nonce: str, schedule: str) -> Call:
    return Call("tick", (keys.ticks(app),), (task, instant_ms, nonce, schedule))


# Start of a client


def check_acl(commands: Iterable[Sequence[str]]) -> Call:
    """Ask which commands the user may run; each is its words up to its keys and channels."""
    args: list[Arg] = []
    for words in commands:
        args += [len(words), *words]
    return Call("check_acl", (), tuple(args))


def read_check_acl(reply: Sequence[Any]) -> list[bool | None]:
    """Whether the user may run each command; None for one that the server does not have."""
    return [None if int(each) < 0 else int(each) == 1 for each in reply]
