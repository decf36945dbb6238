"""Calls the Lua scripts by their SHA-1, and loads those that a server lacks.

A file in ``lua/`` is the script as Redis runs it, and the SHA-1 of its bytes is its name in Redis.
A call is an EVALSHA. NOSCRIPT means that it did not run: then the script is loaded and the call
sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from runnel.connection import deployment
from runnel.connection.durability import AckRequirement
from runnel.connection.redis_client import Arg
from runnel.errors import BY_WORD, RunnelError

#: Calls in one round trip at most, so that Redis serves other clients in between.
CALLS_PER_ROUND_TRIP = 500
#: Version of the protocol that these scripts speak.
PROTOCOL = 1


class Call(NamedTuple):
    """One call of one script: its keys and arguments in the order of the file's header."""

    script: str
    keys: tuple[str, ...]
    args: Sequence[Arg]

    def command(self) -> tuple[Arg, ...]:
        """The Redis command of the call."""
        return ("EVALSHA", sha(self.script), len(self.keys), *self.keys, *self.args)


def folder() -> Path:
    """The folder of the Lua files: inside an installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent.parent / "lua"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent.parent / "lua"


@cache
def sources() -> Mapping[str, bytes]:
    """Name -> bytes of every script."""
    return {path.stem: path.read_bytes() for path in sorted(folder().glob("*.lua"))}


@cache
def sha(script: str) -> str:
    """The SHA-1 that Redis knows the script by."""
    return hashlib.sha1(sources()[script], usedforsecurity=False).hexdigest()


@cache
def by_sha() -> Mapping[Arg, bytes]:
    """SHA-1 -> bytes of every script."""
    return {sha(name): source for name, source in sources().items()}


@cache
def version() -> str:
    """Seven hexadecimal digits that identify this set of scripts."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name in sources():
        digest.update(sha(name).encode())
    return digest.hexdigest()[:7]


def error_from(error: Exception) -> Exception:
    """The exception for an error reply: a ProtocolError for a known error word, else unchanged."""
    if not isinstance(error, ResponseError):
        return error
    word, _, rest = str(error).partition(" ")
    kind = BY_WORD.get(word)
    if kind is None:
        return error
    pairs = (pair.partition("=") for pair in rest.split())
    return kind(str(error), {name: value for name, _, value in pairs})


class Scripts:
    """Calls scripts, each on the node that has its keys.

    `client` must be one that `runnel.connection.connect.connect` made: it does not retry by itself.
    A retry would run a script twice if its reply was lost, without the caller's knowledge.
    """

    def __init__(self, client: Redis) -> None:
        self.deployment = deployment.of(client)
        self.client = self.deployment.client
        #: Makes a round trip to the only server; None on a cluster.
        self.roundtrip = None if self.deployment.one_slot else self.client.roundtrip

    async def load(self) -> None:
        """Load every script on every primary, and check that Redis computes the same SHA-1."""
        names = tuple(sources())
        loads = [("SCRIPT", "LOAD", sources()[name]) for name in names]
        for node in await self.deployment.primaries():
            for name, loaded in zip(names, await node.roundtrip(loads), strict=True):
                if isinstance(loaded, Exception):
                    raise loaded
                if loaded.decode() != sha(name):
                    raise RunnelError(
                        f"Redis computes {loaded} for the script {name}, the file has {sha(name)}"
                    )

    async def call(self, call: Call, ack: AckRequirement | None = None) -> Any:
        """Make one call and return its reply.

        Raises a ProtocolError for an error word of the script, or redis-py's errors.
        """
        if ack is None and self.roundtrip is not None:
            # Faster than `call_all`, for callers that wait for one round trip after the other.
            (reply,) = await self.roundtrip((call.command(),))
            if not isinstance(reply, Exception):
                return reply
            if not isinstance(reply, NoScriptError):
                raise error_from(reply)
        (outcome,) = await self.call_all((call,), ack)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def call_all(self, calls: Sequence[Call], ack: AckRequirement | None = None) -> list[Any]:
        """Make several calls, up to `CALLS_PER_ROUND_TRIP` in one round trip to each node. Each
        outcome is a reply or an exception: for instance a ConnectionError for the calls to a node
        that was lost, or a TimeoutError for calls that were carried out but do not meet `ack`."""
        outcomes: list[Any] = []
        for at in range(0, len(calls), CALLS_PER_ROUND_TRIP):
            commands = [
                (_routing_key(call), call.command())
                for call in calls[at : at + CALLS_PER_ROUND_TRIP]
            ]
            outcomes += await self.deployment.send(commands, by_sha(), ack)
        return [error_from(each) if isinstance(each, Exception) else each for each in outcomes]


def _routing_key(call: Call) -> str:
    """The key that decides which node gets a call. A call without keys may go to any node."""
    return call.keys[0] if call.keys else ""
