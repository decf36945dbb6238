"""A fork of a worker's process that comes back from user code ends there; its parent goes on."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runnel import Events
from runnel.connection.connect import connect
from tests.forking import exit_after
from tests.worker.inside import Item, Ledger
from tests.worker.totals import run_to_end

NUMBERS = range(10)


def leave() -> None:
    sys.exit(0)


def fail() -> None:
    raise ValueError("of the child")


def come_back() -> None:
    """Does nothing."""


class Forking:
    """Forks with one event, and keeps what each process has processed."""

    def __init__(self, file: Path, ledger: Ledger, in_child: Callable[[], None]) -> None:
        self._file, self._ledger, self._in_child = file, ledger, in_child
        self.child = 0

    def call(self, number: int) -> None:
        """Handle an event."""
        if number == 2:
            with warnings.catch_warnings(action="ignore"):
                child = os.fork()
            if not child:
                self._in_child()
            self.child = child
        with self._file.open("a") as lines:
            lines.write(f"{os.getpid()} {number}\n")
        self._ledger.seen.append(number)

    def of(self, process: int) -> list[int]:
        """What this process has processed."""
        lines = [line.split() for line in self._file.read_text().splitlines()]
        return [int(number) for of, number in lines if int(of) == process]


def each(ledger: Ledger, forking: Forking, concurrency: int = 1) -> None:
    @ledger.app.on(ledger.items, name="work", concurrency=concurrency)
    async def work(item: Item) -> None:
        forking.call(item.number)


def beside_others(ledger: Ledger, forking: Forking) -> None:
    each(ledger, forking, concurrency=10)


def in_thread(ledger: Ledger, forking: Forking) -> None:
    @ledger.app.on(ledger.items, name="work")
    def work(item: Item) -> None:
        forking.call(item.number)


def iterating(ledger: Ledger, forking: Forking) -> None:
    @ledger.app.processor(ledger.items, name="work")
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            forking.call(item.number)


def with_lists(ledger: Ledger, forking: Forking) -> None:
    @ledger.app.processor(ledger.items, name="work")
    async def work(events: Events[Item]) -> None:
        async for items in events.take(1).records():
            forking.call(items[0].number)


@pytest.mark.parametrize("in_child", [come_back, leave, fail])
@pytest.mark.parametrize("declare", [each, beside_others, in_thread, iterating, with_lists])
async def test_it_ends_and_its_parent_goes_on(
    redis: Redis,
    ledger: Ledger,
    tmp_path: Path,
    declare: Callable[[Ledger, Forking], None],
    in_child: Callable[[], None],
) -> None:
    forking = Forking(tmp_path / "calls", ledger, in_child)
    declare(ledger, forking)
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    _, status = await asyncio.to_thread(os.waitpid, forking.child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert forking.of(forking.child) == ([2] if in_child is come_back else [])
    assert forking.of(os.getpid()) == sorted(ledger.seen) == [*NUMBERS]


async def test_it_ends_when_it_waits_and_takes_nothing_from_its_parent(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Its event loop is that of its parent, which has the events and the connections."""
    children = list[int]()

    @ledger.app.on(ledger.items, name="work")
    async def work(item: Item) -> None:
        if item.number == 2:
            with warnings.catch_warnings(action="ignore"):
                children.append(os.fork())
            if not children[-1]:
                future = asyncio.Future[None](loop=loop)
                loop.call_soon(future.set_result, None)
                await future
        ledger.seen.append(item.number)

    loop = asyncio.get_running_loop()
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    _, status = await asyncio.to_thread(os.waitpid, children[0], 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert ledger.seen == [*NUMBERS]
    assert "does not answer" not in caplog.text


@pytest.mark.parametrize("comes_back", [False, True])
async def test_it_may_have_a_worker_of_its_own(
    redis: Redis, ledger: Ledger, comes_back: bool
) -> None:
    """A child that has an event loop of its own, as multiprocessing may start one."""
    children = list[int]()

    async def run_a_worker() -> None:
        own = Ledger(ledger.app.name, ledger.url)
        own.processor()
        async with connect(own.url) as client:
            await run_to_end(client, own)

    @ledger.app.on(ledger.items, name="work")
    def work(item: Item) -> None:
        if item.number == 2 and not children:
            with warnings.catch_warnings(action="ignore"):
                children.append(os.fork())
            if not children[-1]:
                if not comes_back:
                    exit_after(lambda: asyncio.run(run_a_worker()))
                asyncio.run(run_a_worker())
            raise ValueError("tried again here or there")

    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    _, status = await asyncio.to_thread(os.waitpid, children[0], 0)
    assert os.waitstatus_to_exitcode(status) == comes_back
