"""Replays of parked events survive the death of their worker, and a hand-over."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.connection.connect import connect
from runnel.operations import dead
from runnel.operations.dead import Wanted
from runnel.protocol import parked_names
from runnel.protocol.scripts import Scripts
from tests.worker import parked_totals
from tests.worker.parking import Till
from tests.worker.workers import Workers, until

KEYS, NUMBERS = 5, 40


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_s4_a_worker_that_ends_in_the_middle_of_replays_loses_and_doubles_nothing(
    redis: Redis,
    redis_url: str,
    workers: Workers,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    ending: signal.Signals,
) -> None:
    app = parked_totals.declare(redis_url, str(tmp_path / "broken"))
    (processor,) = app.choose(["book"])
    log, _, _ = parked_names(processor.keys(0))
    state = processor.keys(0).state
    (tmp_path / "broken").touch()
    workers.target = "tests.worker.parked_totals:app"
    monkeypatch.setenv("BROKEN_FILE", str(tmp_path / "broken"))
    payments = app.streams["payments"]
    await payments.send(
        *(
            parked_totals.Payment(account=f"k{key}", number=number)
            for number in range(NUMBERS)
            for key in range(KEYS)
        )
    )
    total = (KEYS - 1) * NUMBERS
    workers.start(delay=0.002)
    await until(lambda: _has(redis, log, total), "all but one account are parked")
    (tmp_path / "broken").unlink()
    async with connect(redis_url) as client:
        scripts = Scripts(client)
        items = [each async for each in dead.find(scripts, processor, Wanted())]
        await dead.replay(scripts, processor, items)
    left = total
    for _ in range(3):
        left -= 20
        await until(lambda below=left: _at_most(redis, log, below), "some are replayed")  # type: ignore[misc]
        workers.processes[-1].send_signal(ending)
        workers.processes[-1].wait()
        workers.start(delay=0.002)
    await until(lambda: _at_most(redis, log, 0), "all are replayed")
    await until(lambda: _nothing_left(redis, state), "nothing is parked")
    totals, last = app.tables["totals"], app.tables["last"]
    for key in range(KEYS):
        assert await totals.read(f"k{key}") == sum(range(NUMBERS))
        assert await last.read(f"k{key}") == NUMBERS - 1
    await app.close()
    assert "out of order" not in workers.log


async def _has(redis: Redis, log: str, number: int) -> bool:
    return bool(await redis.xlen(log) == number)


async def _at_most(redis: Redis, log: str, number: int) -> bool:
    return bool(await redis.xlen(log) <= number)


async def _nothing_left(redis: Redis, state: str) -> bool:
    stored = await redis.hmget(state, ["parked", "parked_keys", "replay"])
    return stored == [b"0", b"0", b"0"]


async def test_replays_that_others_have_deleted_stop_nothing(redis: Redis, till: Till) -> None:
    till.declare()
    till.broken = {"b"}
    await till.pay(("b", 0), ("a", 0))
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")
    till.broken = set()
    await till.replay()
    await redis.delete(parked_names(till.keys)[0])
    await till.pay(("a", 1))
    async with till.running():
        await until(lambda: till.passed(redis), "the log goes on")
    assert till.by_account() == {"a": [0, 1]}
