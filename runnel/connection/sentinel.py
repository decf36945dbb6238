"""A primary that sentinels name, which may be another one tomorrow."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import AuthenticationError, RedisError

from runnel.connection.redis_client import Arg, Client, close_all


class Sentinels(Sentinel):
    """Finds the primary, and says in few words why it cannot."""

    def __init__(self, clients: Sequence[Client]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self._all = tuple(clients)
        self.sentinels = list(clients)  # The one that answers is moved to the front.
        #: How many ask at the moment. One that began before it was closed still connects.
        self._asking = 0
        self._closed = False

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port. Raises ConnectionError."""
        self._asking += 1
        try:
            place: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError as error:
            if "AuthenticationError" in str(error):
                raise AuthenticationError(
                    "sentinels with logins want sentinel_username and sentinel_password"
                ) from None
            raise MasterNotFoundError(f"no primary {service_name!r} that is up") from None
        finally:
            self._asking -= 1
            if self._closed and not self._asking:
                self.cut_off()
            # Two that ask at a time and both move one to the front can write one over another.
            if set(self.sentinels) != set(self._all):
                self.sentinels = list(self._all)
        return place

    async def close(self) -> None:
        """Close the connections to the sentinels, even when it is cancelled meanwhile. Where they
        are just being asked, whoever asks does so."""
        self._closed = True
        if not self._asking:
            await close_all(self._all)

    def cut_off(self) -> None:
        """Close them at once."""
        for sentinel in self._all:
            sentinel.cut_off()

    def let_go(self) -> None:
        """The same when the event loop does not run any more."""
        for sentinel in self._all:
            sentinel.let_go()


class SentinelClient(Client):
    """A client of the primary that sentinels name: each new connection asks them anew.

    A primary that they have replaced goes on taking writes, which will be lost, until somebody
    tells it. So the client asks now and then, too, and leaves a primary that is none any more. The
    pool and its sentinels are closed with it.
    """

    #: Seconds between two questions.
    ASK_EVERY = 1.0

    def __init__(self, pool: SentinelConnectionPool) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._pool = pool
        self._asked = time.monotonic()
        self._asking: asyncio.Task[None] | None = None

    async def roundtrip(
        self, commands: Sequence[Sequence[Arg]], extra_time: float = 0.0
    ) -> list[Any]:
        """See `Client.roundtrip`. Does not wait for sentinels, who may be away themselves."""
        if self._asking is None and time.monotonic() - self._asked >= self.ASK_EVERY:
            self._asking = asyncio.create_task(self._ask())
        if self._pool.master_address is not None:
            self._drop_idle(but_to=self._pool.master_address)
        return await super().roundtrip(commands, extra_time)

    async def _ask(self) -> None:
        try:
            await self._pool.get_master_address()  # type: ignore[no-untyped-call]
        except (RedisError, OSError):
            pass  # They are away, or about to choose: what is connected may still do.
        finally:
            self._asked, self._asking = time.monotonic(), None

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections, to the sentinels too, even when it is cancelled meanwhile."""
        try:
            if self._asking is not None:
                self._asking.cancel()
                await asyncio.wait([self._asking])
            await super().aclose(close_connection_pool)
        finally:
            await self._pool.sentinel_manager.close()

    def let_go(self) -> None:
        """See `Client.let_go`."""
        if self._asking is not None:
            with contextlib.suppress(RuntimeError):  # Its loop is closed: it does not go on.
                self._asking.cancel()
        super().let_go()
        self._pool.sentinel_manager.let_go()
