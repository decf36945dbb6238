"""The client of a primary that sentinels name, and that they may replace at any time."""

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
    """Asks sentinels for the primary. Its errors say in one short sentence why there is none."""

    def __init__(self, clients: Sequence[Client]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self._all = tuple(clients)
        self.sentinels = list(clients)  # redis-py moves the one that answers to the front.
        #: How many callers are asking. One that began before the close still connects.
        self._asking = 0
        self._closed = False

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the primary. Raises ConnectionError."""
        self._asking += 1
        try:
            address: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError as error:
            if "AuthenticationError" in str(error):
                raise AuthenticationError(
                    "sentinels with logins want sentinel_username and sentinel_password"
                ) from None
            answers = self._answers(str(error))
            raise MasterNotFoundError(f"no primary {service_name!r} that is up{answers}") from None
        finally:
            self._asking -= 1
            if self._closed and not self._asking:
                self.close_now()
            # Two callers that each move one sentinel to the front can overwrite a third one.
            if set(self.sentinels) != set(self._all):
                self.sentinels = list(self._all)
        return address

    def _answers(self, told: str) -> str:
        """How many sentinels have answered, and which have not, from the error of redis-py."""
        silent = [each for each in self._all if f"{each} - " in told]
        places = (each.connection_pool.connection_kwargs for each in silent)
        which = ", ".join(sorted(f"{each['host']}:{each['port']}" for each in places))
        which += " does not" if len(silent) == 1 else " do not"
        answered = len(self._all) - len(silent)
        count = f"{answered} of {len(self._all)} answer{'s' if answered == 1 else ''}"
        return f" ({count}; {which})" if silent else f" ({count})"

    async def close(self) -> None:
        """Close the connections to the sentinels, even when it is cancelled meanwhile. While
        callers are asking them, the last of these callers closes them instead."""
        self._closed = True
        if not self._asking:
            await close_all(self._all)

    def close_now(self) -> None:
        """Close them at once."""
        for sentinel in self._all:
            sentinel.close_now()

    def abandon(self) -> None:
        """Close them when the event loop does not run any more."""
        for sentinel in self._all:
            sentinel.abandon()


class SentinelClient(Client):
    """A client of the primary that sentinels name: each new connection asks them again.

    A primary that they have replaced accepts writes until it learns of that, and those writes are
    lost. So the client asks them every `ASK_EVERY` seconds, too, and leaves a primary that has been
    replaced. It closes the pool and its sentinels with itself.
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
        """See `Client.roundtrip`. Does not wait for sentinels, which may not answer themselves."""
        if self._asking is None and time.monotonic() - self._asked >= self.ASK_EVERY:
            self._asking = asyncio.create_task(self._ask())
        if self._pool.master_address is not None:
            self._close_idle(except_to=self._pool.master_address)
        return await super().roundtrip(commands, extra_time)

    async def _ask(self) -> None:
        try:
            await self._pool.get_master_address()  # type: ignore[no-untyped-call]
        except (RedisError, OSError):
            pass  # They do not answer, or are about to choose: open connections may still work.
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

    def abandon(self) -> None:
        """See `Client.abandon`."""
        if self._asking is not None:
            with contextlib.suppress(RuntimeError):  # Its loop is closed, so it does not run.
                self._asking.cancel()
        super().abandon()
        self._pool.sentinel_manager.abandon()
