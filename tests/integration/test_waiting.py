"""Delayed events as people see them: what is due next, and one by its receipt."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from runnel import keys
from runnel.operations import waiting
from runnel.protocol.scripts import Scripts
from tests.integration.sends import declare, items, spread


async def test_what_is_due_next_over_all_partitions(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    scripts, spec = Scripts(redis), stream.spec
    assert await waiting.next_due(scripts, spec, range(4), 5) == []
    async with app:
        for number in range(30):
            await stream.send(*spread(number), delay=100 - number)
        await stream.send(*items(*range(50)), delay=5)
    assert await waiting.count(scripts, spec) == 80
    found = await waiting.next_due(scripts, spec, range(4), 60)
    numbers = [spec.codec.decode(each.entry).number for each in found]
    assert numbers == [*range(50), *range(29, 19, -1)]
    last = await waiting.find(scripts, spec, found[49].receipt)
    assert last
    assert spec.codec.decode(last.entry).number == 49
    gone = found[0].receipt._replace(id="5-5")
    assert await waiting.find(scripts, spec, gone) is None


async def test_what_no_script_has_written_is_shown_all_the_same(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    _, stream = declare(app_name, redis_url)
    await redis.zadd(keys.delayed(stream.spec.prefix(2)), {"junk": 5})
    (found,) = await waiting.next_due(Scripts(redis), stream.spec, range(4), 5)
    expected: Any = (2, "5-0", [])
    assert (found.receipt.partition, found.receipt.id, found.entry) == expected
