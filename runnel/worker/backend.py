"""All that members of a worker need of Redis: calls of scripts, reads of logs, notifications.

A `Member` and its parts reach Redis only through a `Backend`, and read the clock of the event loop.
So a simulator can replace both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError, TimeoutError

from runnel.connection.connect import connect
from runnel.connection.deployment import Command
from runnel.connection.durability import AckRequirement, Durability
from runnel.connection.redis_client import Arg
from runnel.core.read_limits import MOST_LOGS, MemoryBudget
from runnel.delivery.deadlines import LOOP, Deadlines
from runnel.log import logger_of
from runnel.operations.registry import announce_processor
from runnel.processor import Processor
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Call, Scripts
from runnel.worker.batching import CallBatching
from runnel.worker.feeds import Feed, LogCursor, LogFeed, PollingFeed, ServerFeed, verify_commands

logger = logger_of("runnel.worker")

#: Seconds without a message after which a listener sends a ping, and for which it then waits for
#: the reply.
LISTEN_S = 5.0
#: How many partitions of a cluster a worker reads over a connection each, where events arrive at
#: once. It polls the others, because no command can wait for logs of several slots.
OWN_CONNECTIONS = 256


class Backend(Protocol):
    """Calls scripts, reads logs, listens to channels.

    `clock` gives monotonic seconds; `memory` is for the events that wait in this worker.
    """

    clock: Callable[[], float]
    memory: MemoryBudget

    def deadlines(self, who: Hashable) -> Deadlines:
        """The clock of the waits of `who`, such as a partition."""
        ...

    async def call(self, call: Call) -> Any:
        """One call's reply. Raises ProtocolError, redis-py's errors or OSError."""
        ...

    async def call_batched(self, call: Call) -> Any:
        """Like `call`, but calls that are made at the same time share a round trip."""
        ...

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Several calls, many in one round trip. Each outcome is a reply or an exception."""
        ...

    async def commit(self, calls: Sequence[Call]) -> list[Any]:
        """Several commits. An outcome is a reply if the commit is as durable as the setting
        `durability` demands, otherwise an exception: then the commit must be repeated."""
        ...

    async def verify_cursors(self, cursors: Sequence[LogCursor]) -> list[Any]:
        """For each log and id, whether the entry exists, or an exception."""
        ...

    @property
    def one_slot(self) -> bool:
        """Can a script only write to keys of one slot?"""
        ...

    async def read_fields(self, wanted: Sequence[tuple[str, Sequence[bytes]]]) -> list[Any]:
        """For each key of a hash and its fields, their values, or an exception."""
        ...

    async def query(self, key: str, *command: Arg) -> Any:
        """The reply to a command that reads this key. Raises redis-py's errors or OSError."""
        ...

    async def read_outbox(self, names: PartitionKeys, after: str, count: int) -> list[Any]:
        """The next entries of an outbox after an id, and `outbox_last` and `outbox_done`. Only what
        is as durable as the setting `durability` demands. Raises redis-py's errors or OSError."""
        ...

    async def read_entries(self, names: PartitionKeys, ids: Sequence[str]) -> list[Any]:
        """For each of these ids, the entry of an outbox, None if there is none. Raises as above."""
        ...

    async def forward(self, call: Call) -> Any:
        """Like `call_batched`. The reply comes only if what the call wrote is as durable as the
        setting `durability` demands."""
        ...

    async def outcomes(self, commands: Sequence[Command]) -> list[Any]:
        """For each command that only reads, its reply or an exception."""
        ...

    async def announce(self, processor: Processor) -> None:
        """Write the processor to the registry again."""
        ...

    def node_of(self, log: str) -> Hashable:
        """The node of a log. Two logs have equal ones if one node has both, as far as is known."""
        ...

    def feed_of(self, log: str, partition: int) -> str:
        """The name of the feed that must read a partition. One feed reads all logs of one name."""
        ...

    def feed(self, name: str) -> Feed:
        """Open a feed."""
        ...

    async def listen(
        self,
        channel: str,
        hint: Callable[[], None],
        others: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        """Call `hint` at each message of a channel, until cancelled, and when messages may have
        been lost. `others` are further channels with their hints."""
        ...

    def beat(self, call: Call) -> Any:
        """Make one call from another thread, over a connection of its own."""
        ...


class RedisBackend:
    """The backend of a real worker: one server, Sentinel or Cluster."""

    def __init__(
        self,
        scripts: Scripts,
        url: str,
        durability: Durability = "primary",
        prefetch_bytes: int = 64_000_000,
    ) -> None:
        self.memory = MemoryBudget(prefetch_bytes)
        self._scripts = scripts
        self._url = url
        self._batching = CallBatching(scripts.call_all, self.node_of)
        #: Log -> its feed, if it has a connection of its own.
        self._own: dict[str, LogFeed] = {}
        self._ack = AckRequirement.of(durability)
        self._forwarding = CallBatching(self.commit, self.node_of)
        self.clock = time.monotonic

    def deadlines(self, who: Hashable) -> Deadlines:
        return LOOP

    async def call(self, call: Call) -> Any:
        return await self._scripts.call(call)

    async def call_batched(self, call: Call) -> Any:
        return await self._batching.call(call)

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        return await self._scripts.call_all(calls)

    async def commit(self, calls: Sequence[Call]) -> list[Any]:
        return await self._scripts.call_all(calls, self._ack)

    async def verify_cursors(self, cursors: Sequence[LogCursor]) -> list[Any]:
        logs = (log for log, _ in cursors)
        commands = list(zip(logs, verify_commands(cursors), strict=True))
        outcomes = await self._scripts.deployment.send(commands)
        return [each if isinstance(each, Exception) else bool(each) for each in outcomes]

    @property
    def one_slot(self) -> bool:
        return self._scripts.deployment.one_slot

    async def read_fields(self, wanted: Sequence[tuple[str, Sequence[bytes]]]) -> list[Any]:
        commands: list[tuple[str, Sequence[Arg]]] = [
            (key, ("HMGET", key, *fields)) for key, fields in wanted
        ]
        return await self._scripts.deployment.send(commands)

    async def read_outbox(self, names: PartitionKeys, after: str, count: int) -> list[Any]:
        commands: list[tuple[str, Sequence[Arg]]] = [
            (names.log, ("XRANGE", names.outbox, f"({after}", "+", "COUNT", count)),
            (names.log, ("HMGET", names.state, "outbox_last", "outbox_done")),
        ]
        return await self._scripts.deployment.ask(commands, self._ack)

    async def read_entries(self, names: PartitionKeys, ids: Sequence[str]) -> list[Any]:
        commands: list[tuple[str, Sequence[Arg]]] = [
            (names.log, ("XRANGE", names.outbox, each, each, "COUNT", 1)) for each in ids
        ]
        replies = await self._scripts.deployment.ask(commands)
        return [found[0] if found else None for found in replies]

    async def forward(self, call: Call) -> Any:
        return await self._forwarding.call(call)

    async def outcomes(self, commands: Sequence[Command]) -> list[Any]:
        return await self._scripts.deployment.send(commands)

    async def query(self, key: str, *command: Arg) -> Any:
        (reply,) = await self._scripts.deployment.ask([(key, command)])
        return reply

    async def announce(self, processor: Processor) -> None:
        await announce_processor(self._scripts, processor)

    def node_of(self, log: str) -> Hashable:
        try:
            return self._scripts.deployment.node_of(log)
        except (RedisError, OSError):
            return None  # Unknown at the moment.

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
            return PollingFeed(self._scripts.deployment)

        def closed() -> None:
            if self._own.get(name) is feed:  # By now the log may have another one.
                del self._own[name]

        feed = self._own[name] = LogFeed(self._scripts.deployment, name, closed)
        return feed

    async def listen(
        self,
        channel: str,
        hint: Callable[[], None],
        others: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        hints = {channel: hint, **(others or {})}
        while True:
            client = connect(self._url, None)
            try:
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe(*hints)
                    await _receive(pubsub, hints)
            except (RedisError, OSError) as error:
                logger.debug("lost the connection to channel %s: %s", channel, error)
                await asyncio.sleep(1.0)
            finally:
                await client.aclose()

    def beat(self, call: Call) -> Any:
        return asyncio.run(self._beat(call))

    async def _beat(self, call: Call) -> Any:
        async with connect(self._url) as client:
            return await Scripts(client).call(call)


async def _receive(pubsub: PubSub, hints: Mapping[str, Callable[[], None]]) -> NoReturn:
    """Call the hint of a channel at each message, that of its subscription included. Send a ping if
    none comes, because the server may be gone although the connection is open. Raises redis-py's
    errors or OSError."""
    pinged = False
    while True:
        message: Any = await pubsub.get_message(timeout=LISTEN_S)
        if message is None and pinged:
            raise TimeoutError(f"no answer within {LISTEN_S} s")
        pinged = message is None
        if message is None:
            await pubsub.ping()
        elif message["type"] != "pong":
            hints[message["channel"].decode()]()
