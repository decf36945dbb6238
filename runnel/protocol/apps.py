"""Calls about an app as a whole: its leader, its cron tasks, the permissions of its user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.scripts import Call


def elect(app: str, member: str, nonce: str, session_ms: int, leave: bool = False) -> Call:
    """Take or renew the leader lease of the app, or leave it."""
    args = (member, nonce, session_ms, "leave" if leave else "hold")
    return Call("elect", (keys.leader(app),), args)


@dataclass(frozen=True, slots=True)
class Election:
    """Reply of `elect`. `left_ms` is the remaining time of the current lease, 0 if there is no
    leader."""

    leading: bool
    left_ms: int


def read_elect(reply: Sequence[Any]) -> Election:
    return Election(bool(reply[0]), int(reply[1]))


def tick(app: str, task: str, instant_ms: int, nonce: str, schedule: str) -> Call:
    """Ask whether the caller may fire an instant of a cron task: at most one caller may."""
    return Call("tick", (keys.ticks(app),), (task, instant_ms, nonce, schedule))


@dataclass(frozen=True, slots=True)
class Tick:
    """Reply of `tick`. `early` is whether the instant is not due yet by the server's clock, and
    `wait_ms` the time until it is."""

    fire: bool
    early: bool
    wait_ms: int


def read_tick(reply: Sequence[Any]) -> Tick:
    return Tick(reply[0] == 1, reply[0] == 2, int(reply[1]))


def check_acl(commands: Iterable[Sequence[str]]) -> Call:
    """Ask which commands the user may run. Each is its words up to its keys and channels."""
    args: list[Arg] = []
    for words in commands:
        args += [len(words), *words]
    return Call("check_acl", (), tuple(args))


def read_check_acl(reply: Sequence[Any]) -> list[bool | None]:
    """Whether the user may run each command; None for one that the server does not have."""
    return [None if int(each) < 0 else int(each) == 1 for each in reply]
