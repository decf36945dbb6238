"""Threads wake the loop once for all of them, and let it run before them."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import Any

import pytest

from runnel.delivery import loop_waker
from runnel.delivery.loop_waker import LoopWaker, waker_of


async def test_all_calls_are_made_in_the_loop_in_order_with_one_wake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, waker = asyncio.get_running_loop(), LoopWaker(asyncio.get_running_loop())
    made: list[int] = []
    threads: set[int] = set()
    woken = 0
    wake = loop.call_soon_threadsafe

    def counting(call: Any) -> None:
        nonlocal woken
        woken += 1
        wake(call)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counting)

    def note(number: int) -> None:
        made.append(number)
        threads.add(threading.get_ident())

    def work() -> None:
        for number in range(10):
            waker.call(lambda number=number: note(number), 0.0)  # type: ignore[misc]

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()  # The loop cannot run meanwhile.
    assert woken == 1
    await asyncio.sleep(0.01)
    assert made == [*range(10)]
    assert threads == {threading.get_ident()}
    waker.call(lambda: note(10), 0.0)
    assert woken == 2
    await asyncio.sleep(0.01)
    assert made[-1] == 10


async def test_a_thread_waits_for_a_loop_that_was_woken_and_has_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_waker, "LONGEST_WAIT", 20.0)
    waker = LoopWaker(asyncio.get_running_loop())
    said: list[str] = []
    began = threading.Event()

    def work() -> None:
        waker.let_run(100.0)  # Nothing was asked of the loop.
        waker.call(lambda: said.append("loop"), 100.0)
        waker.let_run(100.0 + loop_waker.PATIENCE / 2)  # It was asked just now.
        began.set()
        waker.let_run(101.0)
        said.append("thread")

    thread = threading.Thread(target=work)
    thread.start()
    assert began.wait(10)
    thread.join(0.05)
    assert said == []
    await asyncio.to_thread(thread.join)
    assert said == ["loop", "thread"]


async def test_a_thread_does_not_wait_for_ever_for_a_loop_that_is_blocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_waker, "LONGEST_WAIT", 0.01)
    waker = LoopWaker(asyncio.get_running_loop())
    waker.call(lambda: None, 0.0)
    thread = threading.Thread(target=waker.let_run, args=(time.monotonic(),))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


async def test_a_call_that_fails_is_reported_and_the_others_are_made() -> None:
    loop, reported = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    waker, made = LoopWaker(loop), list[int]()

    def fail() -> None:
        raise LookupError("on purpose")

    waker.call(fail, 0.0)
    waker.call(lambda: made.append(1), 0.0)
    await asyncio.sleep(0.01)
    assert [type(each) for each in reported] == [LookupError]
    assert made == [1]


def test_each_loop_has_its_own_and_none_is_kept_once_its_loop_is_gone() -> None:
    async def own() -> LoopWaker:
        loop = asyncio.get_running_loop()
        assert waker_of(loop) is waker_of(loop)
        return waker_of(loop)

    first, second = asyncio.run(own()), asyncio.run(own())
    assert first is not second
    first.call(lambda: None, 0.0)  # To a loop that is closed.
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None
