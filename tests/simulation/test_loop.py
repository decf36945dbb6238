"""The event loop of the simulation: time, order, and the life of a process."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.simulation.loop import Livelock, Process, SimLoop


@pytest.fixture
def loop() -> SimLoop:
    return SimLoop()  # type: ignore[abstract]


def ticking(loop: SimLoop, process: Process) -> list[float]:
    """Runs a program that ticks every second; returns the list of the times of its ticks."""
    seen: list[float] = []

    async def main() -> None:
        while True:
            await asyncio.sleep(1)
            seen.append(loop.time())

    loop.spawn(process, main)
    return seen


def test_virtual_hours_take_no_real_time_and_timeouts_expire(loop: SimLoop) -> None:
    seen = []

    async def main() -> None:
        try:
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append(loop.time())

    loop.spawn(Process("it"), main)
    loop.run(4000)
    assert seen == [3600]
    assert loop.time() == 4000


def test_a_paused_process_runs_due_callbacks_after_it_resumes(loop: SimLoop) -> None:
    it, other = Process("it"), Process("other")
    seen, others = ticking(loop, it), ticking(loop, other)
    loop.run(2.5)
    loop.pause(it)
    loop.run(5.5)
    assert seen == [1, 2]
    loop.resume(it)
    loop.run(6.0)
    assert seen == [1, 2, 5.5]
    assert others == [1, 2, 3, 4, 5, 6]


def test_a_killed_process_never_runs_again_and_ends_no_other(loop: SimLoop) -> None:
    it, other = Process("it"), Process("other")
    seen, others = ticking(loop, it), ticking(loop, other)
    loop.run(2.5)
    loop.kill(it)
    loop.resume(it)
    loop.run(5.0)
    assert (seen, others) == ([1, 2], [1, 2, 3, 4, 5])
    loop.dispose([it, other])
    assert all(task.done() for process in (it, other) for task in process.tasks)


def test_a_killed_process_that_waits_for_a_finished_future_can_still_be_disposed_of(
    loop: SimLoop,
) -> None:
    it, future = Process("it"), loop.create_future()

    async def main() -> None:
        await future

    loop.spawn(it, main)
    loop.run(1.0)
    loop.kill(it)
    future.set_result(None)
    loop.run(2.0)
    loop.dispose([it])
    assert it.tasks[0].done()


def test_tasks_hash_by_their_number_and_not_by_their_address(loop: SimLoop) -> None:
    async def nothing() -> None: ...

    process = Process("it")
    for _ in range(3):
        loop.spawn(process, nothing)
    assert [hash(task) for task in process.tasks] == [1, 2, 3]
    loop.run(1.0)


def test_a_program_that_loops_without_time_passing_raises_livelock(loop: SimLoop) -> None:
    async def main() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    process = Process("it")
    loop.spawn(process, main)
    with pytest.raises(Livelock, match="the last of it"):
        loop.run(1.0)
    loop.kill(process)
    loop.abandon()
