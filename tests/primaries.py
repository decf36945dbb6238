"""Commands on every primary behind a client: one, or several if it is a cluster."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from runnel.connection.deployment import of


async def on_each(redis: Redis, *command: str) -> list[Any]:
    """The reply of each primary to a command."""
    primaries = await of(redis).primaries()
    return [await each.execute_command(*command) for each in primaries]  # type: ignore[no-untyped-call]


async def every_key(redis: Redis) -> list[bytes]:
    """The names of all keys on all primaries."""
    return sorted(key for keys in await on_each(redis, "KEYS", "*") for key in keys)
