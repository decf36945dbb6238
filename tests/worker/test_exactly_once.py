"""Tables are exactly right, whatever happens to the workers that write them."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from tests.primaries import on_each
from tests.proxy import Proxy
from tests.worker.tally import EVEN, Sale, app, sales
from tests.worker.workers import Workers, until

KEYS = 60
KILLS = 15
Tables = dict[str, Counter[int]]


@pytest.fixture
def tallying(
    redis: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workers]:
    """Workers whose handlers fail now and then, after they have written."""
    monkeypatch.setenv("FAILING", "0.02")
    found = Workers(redis_url, tmp_path, "tests.worker.tally:app")
    yield found
    found.close()


async def stored(redis: Redis) -> Tables:
    """What the tables have. The even ones are counted for each partition."""
    found: Tables = {each: Counter() for each in ("totals", "counts", "even", "sums")}
    for partition in range(sales.spec.partition_count):
        for name, values in found.items():
            fields = await redis.hgetall(keys.table(sales.spec.prefix(partition), name))
            for key, value in fields.items():
                at = partition if key == EVEN.encode() else int(key)
                values[at] += int(value)
    return found


def true_tables(sent: list[Sale]) -> Tables:
    """What they must have."""
    totals, counts, even = Counter[int](), Counter[int](), Counter[int]()
    for sale in sent:
        totals[sale.key] += sale.amount
        counts[sale.key] += 1
        even[sales.spec.partition(sale)] += sale.amount % 2 == 0
    return {"totals": totals, "counts": counts, "even": even, "sums": totals}


@asynccontextmanager
async def sending(url: str) -> AsyncIterator[list[Sale]]:
    """Sends all the time. The list is what was sent."""
    app.configure(redis_url=url)
    sent: list[Sale] = []

    async def send() -> None:
        async with app:
            while not done.is_set():
                some = [
                    Sale(key=random.randrange(KEYS), amount=random.randrange(-50, 100))
                    for _ in range(20)
                ]
                await sales.send(*some)
                sent.extend(some)
                await asyncio.sleep(0.05)

    done = asyncio.Event()
    sender = asyncio.create_task(send())
    try:
        yield sent
    finally:
        done.set()
        await sender


async def finished(redis: Redis, url: str) -> bool:
    """Is every event committed by all processors?"""
    rows = (await inspect(redis, await check_server(redis, url), app.name))["processors"]
    return len(rows) == 3 and not any(row["lag_events"] for row in rows)


async def owners(redis: Redis, url: str) -> set[str]:
    """The members that hold partitions."""
    rows = (await inspect(redis, await check_server(redis, url), app.name))["processors"]
    return {each["owner"] for row in rows for each in row.get("partitions", []) if each["owner"]}


async def check_totals(
    redis: Redis, url: str, disturb: Callable[[], Awaitable[None]], times: int
) -> None:
    """Send and disturb so many times, then wait until all is finished: each number is right."""
    async with sending(url) as sent:
        await until(lambda: _some(redis), "work has begun")
        for _ in range(times):
            await disturb()
    await until(lambda: finished(redis, url), "all is finished", 60)
    assert await stored(redis) == true_tables(sent)
    assert len(sent) > 20 * times


async def _some(redis: Redis) -> bool:
    return all((await stored(redis)).values())


@pytest.mark.fault(1, 2, 44)
@pytest.mark.timeout(150)
async def test_totals_are_right_though_workers_are_killed_at_any_moment(
    redis: Redis, redis_url: str, tallying: Workers
) -> None:
    alive = [tallying.start(delay=0.002) for _ in range(3)]

    async def kill() -> None:
        await asyncio.sleep(random.uniform(0.3, 2.0))
        victim = alive.pop(random.randrange(len(alive)))
        assert victim.poll() is None, tallying.log[-3000:]
        victim.kill()
        victim.wait()
        alive.append(tallying.start(delay=0.002))

    await check_totals(redis, redis_url, kill, KILLS)


@pytest.mark.fault(4)
@pytest.mark.timeout(120)
async def test_totals_are_right_though_a_worker_sleeps_longer_than_its_session(
    redis: Redis, redis_url: str, tallying: Workers
) -> None:
    processes = {name: tallying.start("--name", name, delay=0.002) for name in ("a", "b")}
    awake = "a"

    async def suspend() -> None:
        nonlocal awake
        sleeper, awake = awake, "b" if awake == "a" else "a"
        await until(lambda: _own(redis, redis_url, {"a", "b"}), "both hold partitions")
        processes[sleeper].send_signal(signal.SIGSTOP)
        lost = f"of them from {sleeper} without a release"
        before = tallying.log.count(lost)
        await until(lambda: tallying.log.count(lost) > before, "the other one has claimed its")
        processes[sleeper].send_signal(signal.SIGCONT)

    await check_totals(redis, redis_url, suspend, 4)


async def _own(redis: Redis, url: str, members: set[str]) -> bool:
    return await owners(redis, url) == members


@pytest.mark.fault(3, 18, 27)
@pytest.mark.only_on("server")
@pytest.mark.timeout(120)
async def test_totals_are_right_though_replies_are_lost_and_scripts_forgotten(
    redis: Redis, redis_url: str, tallying: Workers
) -> None:
    async with Proxy(redis_url) as proxy:
        tallying.url = proxy.url
        for _ in range(2):
            tallying.start(delay=0.002)

        async def lose() -> None:
            lost = proxy.lost
            proxy.losing = random.randint(1, 5)
            await until(lambda: proxy.lost > lost, "a reply is lost")
            await on_each(redis, "SCRIPT", "FLUSH")
            await asyncio.sleep(random.uniform(0.0, 0.4))

        await check_totals(redis, redis_url, lose, 30)
        tallying.close()
