"""Send the Lua scripts to Redis: the only module that does.

A file in ``lua/`` is the script as it stands; the SHA-1 of its bytes is the name Redis gives it.
A call goes out as EVALSHA. NOSCRIPT means that it did not run: the script is loaded and that one
call sent once more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from runnel.errors import BY_WORD, RunnelError
from runnel.wire import Arg, Client

#: Version of the protocol that these scripts speak.
PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one script: its keys and arguments in the order of the file's header."""

    script: str
    keys: tuple[str, ...]
    args: tuple[Arg, ...]

    def command(self) -> tuple[Arg, ...]:
        """The Redis command that makes the call."""
        return ("EVALSHA", sha(self.script), len(self.keys), *self.keys, *self.args)


def folder() -> Path:
    """Where the Lua files are: inside an installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "lua"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "lua"


@cache
def sources() -> Mapping[str, bytes]:
    """Name -> bytes of every script."""
    return {path.stem: path.read_bytes() for path in sorted(folder().glob("*.lua"))}


@cache
def sha(script: str) -> str:
    """The SHA-1 that Redis knows the script by."""
    return hashlib.sha1(sources()[script], usedforsecurity=False).hexdigest()


@cache
def version() -> str:
    """Seven hexadecimal digits that name this set of scripts."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name in sources():
        digest.update(sha(name).encode())
    return digest.hexdigest()[:7]


def error_from(error: ResponseError) -> Exception:
    """The exception for an error reply: one of ours for a known error word, else as it came."""
    word, _, rest = str(error).partition(" ")
    kind = BY_WORD.get(word)
    if kind is None:
        return error
    pairs = (pair.partition("=") for pair in rest.split())
    return kind(str(error), {name: value for name, _, value in pairs})


class Scripts:
    """Calls scripts on one Redis.

    `client` is one that `runnel.connection.connect` made: it does not retry by itself, which would
    run a script twice whose reply was lost, without its caller knowing.
    """

    def __init__(self, client: Redis) -> None:
        assert isinstance(client, Client)
        self.client = client

    async def load(self) -> None:
        """Load every script, and check that Redis names each as its file does."""
        for name, source in sources().items():
            loaded = await self.client.script_load(source.decode())
            loaded = loaded.decode() if isinstance(loaded, bytes) else loaded
            if loaded != sha(name):
                raise RunnelError(f"Redis names the script {name} {loaded}, its file {sha(name)}")

    async def call(self, call: Call) -> Any:
        """Make one call and return its reply.

        Raises one of the protocol's errors, or redis-py's own for anything else.
        """
        reply = (await self.call_all([call]))[0]
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Make several calls in one round trip; each outcome is a reply or an exception."""
        outcomes = await self.client.roundtrip([call.command() for call in calls])
        missing = [i for i, each in enumerate(outcomes) if isinstance(each, NoScriptError)]
        if missing:
            for script in {calls[i].script for i in missing}:
                await self.client.script_load(sources()[script].decode())
            again = await self.client.roundtrip([calls[i].command() for i in missing])
            for i, outcome in zip(missing, again, strict=True):
                outcomes[i] = outcome
        return [
            error_from(each)
            if isinstance(each, ResponseError) and not isinstance(each, NoScriptError)
            else each
            for each in outcomes
        ]
