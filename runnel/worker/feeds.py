"""Reads logs: all of one server together, one of a cluster, or many of a cluster in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from redis.exceptions import ConnectionError, MovedError, RedisError

from runnel.connection.connect import connect
from runnel.connection.deployment import Deployment
from runnel.connection.redis_client import Arg, Client
from runnel.core.reading import Raw
from runnel.delivery.cancellation import cancelled
from runnel.errors import ReplyTooLarge
from runnel.log import logger_of

logger = logger_of("runnel.worker")

#: Milliseconds that a read waits for events.
BLOCK_MS = 5000

#: Seconds between two polls of a `PollingFeed`, at first and at most.
SOON, LATER = 0.005, 0.25

#: A log, and the id of an entry in it.
LogCursor = tuple[str, str]


class ReadBatch(NamedTuple):
    """Logs of which to read up to `limit` entries each, after these cursors."""

    limit: int
    cursors: Sequence[LogCursor]


#: Log -> the entries that were read; and for each cursor to verify, whether its entry exists.
Found = tuple[dict[str, Sequence[Raw]], list[bool]]


class Feed(Protocol):
    """Reads logs that can be read together."""

    async def read(
        self,
        batches: Sequence[ReadBatch],
        verify: Sequence[LogCursor],
        wait: bool,
        max_bytes: int | None,
    ) -> Found | None:
        """The entries after the cursors of `batches`, and whether the entries at the cursors of
        `verify` exist. Returns None if `cut_short` was called.

        With `wait` there is one batch, and the read waits up to BLOCK_MS for the first entry. The
        reply is aborted after `max_bytes` bytes. Raises redis-py's errors or OSError.
        """
        ...

    async def cut_short(self) -> None:
        """End the wait of a read that is in flight."""
        ...

    async def close(self) -> None: ...


class ServerFeed:
    """Reads all logs of one server with one command, over a connection of its own."""

    def __init__(self, url: str, control: Client) -> None:
        self._blocking = connect(url)
        self._control = control
        self._client_id: int | None = None
        #: How many connections the client had made when it returned this id.
        self._made = 0

    async def read(
        self,
        batches: Sequence[ReadBatch],
        verify: Sequence[LogCursor],
        wait: bool,
        max_bytes: int | None,
    ) -> Found | None:
        if self._client_id is None or self._made != self._blocking.connections_made:
            (self._client_id,) = _replies(await self._blocking.roundtrip([("CLIENT", "ID")]))
            self._made = self._blocking.connections_made
        try:
            return await _read(self._blocking, batches, verify, wait, max_bytes)
        except BaseException:
            self._client_id = None
            raise

    async def cut_short(self) -> None:
        if self._client_id is None:
            return
        try:
            await self._control.client_unblock(self._client_id)
        except (RedisError, OSError) as error:
            logger.debug("could not unblock the reader: %s", error)

    async def close(self) -> None:
        await self._blocking.aclose()


class LogFeed:
    """Reads one log of a cluster from its node, over a connection of its own. `closed` is called
    once that connection is closed."""

    def __init__(self, deployment: Deployment, log: str, closed: Callable[[], None]) -> None:
        self._deployment = deployment
        self._log = log
        self._closed = closed
        self._client: Client | None = None
        self._reading: asyncio.Task[Found] | None = None
        self._cut = False

    async def read(
        self,
        batches: Sequence[ReadBatch],
        verify: Sequence[LogCursor],
        wait: bool,
        max_bytes: int | None,
    ) -> Found | None:
        self._cut = False
        self._reading = asyncio.create_task(self._read(batches, verify, wait, max_bytes))
        try:
            return await self._reading
        except asyncio.CancelledError:
            if not self._cut or cancelled():
                raise
            return None
        finally:
            self._reading.cancel()

    async def _read(
        self,
        batches: Sequence[ReadBatch],
        verify: Sequence[LogCursor],
        wait: bool,
        max_bytes: int | None,
    ) -> Found:
        try:
            if self._client is None:
                await self._deployment.refresh()
                self._client = self._deployment.own_client_for(self._log)
            return await _read(self._client, batches, verify, wait, max_bytes)
        except MovedError as error:
            await self._disconnect()
            raise ConnectionError(f"{self._log} has moved to another node") from error
        except (RedisError, OSError, ReplyTooLarge):
            await self._disconnect()
            raise

    async def cut_short(self) -> None:
        if self._reading is not None:
            self._cut = True
            self._reading.cancel()

    async def close(self) -> None:
        await self._disconnect()
        self._closed()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class PollingFeed:
    """Reads many logs of one node of a cluster, where no command can wait for more than one slot.

    It polls all of them, and less often the longer no event comes.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._cut = asyncio.Event()

    async def read(
        self,
        batches: Sequence[ReadBatch],
        verify: Sequence[LogCursor],
        wait: bool,
        max_bytes: int | None,
    ) -> Found | None:
        self._cut.clear()
        loop = asyncio.get_running_loop()
        ends, pause = loop.time() + BLOCK_MS / 1000, SOON
        while True:
            found, exist = await self._poll(batches, verify)
            if found or not wait or loop.time() >= ends:
                return found, exist
            try:
                async with asyncio.timeout(pause):
                    await self._cut.wait()
                return None
            except TimeoutError:
                pause = min(pause * 2, LATER)

    async def _poll(self, batches: Sequence[ReadBatch], verify: Sequence[LogCursor]) -> Found:
        reads = [
            (log, ("XREAD", "COUNT", limit, "STREAMS", log, cursor))
            for limit, cursors in batches
            for log, cursor in cursors
        ]
        commands = [
            *reads,
            *zip((log for log, _ in verify), verify_commands(verify), strict=True),
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
    client: Client,
    batches: Sequence[ReadBatch],
    verify: Sequence[LogCursor],
    wait: bool,
    max_bytes: int | None,
) -> Found:
    block = ("BLOCK", BLOCK_MS) if wait else ()
    commands: list[tuple[Arg, ...]] = []
    for limit, cursors in batches:
        logs, ids = zip(*cursors, strict=True)
        commands.append(("XREAD", "COUNT", limit, *block, "STREAMS", *logs, *ids))
    client.max_reply_bytes = max_bytes
    replies = await client.roundtrip(
        [*commands, *verify_commands(verify)], BLOCK_MS / 1000 if wait else 0.0
    )
    found: dict[str, Sequence[Raw]] = {}
    for reply in _replies(replies)[: len(commands)]:
        found |= _entries(reply)
    return found, [bool(each) for each in replies[len(commands) :]]


def _entries(reply: Any) -> dict[str, Sequence[Raw]]:
    return {log.decode(): entries for log, entries in reply or ()}


def verify_commands(cursors: Sequence[LogCursor]) -> list[tuple[Arg, ...]]:
    """Commands that fetch the entry at each cursor, if it exists."""
    return [("XRANGE", log, cursor, cursor, "COUNT", 1) for log, cursor in cursors]


def _replies(replies: list[Any]) -> list[Any]:
    """The replies. Raises the first one that is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
