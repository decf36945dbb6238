"""Calls about the group of one processor: its members, and the partitions that each should own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.common import shown
from runnel.protocol.scripts import Call

#: What a member wants: to stay, to release its partitions and take no more, or to leave.
Action = Literal["stay", "retire", "leave"]


@dataclass(frozen=True, slots=True)
class Released:
    """A partition that was released: its grant, and the grant seen there if that one was stale."""

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
    released: Iterable[Released],
) -> Call:
    """Join, send a heartbeat, report or leave. `times` are session timeout, rebalance timeout and
    rebalance delay in ms; `member` is id, incarnation and description; `held` are pairs of
    partition and grant."""
    pairs = [value for pair in held for value in pair]
    rest = [value for each in released for value in (each.partition, each.grant, each.seen)]
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
    """A line in a reply of `sync`: the partition was granted to the member under this number. It
    should hold the partition, or, if `hold` is false, release it."""

    partition: int
    number: int
    hold: bool


@dataclass(frozen=True, slots=True)
class SyncReply:
    """Reply of `sync`. `session_ms` is the group's; `next_call_ms` is None if nothing is due."""

    call: int
    generation: int
    session_ms: int
    next_call_ms: int | None
    grants: tuple[Grant, ...]


def read_sync(reply: Sequence[Any]) -> SyncReply:
    numbers = [int(each) for each in reply]
    grants = tuple(
        Grant(numbers[i], numbers[i + 1], bool(numbers[i + 2])) for i in range(4, len(numbers), 3)
    )
    again = None if numbers[3] < 0 else numbers[3]
    return SyncReply(numbers[0], numbers[1], numbers[2], again, grants)


def revoke(group: str, partitions: Iterable[int]) -> Call:
    """Withdraw the grants of the partitions, so that their owners claim them under new ones."""
    return Call("revoke", (keys.plan(group),), tuple(partitions))


def describe_group(group: str) -> Call:
    """Ask for the members of the group and the owners of its partitions."""
    return Call("describe_group", (keys.plan(group), keys.members(group), keys.sessions(group)), ())


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the group. `left_ms` is the rest of its session, negative once it has ended."""

    id: str
    left_ms: int
    call: int
    joined_ms: int
    action: str
    description: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """The owner of a partition, as far as the group knows, and the member that should own it."""

    partition: int
    owner: str | None
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
    values = [shown(each) for each in reply]
    count = int(float(values[3]))
    members = tuple(
        Member(v[0], int(v[1]), int(v[2]), int(v[3]), v[4], v[5])
        for v in (values[4 + 6 * i : 10 + 6 * i] for i in range(count))
    )
    rest = values[4 + 6 * count :]
    assignments = tuple(
        Assignment(int(v[0]), _member(v[1]), _member(v[2]), int(v[3]))
        for v in (rest[i : i + 4] for i in range(0, len(rest), 4))
    )
    return GroupDescription(
        int(values[0]),
        int(values[1]),
        int(values[2]),
        members,
        tuple(sorted(assignments, key=lambda each: each.partition)),
    )


def _member(name: str) -> str | None:
    return None if name == "-" else name
