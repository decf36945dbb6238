"""What calls have in common: the contract of a stream, the keys of a partition, the token.

This package alone knows the order of KEYS and ARGV. Each function builds the `Call` of one script;
the matching `read_…` turns the reply into a dataclass. Neither does I/O, so the core can make calls
that a simulator carries out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.scripts import PROTOCOL


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


@dataclass(frozen=True, slots=True)
class CheckpointMove:
    """A move of a checkpoint: from `prev` to `next` over `count` finished events."""

    prev: str
    next: str
    count: int
    release: bool = False
