"""A stopwatch calls if a handler has an event for too long, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from runnel.delivery.stopwatch import Stopwatch
from tests.simulation.loop import Process, SimLoop


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run to the end."""
    loop = SimLoop()  # type: ignore[abstract]
    loop.spawn(Process("it"), work)
    loop.run(100.0)
    assert not loop.unhandled


def test_an_event_that_is_finished_in_time_is_not_late() -> None:
    late: list[float] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        watch = Stopwatch(2.0, lambda: late.append(loop.time()))
        for _ in range(5):
            watch.start()
            await asyncio.sleep(1.5)
            assert watch.stop() == 1.5
        assert watch.stop() is None
        await asyncio.sleep(10.0)

    run(work)
    assert not late


def test_it_calls_once_the_time_is_over_counted_from_the_start_of_this_event() -> None:
    late: list[float] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        watch = Stopwatch(2.0, lambda: late.append(loop.time()))
        watch.start()
        await asyncio.sleep(1.5)
        watch.stop()
        watch.start()
        await asyncio.sleep(10.0)
        assert watch.stop() == 10.0

    run(work)
    assert late == [3.5]


def test_a_closed_one_does_not_call() -> None:
    late: list[float] = []

    async def work() -> None:
        watch = Stopwatch(2.0, lambda: late.append(0.0))
        watch.start()
        watch.close()
        await asyncio.sleep(10.0)

    run(work)
    assert not late
