"""Waits until writes would survive the loss of their primary, or a power failure.

Redis answers a write before its replicas have it and before it is on disk. WAIT and WAITAOF answer
once they do, for all earlier writes on the same connection. So they follow the calls on that
connection, in the same round trip: another connection may lead to another primary by then. A repeat
of a commit writes nothing. So a small write goes before WAIT, which then covers every earlier write
to this primary, by any client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from redis.exceptions import TimeoutError

from runnel import keys
from runnel.connection.redis_client import Arg, Client
from runnel.errors import ServerError

#: What an acknowledged send or commit must survive: the loss of a worker or of the server's process
#: (with an append-only file), the loss of the primary, or a power failure.
Durability = Literal["primary", "replica", "fsync"]

#: Milliseconds to wait for replicas or the disk before the call fails with TimeoutError.
PATIENCE_MS = 1000
#: The barrier key expires when it was not used for a day.
_DAY_MS = 86_400_000


class AckRequirement:
    """Whether a replica or the disk must acknowledge calls, and the commands that wait for it."""

    def __init__(self, durability: Durability) -> None:
        self._durability = durability

    @classmethod
    def of(cls, durability: Durability) -> AckRequirement | None:
        """The requirement, or None if the reply of the primary is enough."""
        return None if durability == "primary" else cls(durability)

    def commands(self, log: str) -> list[Sequence[Arg]]:
        """The commands to send behind calls to the node that has this log."""
        barrier = keys.barrier(log)
        wait = ("WAIT", 1, PATIENCE_MS)
        return [
            # A full server refuses SET and allows PEXPIRE: one of them is enough.
            ("SET", barrier, ""),
            ("PEXPIRE", barrier, _DAY_MS),
            wait if self._durability == "replica" else ("WAITAOF", 1, 0, PATIENCE_MS),
        ]

    def problem(self, replies: Sequence[Any]) -> Exception | None:
        """Why the calls are not as durable as required, by the replies to `commands`, or None."""
        _, written, reply = replies
        for each in (written, reply):
            if isinstance(each, Exception):
                return each
        if not written:
            return TimeoutError("the server has no room to tell whether a replica has it")
        if self._durability == "replica" and int(reply) < 1:
            return TimeoutError("no replica has it yet")
        if self._durability == "fsync" and int(reply[0]) < 1:
            return TimeoutError("it is not on disk yet")
        return None


async def check_possible(primaries: Iterable[Client], durability: Durability) -> None:
    """Raises ServerError if `durability` is "fsync" and one of the primaries has no WAITAOF."""
    if durability != "fsync":
        return
    for client in primaries:
        (reply,) = await client.roundtrip([("WAITAOF", 1, 0, 1)])
        if isinstance(reply, Exception):
            raise ServerError(
                'durability="fsync" needs WAITAOF, so Redis 7.2 or Valkey with appendonly yes: '
                f"{reply}"
            )
