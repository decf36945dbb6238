"""Calls about an app as a whole: elect a leader, tell the instants of tasks, ask the server for
permissions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.scripts import Call


def elect(app: str, member: str, nonce: str, session_ms: int, leave: bool = False) -> Call:
    args = (member, nonce, session_ms, "leave" if leave else "hold")
    return Call("elect", (keys.leader(app),), args)


def tick(app: str, task: str, instant_ms: int, nonce: str, schedule: str) -> Call:
    return Call("tick", (keys.ticks(app),), (task, instant_ms, nonce, schedule))


def check_acl(commands: Iterable[Sequence[str]]) -> Call:
    """Ask which commands the user may run; each is its words up to its keys and channels."""
    args: list[Arg] = []
    for words in commands:
        args += [len(words), *words]
    return Call("check_acl", (), tuple(args))


def read_check_acl(reply: Sequence[Any]) -> list[bool | None]:
    """Whether the user may run each command; None for one that the server does not have."""
    return [None if int(each) < 0 else int(each) == 1 for each in reply]
