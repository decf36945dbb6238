"""Many partitions need few calls and connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.connection.transport import Arg, RawConnection
from runnel.protocol.scripts import sha
from tests.worker.depot import Blob, Depot
from tests.worker.workers import until

PARTITIONS = 600


async def commands(redis: Redis) -> dict[str, int]:
    """How often each command was carried out."""
    stats: dict[str, Any] = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


@pytest.fixture
def claiming(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of claims in each round trip."""
    found: list[int] = []
    request = RawConnection.request

    def counting(
        connection: RawConnection, commands: Sequence[Sequence[Arg]], timeout: float | None
    ) -> Any:
        if claims := sum(command[1] == sha("claim") for command in commands if len(command) > 1):
            found.append(claims)
        return request(connection, commands, timeout)

    monkeypatch.setattr(RawConnection, "request", counting)
    return found


@pytest.mark.only_on("server", "sentinel")
async def test_many_partitions_take_a_few_calls_each_and_a_few_connections(
    redis: Redis, redis_url: str, app_name: str, claiming: list[int]
) -> None:
    depot = Depot(app_name, redis_url, PARTITIONS)
    depot.processor()
    states = [depot.app.processors["work"].keys(p).state for p in range(PARTITIONS)]

    async def owned() -> bool:
        async with redis.pipeline(transaction=False) as pipe:
            for state in states:
                pipe.hget(state, "released")
            held = [each == b"0" for each in await pipe.execute()]
            return all(held)

    before, made = await commands(redis), await redis.info("stats")
    async with depot.running() as worker:
        await until(owned, "all are claimed")
        now = await commands(redis)
        assert sum(claiming) >= PARTITIONS
        assert len(claiming) < PARTITIONS / 10
        assert now["evalsha"] - before.get("evalsha", 0) < 3 * PARTITIONS + 50
        assert now["xread"] - before.get("xread", 0) < PARTITIONS / 4
        blobs = [Blob(key=key, number=0, body=b"") for key in depot.keys.values()]
        await depot.blobs.send(*blobs)
        await until(lambda: len(depot.counts()) == PARTITIONS, "each has its event")
        await asyncio.sleep(0)
        worker.stop.set()
    after, then = await commands(redis), await redis.info("stats")
    assert not await owned()
    # Registered, claimed, sent to, committed, released, and perhaps claimed again.
    assert after["evalsha"] - before.get("evalsha", 0) < 7 * PARTITIONS + 100
    opened = then["total_connections_received"] - made["total_connections_received"]
    assert opened < 100
    await depot.app.close()
