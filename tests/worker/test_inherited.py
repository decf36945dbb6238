"""A fork gets nothing of what its parent hears, and its parent nothing of what it says."""

from __future__ import annotations

import asyncio
import os
import warnings

import pytest
from redis.asyncio import Redis

from runnel.connection.redis_client import Client
from runnel.errors import ConfigError
from tests.forking import exit_after


def check_in_fork(client: Client) -> None:
    with pytest.raises(ConfigError, match=f"belongs to process {os.getppid()}"):
        client.roundtrip([("PING",)]).send(None)
    nowhere = os.stat(os.devnull).st_rdev
    assert client.descriptors()
    assert {os.fstat(each).st_rdev for each in client.descriptors()} == {nowhere}


async def test_it_cannot_use_a_connection_of_its_parent(redis: Redis) -> None:
    """It would write between the bytes of its parent, and take its replies."""
    assert isinstance(redis, Client)
    assert await redis.roundtrip([("PING",)]) == [b"PONG"]
    await redis.ping()  # On a connection of redis-py's pool.
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if not child:
        exit_after(lambda: check_in_fork(redis))
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await redis.roundtrip([("PING",)]) == [b"PONG"]
