"""Workers die, or are suspended and continue: no event is lost, and the order is kept."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.worker.ledger import Entry, app
from tests.worker.workers import Workers, dumped, first_times, processor, send, until

KEYS, NUMBERS = 40, 50


def everything() -> list[Entry]:
    return [Entry(key=key, number=number) for number in range(NUMBERS) for key in range(KEYS)]


def owners(row: dict[str, Any]) -> dict[str, list[int]]:
    """Member -> partitions, of a processor that `inspect` shows."""
    found: dict[str, list[int]] = {}
    for partition in row.get("partitions", []):
        if partition["owner"]:
            found.setdefault(partition["owner"], []).append(partition["id"])
    return found


def balanced(row: dict[str, Any], members: int) -> bool:
    """Are all partitions owned by so many members, and equally, up to one partition?"""
    counts = [len(each) for each in owners(row).values()]
    return sum(counts) == 8 and len(counts) == members and max(counts) - min(counts) <= 1


async def test_l2_three_workers_share_the_partitions_and_moves_are_few(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    workers.start("--processors", "book", "--name", "a")
    await until(lambda: _balanced(redis, redis_url, 1), "one worker holds all")
    workers.start("--processors", "book", "--name", "b")
    await until(lambda: _balanced(redis, redis_url, 2), "two workers share")
    before = owners(await processor(redis, redis_url, "book"))
    workers.start("--processors", "book", "--name", "c")
    await until(lambda: _balanced(redis, redis_url, 3), "three workers share")
    after = owners(await processor(redis, redis_url, "book"))
    kept = sum(len(set(before[name]) & set(after[name])) for name in before)
    assert kept == 6, dumped({"before": before, "after": after})


@pytest.mark.fault(1, 4)
async def test_a_killed_worker_loses_nothing_and_a_sleeper_is_fenced(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    alive = workers.start("--processors", "book", "--name", "alive", delay=0.002)
    killed = workers.start("--processors", "book", "--name", "killed", delay=0.002)
    sleeper = workers.start("--processors", "book", "--name", "sleeper", delay=0.002)
    await until(lambda: _balanced(redis, redis_url, 3), "three workers share")
    await send(redis_url, *everything())
    await until(lambda: sum(map(len, workers.effects().values())) > 100, "work has begun")
    killed.kill()
    sleeper.send_signal(signal.SIGSTOP)
    await until(lambda: _balanced(redis, redis_url, 1), "the one that lives holds all")
    sleeper.send_signal(signal.SIGCONT)
    await until(lambda: _lag(redis, redis_url), "all is finished")
    await until(lambda: _balanced(redis, redis_url, 2), "the suspended worker has continued")

    effects = workers.effects()
    assert sorted(effects) == list(range(KEYS))
    for key, numbers in effects.items():
        assert first_times(numbers) == list(range(NUMBERS)), f"key {key}: {numbers}"
    assert "another member has claimed it since" in workers.log
    assert "of them from killed" in workers.log
    for process in (alive, sleeper):
        process.terminate()
        assert process.wait(60) == 0


async def test_a_lost_member_is_logged_though_it_had_nothing_to_do(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    workers.start("--processors", "book", "--name", "alive")
    killed = workers.start("--processors", "book", "--name", "killed")
    await until(lambda: _balanced(redis, redis_url, 2), "two workers share")
    assert "without a release" not in workers.log
    killed.kill()
    await until(lambda: _balanced(redis, redis_url, 1), "the one that lives holds all")
    await until(lambda: "of them from killed without a release" in workers.log, "it logs that")


@pytest.mark.fault(7)
async def test_l1_a_clean_leave_repeats_nothing(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    first = workers.start("--processors", "book", delay=0.002)
    workers.start("--processors", "book", delay=0.002)
    await until(lambda: _balanced(redis, redis_url, 2), "two workers share")
    await send(redis_url, *everything())
    await until(lambda: sum(map(len, workers.effects().values())) > 100, "work has begun")
    first.terminate()
    assert first.wait(60) == 0
    await until(lambda: _lag(redis, redis_url), "all is finished")
    for key, numbers in workers.effects().items():
        assert numbers == list(range(NUMBERS)), f"key {key}: {numbers}"


@pytest.mark.fault(7)
async def test_l1_a_worker_that_leaves_releases_idle_partitions_while_a_handler_is_busy(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    busy = workers.start("--processors", "book", "--name", "busy")
    await until(lambda: _balanced(redis, redis_url, 1), "one worker holds all")
    entry = Entry(key=1, number=0, fault="long")
    await send(redis_url, entry)
    stuck = app.streams["entries"].spec.partition(entry)
    await until(lambda: "key 1 is taken" in workers.log, "it has a current event")
    busy.terminate()
    workers.start("--processors", "book", "--name", "next")
    await until(lambda: _owns(redis, redis_url, "next", 7), "all but one have moved")
    row = (await processor(redis, redis_url, "book"))["partitions"][stuck]
    assert row["owner"] == "busy"
    assert busy.poll() is None, "it is still finishing"
    await until(lambda: _owns(redis, redis_url, "next", 8), "the drain limit ends it")


async def test_a_worker_whose_processor_is_removed_ends_and_says_why(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    process = workers.start("--processors", "book")
    await until(lambda: _balanced(redis, redis_url, 1), "it runs")
    both = workers.start("--processors", "book,careful", "--name", "both")
    await until(lambda: _balanced(redis, redis_url, 2), "both run")
    removed = workers.run("processor", "remove", "--yes", "tests.worker.ledger:book")
    assert removed.returncode == 0, removed.stderr
    await until(lambda: process.poll() is not None, "it ends")
    assert process.returncode == 1
    assert "error: processor book was removed while this worker ran it" in workers.log
    await until(lambda: workers.log.count("book was removed") >= 2, "the other one logs that, too")
    assert both.poll() is None, "it still runs the other processor"
    assert not await processor(redis, redis_url, "book")


@pytest.mark.fault(45)
async def test_an_event_that_kills_its_worker_is_blamed_alone(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    await send(
        redis_url, *(Entry(key=1, number=n, fault="exit" if n == 3 else "") for n in range(9))
    )
    while True:
        process = workers.start("--processors", "careless", "--burst", "--name", "same")
        await asyncio.to_thread(process.wait, 30)
        if process.returncode == 0:
            break
        assert process.returncode == 7
        assert len(workers.processes) < 12, workers.log
    assert first_times(workers.effects()[1]) == [0, 1, 2, 4, 5, 6, 7, 8]


async def _balanced(redis: Redis, url: str, members: int) -> bool:
    return balanced(await processor(redis, url, "book"), members)


async def _owns(redis: Redis, url: str, member: str, count: int) -> bool:
    return len(owners(await processor(redis, url, "book")).get(member, ())) == count


async def _lag(redis: Redis, url: str) -> bool:
    return bool((await processor(redis, url, "book"))["lag_events"] == 0)
