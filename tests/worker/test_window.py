"""Workers that have many events of a partition in hand die, are suspended, or leave: no event is
lost, those of a key stay in order, and each counts exactly once in tables and emitted events."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from runnel.core.window import Window
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from tests.worker.crowd import Call, app, called, calls, counts
from tests.worker.workers import Workers, first_times, until

KEYS, NUMBERS = 100, 30
EVERYTHING = [Call(key=key, number=number) for number in range(NUMBERS) for key in range(KEYS)]
PARTITIONS = 4


class Effect(NamedTuple):
    key: int
    number: int
    pid: int
    start: float
    end: float


@pytest.fixture
def crowd(redis: Redis, redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Worker processes of that app."""
    found = Workers(redis_url, tmp_path, "tests.worker.crowd:app")
    yield found
    found.close()


def effects(crowd: Workers) -> list[Effect]:
    lines = crowd.effects_file.read_text().splitlines()
    split = [each.split() for each in lines]
    return [Effect(*map(int, each[:3]), *map(float, each[3:])) for each in split]


async def send(url: str) -> None:
    app.configure(redis_url=url)
    for first in range(0, len(EVERYTHING), 500):
        await calls.send(*EVERYTHING[first : first + 500])
    await app.close()


async def row(redis: Redis, url: str) -> dict[str, Any]:
    found = (await inspect(redis, await check_server(redis, url), "crowd"))["processors"]
    return next((each for each in found if each["name"] == "call"), {})


async def owners(redis: Redis, url: str) -> list[str]:
    """The owner of each partition that has one."""
    partitions = (await row(redis, url)).get("partitions", [])
    return [each["owner"] for each in partitions if each["owner"]]


async def shared(redis: Redis, url: str, members: int) -> bool:
    found = await owners(redis, url)
    return len(found) == PARTITIONS and len(set(found)) == members


async def finished(redis: Redis, url: str) -> bool:
    partitions = (await row(redis, url))["partitions"]
    return bool(partitions) and all(each["lag_events"] == 0 for each in partitions)


async def check_exactly_once(redis: Redis, url: str) -> None:
    """Tables and emitted events have each event once, those of a key in order."""
    app.configure(redis_url=url)
    assert await counts.read_many(range(KEYS)) == dict.fromkeys(range(KEYS), NUMBERS)
    await app.close()
    found: defaultdict[int, list[int]] = defaultdict(list)
    for partition in range(2):
        entries: Any = await redis.xrange(f"{called.spec.prefix(partition)}:log")
        for _, fields in entries:
            record = called.spec.codec.decode([each for pair in fields.items() for each in pair])
            found[record.key].append(record.number)
    assert found == {key: list(range(NUMBERS)) for key in range(KEYS)}


def by_key(found: list[Effect]) -> dict[int, list[Effect]]:
    grouped: defaultdict[int, list[Effect]] = defaultdict(list)
    for each in sorted(found, key=lambda each: each.start):
        grouped[each.key].append(each)
    return grouped


def check_order(found: list[Effect]) -> None:
    """Each event begins after those of its key before it have been done once; and no worker has
    two of a key at the same time."""
    for key, of_key in by_key(found).items():
        assert first_times([each.number for each in of_key]) == list(range(NUMBERS)), key
        for pid in {each.pid for each in of_key}:
            own = [each for each in of_key if each.pid == pid]
            assert all(before.end <= after.start for before, after in pairwise(own)), own


def repeats(found: list[Effect]) -> int:
    return len(found) - len({(each.key, each.number) for each in found})


def most_at_once(found: list[Effect]) -> int:
    """The most events that ran at the same time."""
    moments = sorted([(each.start, 1) for each in found] + [(each.end, -1) for each in found])
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


@pytest.mark.fault(1, 4)
async def test_killed_and_suspended_workers_lose_nothing_and_repeat_what_was_in_hand(
    redis: Redis, redis_url: str, crowd: Workers
) -> None:
    for name in ("alive", "killed", "sleeper"):
        crowd.start("--name", name, delay=0.005)
    await until(lambda: shared(redis, redis_url, 3), "three workers share")
    await send(redis_url)
    await until(lambda: len(effects(crowd)) > 300, "work has begun")
    _, killed, sleeper = crowd.processes
    killed.kill()
    sleeper.send_signal(signal.SIGSTOP)
    await until(lambda: shared(redis, redis_url, 1), "the one that lives holds all")
    sleeper.send_signal(signal.SIGCONT)
    await until(lambda: finished(redis, redis_url), "all is finished")
    found = effects(crowd)
    check_order(found)
    await check_exactly_once(redis, redis_url)
    window = Window(16, app.settings.prefetch).limit
    # Two workers had up to two partitions each; few commits were on their way.
    assert repeats(found) <= 4 * 2 * window
    assert most_at_once(found) > 16


@pytest.mark.fault(7)
async def test_workers_that_join_and_leave_under_load_repeat_nothing(
    redis: Redis, redis_url: str, crowd: Workers
) -> None:
    first = crowd.start("--name", "first", delay=0.005)
    await until(lambda: shared(redis, redis_url, 1), "one worker holds all")
    await send(redis_url)
    await until(lambda: len(effects(crowd)) > 200, "work has begun")
    crowd.start("--name", "second", delay=0.005)
    await until(lambda: shared(redis, redis_url, 2), "two workers share")
    await until(lambda: len(effects(crowd)) > 1200, "both work")
    first.terminate()
    assert first.wait(60) == 0, crowd.log
    await until(lambda: finished(redis, redis_url), "all is finished")
    found = effects(crowd)
    check_order(found)
    assert repeats(found) == 0
    await check_exactly_once(redis, redis_url)
    for key, of_key in by_key(found).items():
        assert all(before.end <= after.start for before, after in pairwise(of_key)), key
