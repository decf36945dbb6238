"""Threads for plain functions: each call gets one, and none holds up another caller."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
import warnings
from typing import Any

import pytest

from runnel.handlers import threads
from runnel.handlers.threads import IDLE, Threads
from tests.forking import exit_after

WHO = contextvars.ContextVar("WHO", default="nobody")


def living() -> list[str]:
    """Names of the threads that were made here."""
    return [each.name for each in threading.enumerate() if each.daemon]


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_calls_that_wait_for_each_other_all_have_a_thread() -> None:
    pool, together = Threads(), threading.Barrier(40)
    calls = [pool.run(lambda _: together.wait(10), None) for _ in range(40)]
    assert sorted(await asyncio.gather(*calls)) == list(range(40))


async def test_beyond_the_most_they_take_turns() -> None:
    pool, running, seen = Threads(2), 0, []
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal running
        with lock:
            running += 1
            seen.append(running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1
        return number

    assert await asyncio.gather(*(pool.run(work, n) for n in range(50))) == list(range(50))
    assert max(seen) <= 2


async def test_asyncios_own_threads_may_all_be_taken() -> None:
    stop = threading.Event()
    loop = asyncio.get_running_loop()
    others = [loop.run_in_executor(None, stop.wait, 10) for _ in range(40)]
    try:
        assert await Threads().run(str, 7) == "7"
    finally:
        stop.set()
        await asyncio.gather(*others)


async def test_a_thread_is_named_like_the_task_and_has_its_context() -> None:
    WHO.set("me")
    pool = Threads()

    def name_and_value(_: object) -> tuple[str, str]:
        return threading.current_thread().name, WHO.get()

    task = asyncio.create_task(pool.run(name_and_value, None), name="mail/3")
    assert await task == ("mail/3", "me")
    await until(lambda: IDLE in living())


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), GeneratorExit()])
async def test_a_call_raises_in_the_caller_and_its_thread_continues(error: BaseException) -> None:
    pool = Threads(1)

    def fail(_: object) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await pool.run(fail, None)
    assert raised.value is error
    assert await pool.run(str, 1) == "1"


async def test_a_cancelled_call_is_not_begun_and_one_that_runs_holds_up_no_caller() -> None:
    pool, go, began = Threads(1), threading.Event(), []

    def work(number: int) -> None:
        began.append(number)
        go.wait(10)

    first = asyncio.create_task(pool.run(work, 1))
    await until(lambda: began)
    second = asyncio.create_task(pool.run(work, 2))
    await asyncio.sleep(0)
    for task in (first, second):
        task.cancel()
    await asyncio.wait((first, second), timeout=5)
    assert first.cancelled()
    assert second.cancelled()
    go.set()
    assert await pool.run(str, 3) == "3"
    assert began == [1]


async def test_unused_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "UNUSED", 0.01)
    pool, together = Threads(), threading.Barrier(5)
    await asyncio.gather(*(pool.run(lambda _: together.wait(10), None) for _ in range(5)))
    await until(lambda: pool._count == 0)
    assert await pool.run(str, 1) == "1"


async def test_the_caller_gets_an_error_if_the_system_has_no_thread_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = Threads()

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            await pool.run(str, 1)
    assert await pool.run(str, 2) == "2"


def test_a_call_that_never_returns_keeps_no_process() -> None:
    program = (
        "import asyncio, threading\n"
        "from runnel.handlers.threads import Threads\n"
        "async def main():\n"
        "    began = threading.Event()\n"
        "    task = asyncio.create_task(Threads().run(\n"
        "        lambda _: (began.set(), threading.Event().wait()), None))\n"
        "    while not began.is_set():\n"
        "        await asyncio.sleep(0.01)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


async def test_a_fork_has_threads_of_its_own() -> None:
    shared = Threads()
    assert await shared.run(str, 1) == "1"
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if not child:
        exit_after(lambda: asyncio.run(asyncio.wait_for(shared.run(str, 2), 10)))
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await shared.run(str, 3) == "3"
