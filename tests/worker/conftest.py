"""Fixtures for tests with worker processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.core.partition import PartitionState
from runnel.handlers.threads import Threads
from runnel.table import Table
from runnel.worker.partition_io import PartitionIO
from tests.worker.desk import Desk
from tests.worker.inside import Ledger
from tests.worker.parking import Till
from tests.worker.stubborn_worker import Stubborn
from tests.worker.workers import Workers


@pytest.fixture
def workers(redis: Redis, redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Worker processes on the shared server."""
    found = Workers(redis_url, tmp_path)
    yield found
    found.close()


@pytest.fixture
def start(redis: Redis, redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Stubborn]]:
    """Starts stubborn workers on the shared server."""
    started: list[Stubborn] = []

    def make(kind: str, *arguments: str, path: str = "") -> Stubborn:
        started.append(Stubborn(redis_url, kind, tmp_path, *arguments, path=path))
        return started[-1]

    yield make
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def ledger(redis: Redis, redis_url: str, app_name: str) -> Ledger:
    """An app of this test's own with one partition."""
    return Ledger(app_name, redis_url)


@pytest.fixture
def totals(ledger: Ledger) -> Table[int]:
    """A table of the ledger."""
    return ledger.app.table("totals", ledger.items, value=int, default=0)


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[PartitionState]:
    """The partitions of the workers in this process."""
    found: list[PartitionState] = []
    add = PartitionIO.add

    def noting(partition_io: PartitionIO, state: PartitionState) -> None:
        found.append(state)
        add(partition_io, state)

    monkeypatch.setattr(PartitionIO, "add", noting)
    return found


@pytest.fixture
def till(redis: Redis, redis_url: str, app_name: str) -> Till:
    """An app of this test's own whose processor parks."""
    return Till(app_name, redis_url)


@pytest.fixture
def desk(redis: Redis, redis_url: str, app_name: str) -> Desk:
    """An app of this test's own whose processor has several events at the same time."""
    return Desk(app_name, redis_url)


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One item for each call that was given to a thread."""
    found: list[None] = []
    run = Threads.run

    def counting(threads: Threads, call: Callable[[Any], Any], argument: Any) -> Awaitable[Any]:
        found.append(None)
        return run(threads, call, argument)

    monkeypatch.setattr(Threads, "run", counting)
    return found
