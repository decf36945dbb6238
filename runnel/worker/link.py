"""The way to Redis: all that the worker of one processor asks of it.

Everything else in this folder reaches Redis through a `Link` and tells time by the event loop, so
that a simulator can stand in for both.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.exceptions import RedisError

from runnel.connection import connect, connect_sync
from runnel.core.lane import Raw
from runnel.processor import Processor
from runnel.protocol import Place
from runnel.registry import announce_processor
from runnel.scripts import Call, Scripts
from runnel.wire import Arg, Client

logger = logging.getLogger("runnel.worker")

#: Milliseconds a read waits for events.
BLOCK_MS = 5000

#: A log and a cursor in it.
At = tuple[str, str]


class Feed(Protocol):
    """Reads logs that one command can read together."""

    async def read(
        self, behind: Sequence[At], looks: Sequence[At], count: int
    ) -> tuple[dict[str, Sequence[Raw]], list[bool]]:
        """Entries behind each cursor, at most `count` a log, waiting up to BLOCK_MS for the first;
        and for each of `looks`, if the entry at that cursor is there.

        Raises redis-py's errors or OSError.
        """
        ...

    async def cut_short(self) -> None:
        """End the wait of a read that is under way."""
        ...

    async def close(self) -> None: ...


class Link(Protocol):
    """Calls scripts, reads logs, hears wake-ups. `clock` gives monotonic seconds."""

    clock: Callable[[], float]

    async def call(self, call: Call) -> Any:
        """One call's reply. Raises ProtocolError, redis-py's errors or OSError."""
        ...

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Several calls in one round trip; each outcome is a reply or an exception."""
        ...

    async def look(self, places: Sequence[At]) -> list[bool]:
        """For each log and id: is the entry there?"""
        ...

    async def announce(self, processor: Processor) -> None:
        """Enter the processor into the registry again."""
        ...

    def feed_of(self, place: Place) -> str:
        """The name of the feed that reads a partition; partitions of one name share one."""
        ...

    def feed(self, name: str) -> Feed:
        """Open a feed."""
        ...

    async def listen(self, channel: str, hint: Callable[[], None]) -> None:
        """Call `hint` at each message, until cancelled."""
        ...

    def vouch(self, call: Call) -> Any:
        """One call from another thread, over a connection of its own."""
        ...


class ServerLink:
    """The link to one server."""

    def __init__(self, scripts: Scripts, url: str) -> None:
        self._scripts = scripts
        self._url = url
        self.clock = time.monotonic

    async def call(self, call: Call) -> Any:
        return await self._scripts.call(call)

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        return await self._scripts.call_all(calls)

    async def look(self, places: Sequence[At]) -> list[bool]:
        return [bool(each) for each in await _ask(self._scripts.client, _looks(places))]

    async def announce(self, processor: Processor) -> None:
        await announce_processor(self._scripts, processor)

    def feed_of(self, place: Place) -> str:
        return ""

    def feed(self, name: str) -> Feed:
        return ServerFeed(self._url, self._scripts.client)

    async def listen(self, channel: str, hint: Callable[[], None]) -> None:
        while True:
            client = connect(self._url, None)
            try:
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe(channel)
                    async for _ in pubsub.listen():
                        hint()
            except (RedisError, OSError) as error:
                logger.debug("wake-up channel lost: %s", error)
                await asyncio.sleep(1.0)
            finally:
                await client.aclose()

    def vouch(self, call: Call) -> Any:
        with connect_sync(self._url) as client:
            return client.execute_command(*call.command())


class ServerFeed:
    """Reads over a connection of its own, which may block."""

    def __init__(self, url: str, control: Client) -> None:
        self._blocking = connect(url)
        self._control = control
        self._client_id: int | None = None

    async def read(
        self, behind: Sequence[At], looks: Sequence[At], count: int
    ) -> tuple[dict[str, Sequence[Raw]], list[bool]]:
        if self._client_id is None:
            (self._client_id,) = await _ask(self._blocking, [("CLIENT", "ID")])
        logs, cursors = zip(*behind, strict=True)
        read = ("XREAD", "COUNT", count, "BLOCK", BLOCK_MS, "STREAMS", *logs, *cursors)
        try:
            found, *seen = await _ask(self._blocking, [read, *_looks(looks)], BLOCK_MS / 1000)
        except BaseException:
            self._client_id = None
            raise
        return {log.decode(): entries for log, entries in found or ()}, [bool(e) for e in seen]

    async def cut_short(self) -> None:
        if self._client_id is None:
            return
        try:
            await self._control.client_unblock(self._client_id)
        except (RedisError, OSError) as error:
            logger.debug("could not wake the reader: %s", error)

    async def close(self) -> None:
        await self._blocking.aclose()


def _looks(places: Sequence[At]) -> list[tuple[Arg, ...]]:
    return [("XRANGE", log, cursor, cursor, "COUNT", 1) for log, cursor in places]


async def _ask(
    client: Client, commands: Sequence[Sequence[Arg]], extra_time: float = 0.0
) -> list[Any]:
    """The replies. Raises the first that is an error."""
    replies = await client.roundtrip(commands, extra_time)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
