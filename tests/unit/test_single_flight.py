"""Callers that need the same at the same time share one run of it, and its error."""

from __future__ import annotations

import asyncio

import pytest

from runnel.errors import Mismatch
from runnel.producer.single_flight import SingleFlight


class Work:
    """Counts its runs, which end when `over` is set, with `error` if there is one."""

    def __init__(self) -> None:
        self.runs = 0
        self.over = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.runs += 1
        await self.over.wait()
        if self.error is not None:
            raise self.error


async def begin(single_flight: SingleFlight, work: Work, *names: str) -> list[asyncio.Task[None]]:
    """One caller for each name, who waits."""
    callers = [asyncio.create_task(single_flight.run(name, work)) for name in names]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return callers


async def test_callers_of_one_name_share_a_run_and_a_later_one_starts_another() -> None:
    single_flight, work = SingleFlight(), Work()
    callers = await begin(single_flight, work, "a", "a", "b")
    assert work.runs == 2
    work.over.set()
    await asyncio.gather(*callers)
    await single_flight.run("a", work)
    assert work.runs == 3


async def test_each_caller_gets_a_copy_of_the_error_with_its_cause() -> None:
    single_flight, work = SingleFlight(), Work()
    work.error, cause = Mismatch("other count", {"stored": "4"}), OSError("why")
    work.error.__cause__ = cause
    callers = await begin(single_flight, work, "a", "a")
    work.over.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert work.runs == 1
    assert len({id(each) for each in (work.error, *errors)}) == 3
    for error in errors:
        assert isinstance(error, Mismatch)
        assert (error.details, error.__cause__) == ({"stored": "4"}, cause)
    with pytest.raises(Mismatch):
        await single_flight.run("a", work)
    assert work.runs == 2, "an error is not kept"


async def test_a_cancelled_caller_leaves_the_run_to_the_others() -> None:
    single_flight, work = SingleFlight(), Work()
    first, *others = await begin(single_flight, work, "a", "a", "a")
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    (late,) = await begin(single_flight, work, "a")
    work.over.set()
    await asyncio.gather(*others, late)
    assert work.runs == 1


async def test_a_caller_after_an_abandoned_run_starts_a_new_one() -> None:
    single_flight, started = SingleFlight(), []

    async def work() -> None:
        started.append(asyncio.current_task())
        await asyncio.sleep(3600 if len(started) == 1 else 0)

    waiting = [asyncio.create_task(single_flight.run("name", work)) for _ in range(3)]
    await asyncio.sleep(0)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    await asyncio.gather(*(single_flight.run("name", work) for _ in range(3)))
    assert len(started) == 2
    assert started[0] is not None
    assert started[0].cancelled()
