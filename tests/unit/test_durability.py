"""What is sent behind a call to wait for a replica or the disk, and what the replies mean."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError, OutOfMemoryError, ResponseError, TimeoutError

from runnel.connection.durability import AckRequirement, Durability

FULL = OutOfMemoryError("command not allowed when used memory > 'maxmemory'")
LOST, ABSENT = ConnectionError("closed"), ResponseError("unknown command 'WAITAOF'")


def test_the_reply_of_the_primary_alone_needs_no_wait() -> None:
    assert AckRequirement.of("primary") is None


@pytest.mark.parametrize(
    ("durability", "wait"), [("replica", ("WAIT", 1, 1000)), ("fsync", ("WAITAOF", 1, 0, 1000))]
)
def test_a_small_write_goes_before_the_wait(durability: Durability, wait: tuple[Any, ...]) -> None:
    requirement = AckRequirement.of(durability)
    assert requirement is not None
    first, second, last = requirement.commands("runnel:{shop:orders:3}:orders:log")
    assert (first[0], second[0], last) == ("SET", "PEXPIRE", wait)
    assert first[1] == second[1]
    assert "{shop:orders:3}" in str(first[1]), "on the node that has the log"


@pytest.mark.parametrize(
    ("durability", "replies", "problem"),
    [
        ("replica", [b"OK", 1, 1], None),
        ("replica", [b"OK", 1, 2], None),
        ("replica", [b"OK", 1, 0], TimeoutError("no replica has it yet")),
        ("replica", [FULL, 1, 1], None),
        ("replica", [FULL, 0, 1], TimeoutError("the server has no room to tell")),
        ("replica", [LOST, LOST, LOST], LOST),
        ("fsync", [b"OK", 1, [1, 0]], None),
        ("fsync", [b"OK", 1, [0, 2]], TimeoutError("it is not on disk yet")),
        ("fsync", [b"OK", 1, ABSENT], ABSENT),
    ],
)
def test_the_replies_say_whether_the_calls_are_as_durable_as_required(
    durability: Durability, replies: list[Any], problem: Exception | None
) -> None:
    found = AckRequirement(durability).problem(replies)
    assert type(found) is type(problem)
    assert str(found).startswith(str(problem))
