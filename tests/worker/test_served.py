"""An app under test with a server: clean, with workers that can be killed, and waits that end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runnel import App, Record, keys
from runnel.errors import ConfigError
from runnel.harness import HandlerFailed, NotDrained
from runnel.testing.served import Served
from tests.primaries import every_key

app = App("served", retries=0)


class Step(Record):
    key: str
    number: int


steps = app.stream("steps", record=Step, partition_by="key", partition_count=4)
done = app.stream("done", record=Step, partition_by="key", partition_count=1)
counts = app.table("counts", steps, value=int, default=0)
#: A folder for the marks of handlers.
MARKS = Path(os.environ.get("MARKS", "."))


@app.on(steps)
async def walk(step: Step) -> None:
    if step.number == 13:
        raise ValueError("an unlucky step")
    while step.number == 7 and (MARKS / "hold").exists():
        (MARKS / "held").touch()
        await asyncio.sleep(0.01)
    counts[step.key] += 1
    done.emit(step)


def some(*numbers: int) -> list[Step]:
    return [Step(key=str(number % 4), number=number) for number in numbers]


@pytest.fixture
async def t(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    os.environ["MARKS"] = str(tmp_path)
    served = Served(app, redis_url, {})
    async with served:
        yield served
    del os.environ["MARKS"]


async def test_workers_process_what_is_sent(t: Served) -> None:
    t.worker(n=2)
    await t.send(steps, *some(*range(6)))
    await t.drain()
    assert sorted(each.number for each in await t.sent(done)) == list(range(6))
    assert await counts.read_many(["0", "1"]) == {"0": 2, "1": 2}
    await t.wait_for(lambda: t.log.count("· member ") == 2, "both run")
    assert t.stop() == [0, 0]


async def test_another_worker_takes_over_from_one_that_was_killed(
    t: Served, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    (first,) = t.worker()
    await t.send(steps, *some(7))
    await t.wait_for((tmp_path / "held").exists, "the handler has the event")
    assert t.kill() is first
    (tmp_path / "hold").unlink()
    t.worker()
    await t.drain()
    assert [each.number for each in await t.sent(done)] == [7]


async def test_a_quarantine_fails_the_drain(t: Served) -> None:
    t.worker()
    await t.send(steps, *some(13))
    with pytest.raises(HandlerFailed, match=r"partition \d is quarantined: .*unlucky step"):
        await t.drain()


async def test_a_wait_that_is_over_shows_what_the_workers_logged(t: Served) -> None:
    t.worker()
    await t.wait_for(lambda: "claimed 4" in t.log)
    with pytest.raises(NotDrained, match=r"(?s)not within 0.05 s: the sky is green. .*claimed 4"):
        await t.wait_for(lambda: False, "the sky is green", timeout=0.05)


async def test_a_worker_that_ends_by_itself_ends_the_wait(t: Served) -> None:
    t.worker(target="no.such.module:app")
    with pytest.raises(NotDrained, match=r"(?s)ended with exit code 2, .*no module 'no'"):
        await t.drain()
    with pytest.raises(ConfigError, match="no worker runs that could be killed"):
        t.kill()


async def test_nothing_of_the_app_is_left_and_all_of_others_is(
    redis: Redis, redis_url: str
) -> None:
    await redis.set("runnel:{served2}:x", "of another app")
    before = app.settings
    async with Served(app, redis_url, {"session_timeout": 2.0}) as t:
        assert (app.settings.session_timeout, app.settings.rebalance_delay) == (2.0, 0.05)
        await t.send(steps, *some(1))
        assert any(key.startswith(b"runnel:{served:") for key in await every_key(redis))
    assert await every_key(redis) == [b"runnel:{served2}:x"]
    assert app.settings is before
    assert keys.patterns("served")[0] == "runnel:{served:*"


async def test_a_server_that_does_not_answer_leaves_the_app_as_it_was(tmp_path: Path) -> None:
    before = app.settings
    with pytest.raises(RedisError):
        await Served(app, f"unix://{tmp_path}/none", {}).__aenter__()
    assert app.settings is before


async def test_an_app_that_no_module_has_needs_a_target(redis: Redis, redis_url: str) -> None:
    async with Served(App("other"), redis_url, {}) as t:
        with pytest.raises(ConfigError, match=r"give t\.worker\(target=…\)"):
            t.worker()


def test_processes_are_ended_even_if_the_block_was_not(redis_url: Any) -> None:
    served = Served(app, redis_url, {})
    (process,) = served.worker()
    served.end_processes()
    assert process.returncode == -9
