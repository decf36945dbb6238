"""The example of a bank: its report is right although its workers are killed."""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from tests.worker.workers import ROOT, Workers, until

#: Not imported by name: the type checker knows the examples as modules of their own.
bank: Any = importlib.import_module("examples.bank")
PAYMENTS, KILLS = 4000, 6


@pytest.fixture
def bankers(redis: Redis, redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Workers of the example."""
    found = Workers(redis_url, tmp_path, "examples.bank:app")
    yield found
    found.close()


def true_report(payments: list[Any]) -> list[str]:
    """What the example must print."""
    balances = Counter[str]()
    overdrawn: defaultdict[str, Counter[Any]] = defaultdict(Counter)
    for each in payments:
        before = balances[each.account]
        balances[each.account] += each.amount
        if before >= 0 > balances[each.account]:
            overdrawn[each.customer][each.day] += 1
    return [
        f"{customer}: {sum(balances[each] for each in accounts)} in {len(accounts)} accounts; "
        "overdrawn: " + ", ".join(f"{day} {n}" for day, n in sorted(overdrawn[customer].items()))
        for customer, accounts in bank.ACCOUNTS.items()
    ]


async def finished(redis: Redis, url: str) -> bool:
    """Are both processors done, the second one after the first?"""
    server = await check_server(redis, url)
    for _ in range(2):
        report = await inspect(redis, server, "bank")
        if len(report["processors"]) < 2 or report["totals"]["lag_events"]:
            return False
    return True


def run(url: str, *arguments: str) -> str:
    """What the example prints, as a program."""
    return subprocess.run(
        [sys.executable, "-m", "examples.bank", *arguments],
        cwd=ROOT,
        env={**os.environ, "RUNNEL_REDIS_URL": url},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


@pytest.mark.fault(1, 2)
@pytest.mark.timeout(120)
async def test_the_report_is_right_though_workers_are_killed_at_any_moment(
    redis: Redis, redis_url: str, bankers: Workers
) -> None:
    alive = [bankers.start() for _ in range(4)]
    await until(lambda: bankers.log.count("now holds") >= 8, "all hold partitions")
    payments = bank.sample(PAYMENTS)

    async def send() -> None:
        bank.app.configure(redis_url=redis_url)
        async with bank.app:
            for first in range(0, PAYMENTS, 20):
                await bank.payments.send(*payments[first : first + 20])
                await asyncio.sleep(0.02)

    sender = asyncio.create_task(send())
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(0.1, 0.6))
        victim = alive.pop(random.randrange(len(alive)))
        assert victim.poll() is None, bankers.log[-3000:]
        victim.kill()
        victim.wait()
        alive.append(bankers.start())
    await sender
    await until(lambda: finished(redis, redis_url), "all is finished")
    said = await asyncio.to_thread(run, redis_url, "report")
    assert said.splitlines() == true_report(payments)
