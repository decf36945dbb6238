"""Time that stands still until it is moved on."""

from __future__ import annotations

import asyncio

import pytest

from runnel.testing.virtual_time import VirtualDeadlines, VirtualTime


async def wait(deadlines: VirtualDeadlines, seconds: float | None, ended: list[object]) -> None:
    try:
        async with deadlines.at(None if seconds is None else deadlines.now() + seconds):
            await asyncio.Event().wait()
    except TimeoutError:
        ended.append(seconds)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_wait_ends_when_time_reaches_it_and_not_before() -> None:
    time = VirtualTime()
    began, ended = time.now, list[object]()
    one, two = VirtualDeadlines(time, "one"), VirtualDeadlines(time, "two")
    tasks = [
        asyncio.create_task(wait(one, 100.0, ended)),
        asyncio.create_task(wait(two, 50.0, ended)),
        asyncio.create_task(wait(two, None, ended)),
        asyncio.create_task(wait(one, -1.0, ended)),
    ]
    await turns()
    assert ended == [-1.0]
    assert (time.next(), time.waiting("one"), time.waiting("two")) == (began + 50, 1, 1)
    time.move_to(began + 49)
    await turns()
    assert ended == [-1.0]
    time.move_to(began + 50)
    await turns()
    assert ended == [-1.0, 50.0]
    assert (time.next(), time.waiting("two"), time.now) == (began + 100, 0, began + 50)
    for each in tasks:
        each.cancel()
    await asyncio.wait(tasks)
    assert time.next() is None


async def test_calls_are_made_in_the_order_of_their_times() -> None:
    time, made = VirtualTime(), list[str]()
    deadlines = VirtualDeadlines(time, "one")
    deadlines.call_later(20, lambda: made.append("second"))
    deadlines.call_later(10, lambda: made.append("first"))
    assert time.waiting("one") == 2
    time.move_to(time.now + 5)
    assert made == []
    time.move_to(time.now + 15)
    assert made == ["first", "second"]
    assert time.waiting("one") == 0


async def test_time_does_not_go_back() -> None:
    time = VirtualTime()
    now = time.now
    time.move_to(now - 10)
    assert time.now == now
    assert time.ms() == int(now * 1000)


async def test_a_wait_that_ends_by_itself_leaves_nothing() -> None:
    time = VirtualTime()
    changes = time.changes
    async with VirtualDeadlines(time, "one").at(time.now + 5):
        assert time.waiting("one") == 1
    assert (time.waiting("one"), time.changes) == (0, changes + 2)


async def test_an_error_inside_a_wait_is_raised_as_it_is() -> None:
    time = VirtualTime()
    with pytest.raises(ZeroDivisionError):
        async with VirtualDeadlines(time, "one").at(time.now + 5):
            raise ZeroDivisionError
    assert time.next() is None
