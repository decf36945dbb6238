"""A program that is killed at any moment and started again sends every record once, in order."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import defaultdict

import pytest
from redis.asyncio import Redis

from tests.integration.importer import record_of, records_of
from tests.integration.sends import declare, stored

KILLS = 20


async def run(url: str, name: str, way: str, count: int, rng: random.Random, lines: int) -> bool:
    """Start the program, and kill it after so many lines. Returns False if it ended before."""
    arguments = (url, name, way, str(count), str(rng.randrange(1000)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.importer", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        for _ in range(lines):
            line = await process.stdout.readline()
            if line in (b"done\n", b""):
                assert await process.wait() == 0
                return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return True


@pytest.mark.timeout(240)
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
async def test_a_killed_import_has_every_record_once_and_in_order(
    redis: Redis, redis_url: str, app_name: str, at_once: bool
) -> None:
    rng = random.Random(at_once)
    ways = ["start-at-once", "last-at-once"] if at_once else ["start", "last"]
    kills, count = 0, 200
    while kills < KILLS:
        lines = rng.choice([1, rng.randint(2, 20), rng.randint(2, 20)])
        if await run(redis_url, app_name, rng.choice(ways), count, rng, lines):
            kills += 1
        else:
            count += 200  # There is more to import.
    assert not await run(redis_url, app_name, rng.choice(ways), count, rng, lines=10**9)
    expected = defaultdict(list)
    for number in range(1, count + 1):
        for item in [record_of(number)] if at_once else records_of(number):
            expected[item.key].append(item.number)
    _, stream = declare(app_name, redis_url)
    assert await stored(redis, stream) == expected
