"""What concerns all servers behind a client, of which there is one unless it is a cluster."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from runnel.connection.deployment import of


async def on_each(redis: Redis, *command: str) -> list[Any]:
    """What each primary answers."""
    primaries = await of(redis).primaries()
    return [await each.execute_command(*command) for each in primaries]  # type: ignore[no-untyped-call]


async def every_key(redis: Redis) -> list[bytes]:
    """The names of all keys, wherever they are."""
    return sorted(key for keys in await on_each(redis, "KEYS", "*") for key in keys)
