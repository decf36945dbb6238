"""An app whose worker does not end, for the reason in `$KIND`. It prints "begun" when that
begins."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import logging
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runnel import App, Events, Record

LONG = 300.0
KIND = os.environ.get("KIND", "")
app = App(
    "stubborn",
    session_timeout=1.0,
    rebalance_delay=0.0,
    shutdown_timeout=0.5,
    retries=0,
    partition_count=1,
)


class Item(Record):
    number: int = 0


items = app.stream("items", record=Item, partition_by="number")


def begun() -> None:
    print("begun", file=sys.stderr, flush=True)


async def swallow() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(LONG)


def patient() -> None:
    time.sleep(LONG)


def greedy() -> None:
    """Sleep in C and keep the lock of the interpreter."""
    ctypes.PyDLL(None).sleep(int(LONG))


if KIND == "late":

    @app.on(items, name="work", timeout=0.01, exception_policy="IGNORE")
    async def work_too_long(item: Item) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(LONG)
        begun()
        await swallow()

elif KIND == "function":

    @app.on(items, name="work")
    def work_plainly(item: Item) -> None:
        begun()
        patient()

elif KIND == "again":

    @app.processor(items, name="work")
    async def work_for_ever(events: Events[Item]) -> None:
        while True:
            async for _ in events:
                begun()

elif KIND == "halt":

    @app.on(items, name="work", exception_policy="HALT")
    async def work_and_fail(item: Item) -> None:
        begun()
        threading.Thread(target=patient, name="left-behind").start()
        raise ValueError("on purpose")

elif KIND in ("timer", "task", "once"):

    async def endless() -> None:
        begun()
        await (swallow() if KIND == "timer" else asyncio.sleep(LONG))

    (app.timer(interval=0.01) if KIND == "timer" else app.task())(endless)
else:

    @app.on(items, name="work")
    async def work(item: Item) -> None:
        await DOES[KIND]()


async def fork() -> None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(LONG,))
    child.start()
    child.terminate()
    await asyncio.to_thread(child.join)
    print(f"the child ended with {child.exitcode}", file=sys.stderr, flush=True)
    begun()


async def slow() -> None:
    begun()
    await asyncio.sleep(LONG)


async def to_thread() -> None:
    begun()
    await asyncio.to_thread(patient)


async def own_thread() -> None:
    threading.Thread(target=patient, name="my-own").start()
    begun()


async def own_task() -> None:
    app.held = asyncio.create_task(swallow())  # type: ignore[attr-defined]
    begun()


async def executor() -> None:
    ThreadPoolExecutor(thread_name_prefix="my-pool").submit(patient)
    begun()


async def executor_of_c() -> None:
    ThreadPoolExecutor(thread_name_prefix="my-pool").submit(time.sleep, LONG)
    begun()


async def at_exit() -> None:
    atexit.register(patient)
    begun()


async def swallowing() -> None:
    begun()
    await swallow()


async def blocking() -> None:
    begun()
    patient()


async def holding() -> None:
    heard = threading.Event()

    def hear(record: logging.LogRecord) -> bool:
        heard.set()
        return True

    logging.getLogger("runnel.worker").addFilter(hear)
    begun()
    heard.wait()  # Until the signal: it is not handled while the lock is held.
    greedy()


async def leaving() -> None:
    begun()
    sys.exit(3)


async def leaving_from_a_task() -> None:
    begun()
    await asyncio.create_task(leaving())


async def leaving_later() -> None:
    begun()
    asyncio.get_running_loop().call_later(0.05, sys.exit, 3)


async def interrupting() -> None:
    begun()
    raise KeyboardInterrupt


async def tidy() -> None:
    atexit.register(print, "tidied up", file=sys.stderr, flush=True)
    begun()


DOES: dict[str, Any] = {
    "fork": fork,
    "slow": slow,
    "to_thread": to_thread,
    "own thread": own_thread,
    "own task": own_task,
    "executor": executor,
    "executor of c": executor_of_c,
    "at exit": at_exit,
    "swallow": swallowing,
    "block": blocking,
    "hold": holding,
    "exit": leaving,
    "exit in a task": leaving_from_a_task,
    "exit later": leaving_later,
    "interrupt": interrupting,
    "tidy": tidy,
}
