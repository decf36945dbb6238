"""Ways to read logs: all of one server, one of a cluster, or many of a cluster in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from redis.exceptions import ConnectionError, MovedError, RedisError

from runnel.connection.connect import connect
from runnel.connection.deployment import Deployment
from runnel.connection.redis_client import Arg, Client
from runnel.core.partition import Raw
from runnel.delivery.cancellation import cancelled
from runnel.errors import ReplyTooLarge
from runnel.log import logger_of

logger = logger_of("runnel.worker")

#: Milliseconds a read waits for events.
BLOCK_MS = 5000

#: Seconds between looks at those others, at first and when nothing comes.
SOON, LATER = 0.005, 0.25

#: A log and a cursor in it.
At = tuple[str, str]


class Batch(NamedTuple):
    """Logs of which to read up to `each` entries."""

    each: int
    behind: Sequence[At]


#: Log -> the entries that were read; and whether the entries looked at are there.
Found = tuple[dict[str, Sequence[Raw]], list[bool]]


class Feed(Protocol):
    """Reads logs that can be read together."""

    async def read(
        self, batches: Sequence[Batch], looks: Sequence[At], wait: bool, most: int | None
    ) -> Found | None:
        """Entries behind each cursor, and for each of `looks`, if the entry there is there.
        With `wait`, and then there is one batch, up to BLOCK_MS for the first. None if it was cut
        short. It is broken off after `most` bytes.

        Raises redis-py's errors or OSError.
        """
        ...

    async def cut_short(self) -> None:
        """End the wait of a read that is under way."""
        ...

    async def close(self) -> None: ...


class ServerFeed:
    """Reads all logs of one server with one command, over a connection of its own."""

    def __init__(self, url: str, control: Client) -> None:
        self._blocking = connect(url)
        self._control = control
        self._client_id: int | None = None
        #: How many connections the client had made when it told its id.
        self._made = 0

    async def read(
        self, batches: Sequence[Batch], looks: Sequence[At], wait: bool, most: int | None
    ) -> Found | None:
        if self._client_id is None or self._made != self._blocking.connections_made:
            (self._client_id,) = _replies(await self._blocking.roundtrip([("CLIENT", "ID")]))
            self._made = self._blocking.connections_made
        try:
            return await _read(self._blocking, batches, looks, wait, most)
        except BaseException:
            self._client_id = None
            raise

    async def cut_short(self) -> None:
        if self._client_id is None:
            return
        try:
            await self._control.client_unblock(self._client_id)
        except (RedisError, OSError) as error:
            logger.debug("could not wake the reader: %s", error)

    async def close(self) -> None:
        await self._blocking.aclose()


class LogFeed:
    """Reads one log of a cluster from the node that has it, over a connection of its own."""

    def __init__(self, deployment: Deployment, log: str, closed: Callable[[], None]) -> None:
        self._deployment = deployment
        self._log = log
        self._closed = closed
        self._client: Client | None = None
        self._reading: asyncio.Task[Found] | None = None
        self._cut = False

    async def read(
        self, batches: Sequence[Batch], looks: Sequence[At], wait: bool, most: int | None
    ) -> Found | None:
        self._cut = False
        self._reading = asyncio.create_task(self._read(batches, looks, wait, most))
        try:
            return await self._reading
        except asyncio.CancelledError:
            if not self._cut or cancelled():
                raise
            return None
        finally:
            self._reading.cancel()

    async def _read(
        self, batches: Sequence[Batch], looks: Sequence[At], wait: bool, most: int | None
    ) -> Found:
        try:
            if self._client is None:
                await self._deployment.refresh()
                self._client = self._deployment.own_client_for(self._log)
            return await _read(self._client, batches, looks, wait, most)
        except MovedError as error:
            await self._hang_up()
            raise ConnectionError(f"{self._log} has moved to another node") from error
        except (RedisError, OSError, ReplyTooLarge):
            await self._hang_up()
            raise

    async def cut_short(self) -> None:
        if self._reading is not None:
            self._cut = True
            self._reading.cancel()

    async def close(self) -> None:
        await self._hang_up()
        self._closed()

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class TurnFeed:
    """Reads many logs of a node of a cluster, where one command cannot wait for more than one: it
    asks for all of them time and again, more seldom the longer nothing comes."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._cut = asyncio.Event()

    async def read(
        self, batches: Sequence[Batch], looks: Sequence[At], wait: bool, most: int | None
    ) -> Found | None:
        self._cut.clear()
        loop = asyncio.get_running_loop()
        ends, pause = loop.time() + BLOCK_MS / 1000, SOON
        while True:
            found, seen = await self._ask(batches, looks)
            if found or not wait or loop.time() >= ends:
                return found, seen
            try:
                async with asyncio.timeout(pause):
                    await self._cut.wait()
                return None
            except TimeoutError:
                pause = min(pause * 2, LATER)

    async def _ask(self, batches: Sequence[Batch], looks: Sequence[At]) -> Found:
        reads = [
            (log, ("XREAD", "COUNT", count, "STREAMS", log, cursor))
            for count, behind in batches
            for log, cursor in behind
        ]
        commands = [
            *reads,
            *((place[0], each) for place, each in zip(looks, looks_at(looks), strict=True)),
        ]
        replies = _replies(await self._deployment.send(commands))
        found: dict[str, Sequence[Raw]] = {}
        for reply in replies[: len(reads)]:
            found |= _entries(reply)
        return found, [bool(each) for each in replies[len(reads) :]]

    async def cut_short(self) -> None:
        self._cut.set()

    async def close(self) -> None:
        """It has no connection of its own."""


async def _read(
    client: Client, batches: Sequence[Batch], looks: Sequence[At], wait: bool, most: int | None
) -> Found:
    block = ("BLOCK", BLOCK_MS) if wait else ()
    commands: list[tuple[Arg, ...]] = []
    for count, behind in batches:
        logs, cursors = zip(*behind, strict=True)
        commands.append(("XREAD", "COUNT", count, *block, "STREAMS", *logs, *cursors))
    client.max_reply_bytes = most
    replies = await client.roundtrip(
        [*commands, *looks_at(looks)], BLOCK_MS / 1000 if wait else 0.0
    )
    found: dict[str, Sequence[Raw]] = {}
    for reply in _replies(replies)[: len(commands)]:
        found |= _entries(reply)
    return found, [bool(each) for each in replies[len(commands) :]]


def _entries(reply: Any) -> dict[str, Sequence[Raw]]:
    return {log.decode(): entries for log, entries in reply or ()}


def looks_at(places: Sequence[At]) -> list[tuple[Arg, ...]]:
    return [("XRANGE", log, cursor, cursor, "COUNT", 1) for log, cursor in places]


def _replies(replies: list[Any]) -> list[Any]:
    """The replies. Raises the first that is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
