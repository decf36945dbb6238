"""The Lua scripts: by which name Redis knows each, and how one is called.

A file in ``lua/`` is the script as it stands; the SHA-1 of its bytes is the name Redis gives it.
A call goes out as EVALSHA. NOSCRIPT means that it did not run: the script is loaded and that one
call sent once more.
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

#: Calls that go out together at the most, so that Redis serves others in between.
ROUND = 500
#: Version of the protocol that these scripts speak.
PROTOCOL = 1


class Call(NamedTuple):
    """One call of one script: its keys and arguments in the order of the file's header."""

    script: str
    keys: tuple[str, ...]
    args: Sequence[Arg]

    def command(self) -> tuple[Arg, ...]:
        """The Redis command that makes the call."""
        return ("EVALSHA", sha(self.script), len(self.keys), *self.keys, *self.args)


def folder() -> Path:
    """Where the Lua files are: inside an installed package, or beside it in a checkout."""
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
    """Seven hexadecimal digits that name this set of scripts."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name in sources():
        digest.update(sha(name).encode())
    return digest.hexdigest()[:7]


def error_from(error: Exception) -> Exception:
    """The exception for an error reply: one of ours for a known error word, else as it came."""
    if not isinstance(error, ResponseError):
        return error
    word, _, rest = str(error).partition(" ")
    kind = BY_WORD.get(word)
    if kind is None:
        return error
    pairs = (pair.partition("=") for pair in rest.split())
    return kind(str(error), {name: value for name, _, value in pairs})


class Scripts:
    """Calls scripts, each where its keys are.

    `client` is one that `runnel.connection.connect.connect` made: it does not retry by itself,
    which would run a script twice whose reply was lost, without its caller knowing.
    """

    def __init__(self, client: Redis) -> None:
        self.deployment = deployment.of(client)
        self.client = self.deployment.client
        #: Round trips to the one server there is; None where a call may have to go elsewhere.
        self.roundtrip = None if self.deployment.one_slot else self.client.roundtrip

    async def load(self) -> None:
        """Load every script on every primary, and check that Redis names each as its file does."""
        names = tuple(sources())
        loads = [("SCRIPT", "LOAD", sources()[name]) for name in names]
        for node in await self.deployment.primaries():
            for name, loaded in zip(names, await node.roundtrip(loads), strict=True):
                if isinstance(loaded, Exception):
                    raise loaded
                if loaded.decode() != sha(name):
                    raise RunnelError(
                        f"Redis names the script {name} {loaded}, its file {sha(name)}"
                    )

    async def call(self, call: Call, confirmation: AckRequirement | None = None) -> Any:
        """Make one call and return its reply.

        Raises one of the protocol's errors, or redis-py's own for anything else.
        """
        if confirmation is None and self.roundtrip is not None:
            # The short way, for whom a round trip is all that they wait for.
            (reply,) = await self.roundtrip((call.command(),))
            if not isinstance(reply, Exception):
                return reply
            if not isinstance(reply, NoScriptError):
                raise error_from(reply)
        (outcome,) = await self.call_all((call,), confirmation)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def call_all(
        self, calls: Sequence[Call], confirmation: AckRequirement | None = None
    ) -> list[Any]:
        """Make several calls, up to `ROUND` in one round trip to each node; each outcome is a reply
        or an exception, such as a ConnectionError for the calls of a node that was lost, or a
        TimeoutError for those that did not get their `confirmation`: these were carried out."""
        outcomes: list[Any] = []
        for at in range(0, len(calls), ROUND):
            commands = [(_place(call), call.command()) for call in calls[at : at + ROUND]]
            outcomes += await self.deployment.send(commands, by_sha(), confirmation)
        return [error_from(each) if isinstance(each, Exception) else each for each in outcomes]


def _place(call: Call) -> str:
    """The key that says where a call is made. One without keys may be made anywhere."""
    return call.keys[0] if call.keys else ""
