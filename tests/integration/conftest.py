"""Calls of scripts on the shared server, and a Redis user whose permissions a test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from runnel.protocol.scripts import Scripts
from tests.integration.clerk import Grant


@pytest.fixture
def scripts(redis: Redis) -> Scripts:
    """Calls scripts on the shared server, which is empty when the test starts."""
    return Scripts(redis)


@pytest.fixture
async def grant(redis: Redis, redis_url: str) -> AsyncIterator[Grant]:
    """Sets the ACL rules of the user `clerk`; returns a URL that logs in as clerk."""
    address = urlsplit(redis_url)

    async def rules(rules: Sequence[str]) -> str:
        start = ("reset", "on", ">secret", "resetchannels")
        await redis.execute_command("ACL", "SETUSER", "clerk", *start, *rules)  # type: ignore[no-untyped-call]
        return address._replace(netloc=f"clerk:secret@{address.netloc.rpartition('@')[2]}").geturl()

    yield rules
    await redis.acl_deluser("clerk")
