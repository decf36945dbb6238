"""The Redis client that the shipped code gets, over the virtual network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError

from runnel.connection.redis_client import Arg, Client
from tests.simulation.loop import current_process
from tests.simulation.network import Network


class SimClient(Client):
    """One client of one process, with one connection at a time."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._number = network.new_connection()

    def __del__(self, *_: object) -> None:
        """There is nothing to close."""

    async def roundtrip(
        self, commands: Sequence[Sequence[Arg]], extra_time: float = 0.0
    ) -> list[Any]:
        try:
            return await self._network.request(commands, self._number, extra_time)
        except BaseException:
            self._number = self._network.new_connection()
            raise

    async def wait_for_orphans(self) -> None:
        """The request of a cancelled caller may arrive at any time."""

    async def _one(self, *command: Any) -> Any:
        (reply,) = await self.roundtrip([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def script_load(self, script: Any) -> Any:
        return await self._one("SCRIPT", "LOAD", script)

    async def sadd(self, name: Any, *values: Any) -> Any:
        return await self._one("SADD", name, *values)

    async def hset(self, name: Any, *pair: Any, **_: Any) -> Any:
        return await self._one("HSET", name, *pair)

    async def hdel(self, name: Any, *fields: Any) -> Any:
        return await self._one("HDEL", name, *fields)

    async def unlink(self, *names: Any) -> Any:
        return await self._one("UNLINK", *names)

    async def client_unblock(self, client_id: int, error: bool = False, **_: Any) -> Any:
        return await self._one("CLIENT", "UNBLOCK", client_id)

    def pubsub(self, **_: Any) -> Any:
        return SimPubSub(self._network)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """There is nothing to close."""


class SimPubSub:
    """A subscription: gets each message, and an error when the connection breaks."""

    def __init__(self, network: Network) -> None:
        self.channels: tuple[str, ...] = ()
        self._network = network
        self._wire = network.wire(current_process())
        #: Kinds of messages with their channels; an empty kind once the connection is broken.
        self._messages: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def __aenter__(self) -> SimPubSub:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self in self._wire.listeners:
            self._wire.listeners.remove(self)

    async def subscribe(self, *channels: str) -> None:
        await self._network.request([("PING",)])
        self.channels = channels
        self._wire.listeners.append(self)
        for channel in channels:
            self._messages.put_nowait(("subscribe", channel))

    async def get_message(self, timeout: float) -> dict[str, str | bytes] | None:
        try:
            async with asyncio.timeout(timeout):
                kind, channel = await self._messages.get()
        except TimeoutError:
            return None
        if not kind:
            raise ConnectionError("connection reset")
        return {"type": kind, "channel": channel.encode()}

    async def ping(self) -> None:
        await self._network.request([("PING",)])
        self._messages.put_nowait(("pong", ""))

    def on_message(self, channel: str) -> None:
        self._messages.put_nowait(("message", channel))

    def on_disconnect(self) -> None:
        self._messages.put_nowait(("", ""))
