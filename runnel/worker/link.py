"""The way to Redis: all that the worker of one processor asks of it.

Everything else in this folder reaches Redis through a `Link` and tells time by the event loop, so
that a simulator can stand in for both.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError, MovedError, RedisError, TimeoutError

from runnel import deployment, keys
from runnel.connection import connect
from runnel.core.lane import Raw
from runnel.durability import Confirmation, Durability
from runnel.processor import Processor
from runnel.protocol import Place
from runnel.registry import announce_processor
from runnel.scripts import Call, Scripts
from runnel.wire import Client

logger = logging.getLogger("runnel.worker")

#: Milliseconds a read waits for events.
BLOCK_MS = 5000

#: Seconds of silence after which a listener asks whether its connection is still there, and then
#: waits for the answer.
LISTEN_S = 5.0

#: A log and a cursor in it.
At = tuple[str, str]
#: Log -> the entries that were read; and whether the entries looked at are there.
Found = tuple[dict[str, Sequence[Raw]], list[bool]]


class Feed(Protocol):
    """Reads logs that one command can read together."""

    async def read(self, behind: Sequence[At], looks: Sequence[At], count: int) -> Found | None:
        """Entries behind each cursor, at most `count` a log, waiting up to BLOCK_MS for the first;
        and for each of `looks`, if the entry at that cursor is there. None if it was cut short.

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

    async def commit(self, calls: Sequence[Call]) -> list[Any]:
        """Several commits. An outcome is a reply once the commit is as durable as the user asked,
        else an exception: then it is to be repeated."""
        ...

    async def look(self, places: Sequence[At]) -> list[bool]:
        """For each log and id: is the entry there?"""
        ...

    async def announce(self, processor: Processor) -> None:
        """Enter the processor into the registry again."""
        ...

    def feed_of(self, place: Place) -> str:
        """The name of the feed that reads a partition; partitions of one name share one command."""
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


class RedisLink:
    """The link to Redis, whichever way it is deployed."""

    def __init__(self, scripts: Scripts, url: str, durability: Durability = "primary") -> None:
        self._scripts = scripts
        self._url = url
        self._confirmation = Confirmation.of(durability)
        self.clock = time.monotonic

    async def call(self, call: Call) -> Any:
        return await self._scripts.call(call)

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        return await self._scripts.call_all(calls)

    async def commit(self, calls: Sequence[Call]) -> list[Any]:
        return await self._scripts.call_all(calls, self._confirmation)

    async def look(self, places: Sequence[At]) -> list[bool]:
        commands = [(command[1], command) for command in _looks(places)]
        return [bool(each) for each in _replies(await self._scripts.deployment.send(commands))]

    async def announce(self, processor: Processor) -> None:
        await announce_processor(self._scripts, processor)

    def feed_of(self, place: Place) -> str:
        return keys.log(place.prefix) if self._scripts.deployment.one_slot else ""

    def feed(self, name: str) -> Feed:
        if name:
            return NodeFeed(self._url, name)
        return ServerFeed(self._url, self._scripts.client)

    async def listen(self, channel: str, hint: Callable[[], None]) -> None:
        while True:
            client = connect(self._url, None)
            try:
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe(channel)
                    await _hear(pubsub, hint)
            except (RedisError, OSError) as error:
                logger.debug("wake-up channel lost: %s", error)
                await asyncio.sleep(1.0)
            finally:
                await client.aclose()

    def vouch(self, call: Call) -> Any:
        return asyncio.run(self._vouch(call))

    async def _vouch(self, call: Call) -> Any:
        async with connect(self._url) as client:
            return await Scripts(client).call(call)


class ServerFeed:
    """Reads all logs of one server with one command, over a connection of its own."""

    def __init__(self, url: str, control: Client) -> None:
        self._blocking = connect(url)
        self._control = control
        self._client_id: int | None = None
        #: How many connections the client had made when it told its id.
        self._made = 0

    async def read(self, behind: Sequence[At], looks: Sequence[At], count: int) -> Found | None:
        if self._client_id is None or self._made != self._blocking.made:
            (self._client_id,) = _replies(await self._blocking.roundtrip([("CLIENT", "ID")]))
            self._made = self._blocking.made
        try:
            return await _read(self._blocking, behind, looks, count)
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


class NodeFeed:
    """Reads one log of a cluster from the node that has it, over a connection of its own."""

    def __init__(self, url: str, log: str) -> None:
        self._deployment = deployment.of(connect(url))
        self._log = log
        self._fresh = False
        self._reading: asyncio.Task[Found] | None = None
        self._cut = False

    async def read(self, behind: Sequence[At], looks: Sequence[At], count: int) -> Found | None:
        self._cut = False
        self._reading = asyncio.create_task(self._read(behind, looks, count))
        try:
            return await self._reading
        except asyncio.CancelledError:
            if not self._cut:
                raise
            return None
        finally:
            self._reading.cancel()

    async def _read(self, behind: Sequence[At], looks: Sequence[At], count: int) -> Found:
        if not self._fresh:
            await self._deployment.refresh()
            self._fresh = True
        try:
            client = self._deployment.client_for(self._log)
            return await _read(client, behind, looks, count)
        except MovedError as error:
            self._fresh = False
            raise ConnectionError(f"{self._log} has moved to another node") from error
        except (RedisError, OSError):
            self._fresh = False
            raise

    async def cut_short(self) -> None:
        if self._reading is not None:
            self._cut = True
            self._reading.cancel()

    async def close(self) -> None:
        await self._deployment.client.aclose()


async def _hear(pubsub: PubSub, hint: Callable[[], None]) -> NoReturn:
    """Call `hint` at each message. The other end may go away without a word, so it is asked for one
    when nothing comes. Raises redis-py's errors or OSError."""
    asked = False
    while True:
        message: Any = await pubsub.get_message(timeout=LISTEN_S)
        if message is None and asked:
            raise TimeoutError(f"no answer within {LISTEN_S} s")
        asked = message is None
        if message is None:
            await pubsub.ping()
        elif message["type"] != "pong":
            hint()


async def _read(client: Client, behind: Sequence[At], looks: Sequence[At], count: int) -> Found:
    logs, cursors = zip(*behind, strict=True)
    read = ("XREAD", "COUNT", count, "BLOCK", BLOCK_MS, "STREAMS", *logs, *cursors)
    replies = await client.roundtrip([read, *_looks(looks)], BLOCK_MS / 1000)
    found, *seen = _replies(replies)
    return {log.decode(): entries for log, entries in found or ()}, [bool(each) for each in seen]


def _looks(places: Sequence[At]) -> list[tuple[str, str, str, str, str, int]]:
    return [("XRANGE", log, cursor, cursor, "COUNT", 1) for log, cursor in places]


def _replies(replies: list[Any]) -> list[Any]:
    """The replies. Raises the first that is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
