"""Arguments that several calls share: a stream's contract, a partition's keys, a lease's token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.scripts import PROTOCOL


@dataclass(frozen=True, slots=True)
class StreamContract:
    """The properties of a stream that must be the same for all clients."""

    partitions: int
    hash: str

    def args(self) -> tuple[Arg, ...]:
        return (PROTOCOL, self.partitions, self.hash)


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """The keys of one processor on one partition. `prefix` is the start of all of them."""

    prefix: str
    processor: str
    log: str = field(init=False)
    meta: str = field(init=False)
    state: str = field(init=False)
    outbox: str = field(init=False)
    postponed: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log", keys.log(self.prefix))
        object.__setattr__(self, "meta", keys.meta(self.prefix))
        object.__setattr__(self, "state", keys.state(self.prefix, self.processor))
        object.__setattr__(self, "outbox", keys.outbox(self.prefix, self.processor))
        object.__setattr__(self, "postponed", keys.postponed(self.prefix, self.processor))

    def of_script(self) -> tuple[str, str, str]:
        """KEYS of the scripts about one processor on one partition."""
        return self.log, self.meta, self.state


@dataclass(frozen=True, slots=True)
class Token:
    """The proof of a lease. Two tokens are the same only if both parts are equal."""

    epoch: int
    nonce: str


def text(value: Any) -> str:
    """The text of a value in a reply, whether or not the client decodes replies."""
    return value.decode() if isinstance(value, bytes) else str(value)


def shown(value: Any) -> str:
    """The text of a value for people, also of one that is not UTF-8: whatever another program wrote
    to Redis, an operator sees the rest. No name, id or token of ours has a backslash, so none of
    them is mistaken for a value that was."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


@dataclass(frozen=True, slots=True)
class CheckpointMove:
    """A move of a checkpoint from `prev` to `next`, which commits `count` events. `release` also
    ends the lease."""

    prev: str
    next: str
    count: int
    release: bool = False
