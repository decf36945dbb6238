"""What `runnel inspect` knows from the code of an app."""

from __future__ import annotations

from redis.asyncio import Redis

from runnel.cli.declared import DeclaredApp
from runnel.protocol.scripts import Scripts


async def test_a_target_declares_its_streams_and_processors(redis: Redis, redis_url: str) -> None:
    app = DeclaredApp("tests.cli.shop:app")
    declared = await app.declared(Scripts(redis), redis_url)
    assert app.name == "shop"
    assert app.names.module == "tests.cli.shop"
    assert frozenset(declared.processors) == app.names.declared
    assert {stream for stream, _ in declared.processors} <= set(declared.streams)
