"""The way to Redis: all that a worker asks of it for its processors.

A `Group` and all that it is made of reach Redis through a `Backend` and tell time by the event
loop, so that a simulator can stand in for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NoReturn, Protocol

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError, TimeoutError

from runnel.connection.connect import connect
from runnel.connection.durability import AckRequirement, Durability
from runnel.core.appetite import MOST_LOGS, Room
from runnel.log import logger_of
from runnel.operations.registry import announce_processor
from runnel.processor import Processor
from runnel.protocol.scripts import Call, Scripts
from runnel.worker.batching import CallBatching
from runnel.worker.feeds import At, Feed, LogFeed, ServerFeed, TurnFeed, looks_at

logger = logger_of("runnel.worker")

#: Seconds of silence after which a listener asks whether its connection is still there, and then
#: waits for the answer.
LISTEN_S = 5.0
#: Partitions of a cluster that a worker reads over connections of their own, where events come at
#: once. What the others have it asks for time and again: no command waits for logs of many slots.
OWN_CONNECTIONS = 256


class Backend(Protocol):
    """Calls scripts, reads logs, hears wake-ups. `clock` gives monotonic seconds, `room` is for the
    events that wait in this worker."""

    clock: Callable[[], float]
    room: Room

    async def call(self, call: Call) -> Any:
        """One call's reply. Raises ProtocolError, redis-py's errors or OSError."""
        ...

    async def gathered(self, call: Call) -> Any:
        """One call's reply, like `call`; calls that are made at the same time go out together."""
        ...

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Several calls, many in one round trip; each outcome is a reply or an exception."""
        ...

    async def commit(self, calls: Sequence[Call]) -> list[Any]:
        """Several commits. An outcome is a reply once the commit is as durable as the user asked,
        else an exception: then it is to be repeated."""
        ...

    async def look(self, places: Sequence[At]) -> list[Any]:
        """For each log and id: is the entry there? Or an exception."""
        ...

    async def announce(self, processor: Processor) -> None:
        """Enter the processor into the registry again."""
        ...

    def node_of(self, log: str) -> Hashable:
        """Where a log is: equal for two of them if one node has both, as far as is known."""
        ...

    def feed_of(self, log: str, partition: int) -> str:
        """The name of the feed that is to read a partition; those of one name are read together."""
        ...

    def feed(self, name: str) -> Feed:
        """Open a feed."""
        ...

    async def listen(self, channel: str, hint: Callable[[], None]) -> None:
        """Call `hint` at each message, until cancelled."""
        ...

    def beat(self, call: Call) -> Any:
        """One call from another thread, over a connection of its own."""
        ...


class RedisBackend:
    """The link to Redis, whichever way it is deployed."""

    def __init__(
        self,
        scripts: Scripts,
        url: str,
        durability: Durability = "primary",
        prefetch_bytes: int = 64_000_000,
    ) -> None:
        self.room = Room(prefetch_bytes)
        self._scripts = scripts
        self._url = url
        self._gathering = CallBatching(scripts.call_all, self.node_of)
        #: Logs that have a connection of their own, and what reads over it.
        self._own: dict[str, LogFeed] = {}
        self._ack = AckRequirement.of(durability)
        self.clock = time.monotonic

    async def call(self, call: Call) -> Any:
        return await self._scripts.call(call)

    async def gathered(self, call: Call) -> Any:
        return await self._gathering.call(call)

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        return await self._scripts.call_all(calls)

    async def commit(self, calls: Sequence[Call]) -> list[Any]:
        return await self._scripts.call_all(calls, self._ack)

    async def look(self, places: Sequence[At]) -> list[Any]:
        commands = [(place[0], each) for place, each in zip(places, looks_at(places), strict=True)]
        outcomes = await self._scripts.deployment.send(commands)
        return [each if isinstance(each, Exception) else bool(each) for each in outcomes]

    async def announce(self, processor: Processor) -> None:
        await announce_processor(self._scripts, processor)

    def node_of(self, log: str) -> Hashable:
        try:
            return self._scripts.deployment.node_of(log)
        except (RedisError, OSError):
            return None  # Nobody knows at the moment.

    def feed_of(self, log: str, partition: int) -> str:
        if not self._scripts.deployment.one_slot:
            return f"logs {partition // MOST_LOGS}"
        if log in self._own or len(self._own) < OWN_CONNECTIONS:
            return log
        return f"node {self.node_of(log)}"

    def feed(self, name: str) -> Feed:
        if not self._scripts.deployment.one_slot:
            return ServerFeed(self._url, self._scripts.client)
        if name.startswith("node "):
            return TurnFeed(self._scripts.deployment)

        def closed() -> None:
            if self._own.get(name) is feed:  # The log may have another one by now.
                del self._own[name]

        feed = self._own[name] = LogFeed(self._scripts.deployment, name, closed)
        return feed

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

    def beat(self, call: Call) -> Any:
        return asyncio.run(self._beat(call))

    async def _beat(self, call: Call) -> Any:
        async with connect(self._url) as client:
            return await Scripts(client).call(call)


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
