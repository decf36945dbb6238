"""The background loop makes every call, or fails it; no call waits for ever."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runnel.background.background_loop import NAME, BackgroundLoop, Call

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    made = BackgroundLoop()
    made.start()
    yield made
    made.close(5.0)


def made(background: BackgroundLoop, call: Call[Any]) -> Any:
    """The outcome of a call."""
    background.submit(call)
    assert call.waiter.wait(10)
    if call.error is not None:
        raise call.error
    return call.result


async def where() -> tuple[str, str]:
    await asyncio.sleep(0)
    return threading.current_thread().name, VARIABLE.get()


def test_a_call_runs_in_its_thread_with_the_variables_of_the_caller(
    background: BackgroundLoop,
) -> None:
    token = VARIABLE.set("mine")
    try:
        assert made(background, Call(where)) == (NAME, "mine")
    finally:
        VARIABLE.reset(token)
    assert made(background, Call(where)) == (NAME, "nothing")


def test_a_call_that_another_thread_begins_has_the_variables_of_its_own() -> None:
    background = BackgroundLoop()
    token = VARIABLE.set("mine")
    try:
        call = Call(where)
        background.submit(call)  # Begun by the thread of the loop.
        background.start()
        assert call.waiter.wait(10)
    finally:
        VARIABLE.reset(token)
        background.close(5.0)
    assert call.result == (NAME, "mine")


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_exception_of_any_kind_is_the_outcome_of_its_call_alone(
    background: BackgroundLoop, error: type[BaseException]
) -> None:
    async def fail() -> None:
        raise error("mine")

    async def fail_in_a_task() -> None:
        await asyncio.create_task(fail())

    for each in (fail, fail_in_a_task):
        with pytest.raises(error, match="mine"):
            made(background, Call(each))
    assert made(background, Call(where))


def test_user_code_cannot_stop_the_loop_for_others(background: BackgroundLoop) -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()

    made(background, Call(stop))
    assert made(background, Call(where))


def test_a_call_that_nobody_waits_for_is_cancelled(background: BackgroundLoop) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    call = Call(wait)
    background.submit(call)
    assert begun.wait(10)
    background.abandon(call)
    assert cancelled.wait(10)
    assert call.waiter.wait(10)
    assert isinstance(call.error, asyncio.CancelledError)


def test_a_call_that_is_abandoned_before_it_begins_is_not_made() -> None:
    background, begun = BackgroundLoop(), []

    async def begin() -> None:
        begun.append(1)

    call = Call(begin)
    background.submit(call)
    background.abandon(call)
    background.start()
    assert made(background, Call(where))
    background.close(5.0)
    assert not begun


def test_at_the_end_calls_under_way_may_end_and_the_others_are_cancelled() -> None:
    background = BackgroundLoop()
    background.start()
    begun = threading.Semaphore(0)

    async def soon() -> str:
        begun.release()
        while not background._ending:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        return "done"

    async def never() -> None:
        begun.release()
        await asyncio.Event().wait()

    calls: list[Call[Any]] = [Call(soon), Call(never)]
    for each in calls:
        background.submit(each)
        assert begun.acquire(timeout=10)

    background.close(0.5)
    assert all(each.waiter.wait(10) for each in calls)
    assert calls[0].result == "done"
    assert isinstance(calls[1].error, asyncio.CancelledError)
    assert background.over


def test_a_call_after_the_end_fails(background: BackgroundLoop) -> None:
    made(background, Call(where))
    background.close(5.0)
    with pytest.raises(asyncio.CancelledError):
        made(background, Call(where))


def test_without_a_loop_the_calls_get_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the process may open no more files."""

    def fail(_: asyncio.Runner) -> asyncio.AbstractEventLoop:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio.Runner, "get_loop", fail)
    background = BackgroundLoop()
    call = Call(where)
    background.submit(call)
    background.start()
    assert call.waiter.wait(10)
    assert isinstance(call.error, OSError)
    with pytest.raises(OSError, match="Too many"):
        made(background, Call(where))
    background.close(5.0)
