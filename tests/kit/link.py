"""What the planted client is made of: the faults, names and limits, and a connection that repeats
calls."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hiredis

#: Fault -> what the client does wrong.
PLANTS = {
    "look-first": "the look at the cursor goes before the read",
    "late-clock": "the session counts from the reply of sync",
    "zombie": "the end of a lease is ignored: refused commits, and what sync replies",
    "new-nonce": "a claim without a reply is repeated with another nonce",
    "new-append": "an append without a reply is sent as a new one",
    "float-hash": "the hash is a floating-point number",
    "wrong-entry": "the payload is JSON of JSON",
    "early-commit": "an event is committed before its handler has finished",
    "same-sync": "a sync without a reply is repeated",
    "no-limit": "a call may take five seconds",
    "no-register": "one partition is not registered",
    "wrong-count": "a commit counts one event, whatever it covers",
    "pause-ignored": "a pause in the reply of claim is ignored, not that in the reply of commit",
    "no-leave": "SIGTERM ends the process at once",
    "no-reload": "NOSCRIPT counts as a refusal",
    "lost-commit": "a commit without a reply is not repeated",
    "text-reply": "payloads are decoded as Latin-1",
    "careless": "many events are committed at once after an unclean tenure",
    "unreported": "released partitions are not reported",
    "forgets": "what is released is reported once, whether that is answered or not",
    "no-seen": "the grant in STALE_GRANT is not reported",
    "no-clock": "the end of the session is ignored",
    "conflict-ignored": "CONFLICT counts as a commit",
    "few-retries": "a failed event is tried twice again",
    "no-report": "a failure is not reported",
    "no-pause": "a failed event is tried again at once",
    "own-count": "failures of an owner before are forgotten",
    "endless": "a failing event is tried again for ever",
    "no-start": "starts are not recorded",
    "once-more": "an event that has killed its workers is tried again",
    "no-promote": "a worker lets no delayed event enter the log",
    "no-overdue": "OVERDUE counts as a refusal",
    "parked-ignored": "a partition with parked events is processed",
    "no-due": "the same; and nobody looks for postponed events",
    "outbox-ignored": "a partition with an outbox is processed",
    "no-check": "permissions are not asked for",
    "json-only": "msgpack is not known",
    "blocking": "a handler keeps the only thread",
    "impatient": "a handler does not keep its thread, although the record says so",
}
PLANTED = set(filter(None, os.environ.get("PLANT", "").split(",")))
LUA = Path(__file__).parent.parent.parent / "lua"
SESSION = float(os.environ.get("RUNNEL_SESSION_TIMEOUT", "10"))
URL = urlsplit(os.environ.get("RUNNEL_REDIS_URL", ""))
MEMBER = os.environ.get("RUNNEL_CONFORMANCE_MEMBER", "m")
PARTITIONS = 4
CONTRACT = (1, PARTITIONS, "xxh64")
GROUP = "runnel:{conformance:trials@kit}"
GROUP_KEYS = (f"{GROUP}:plan", f"{GROUP}:members", f"{GROUP}:sessions")
WORDS = (
    *("BADARG", "MISMATCH", "UNREGISTERED", "FENCED", "CONFLICT", "MISSING", "STALE_GRANT"),
    *("REPLACED", "FULL", "OUTOFORDER", "UNKNOWN_PRODUCER", "OVERDUE"),
)
LIMIT = 5.0 if "no-limit" in PLANTED else SESSION / 3


def prefix(partition: int) -> str:
    return f"runnel:{{conformance:trials:{partition}}}:trials"


def keys(partition: int) -> tuple[str, str, str]:
    start = prefix(partition)
    return f"{start}:log", f"{start}:meta", f"{start}:processor:kit"


class Refused(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.word, *pairs = text.split()
        self.details = dict(each.split("=", 1) for each in pairs if "=" in each)


class Lost(Exception):
    pass


def lost() -> None:
    raise Lost


class Link:
    """One connection, on which calls wait for each other. `limit` is in seconds."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def once(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The replies, of which some may be errors. Raises OSError if not all of them came."""
        async with self._lock:
            try:
                async with asyncio.timeout(self._limit):
                    if self._streams is None:
                        self._streams = await asyncio.open_connection(URL.hostname, URL.port)
                        if URL.username:
                            await self._ask(("AUTH", URL.username, URL.password))
                    return await self._ask(*commands)
            except BaseException:
                if self._streams is not None:
                    self._streams[1].close()
                self._streams = None
                raise

    async def _ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(b"".join(map(hiredis.pack_command, commands)))
        parser = hiredis.Reader()
        replies: list[Any] = []
        while len(replies) < len(commands):
            data = await reader.read(65536)
            if not data:
                raise ConnectionResetError
            parser.feed(data)
            while (reply := parser.gets()) is not False:
                replies.append(reply)
        return replies

    async def call(self, name: str, names: tuple[str, ...], *args: Any, again: Any = None) -> Any:
        """Repeat a call until it is answered. `again` makes other arguments for a repeat."""
        source = (LUA / f"{name}.lua").read_bytes()
        digest = hashlib.sha1(source).hexdigest()
        while True:
            try:
                (reply,) = await self.once(("EVALSHA", digest, len(names), *names, *args))
                if not isinstance(reply, Exception):
                    return reply
                word = str(reply).split()[0]
                if word == "NOSCRIPT" and "no-reload" not in PLANTED:
                    await self.once(("SCRIPT", "LOAD", source))
                    continue
                if word == "NOSCRIPT" or word in WORDS:
                    raise Refused(str(reply))
            except OSError:
                args = args if again is None else again()
            await asyncio.sleep(0.03)


async def promote(link: Link, partition: int) -> None:
    log, meta, _ = keys(partition)
    names = (log, meta, f"{prefix(partition)}:delayed")
    await link.call("promote", names, *CONTRACT, 300, "refuse")
