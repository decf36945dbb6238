"""What calls have in common: the contract of a stream, the keys of a partition, the token.

This package alone knows the order of KEYS and ARGV. Each function builds the `Call` of one script;
the matching `read_…` turns the reply into a dataclass. Neither does I/O, so the core can make calls
that a simulator carries out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """The keys of one processor on one partition. `prefix` is what they start with."""

    prefix: str
    processor: str
    log: str = field(init=False)
    meta: str = field(init=False)
    state: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log", keys.log(self.prefix))
        object.__setattr__(self, "meta", keys.meta(self.prefix))
        object.__setattr__(self, "state", keys.state(self.prefix, self.processor))

    def of_script(self) -> tuple[str, str, str]:
        """KEYS of the scripts about one processor on one partition."""
        return self.log, self.meta, self.state


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
