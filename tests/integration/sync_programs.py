"""Programs without an event loop that send: ``sync_programs.py PROGRAM URL``.

Each prints what it saw. Most run with ``-W error``, so that anything left open ends them with an
error.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys

if sys.argv[1] == "greenlets":
    from gevent import monkey

    monkey.patch_all()

import atexit
import threading

#: Set when the program has seen what it waits for.
seen = threading.Event()
if sys.argv[1] == "waits_at_the_end":
    # Called after Runnel has ended. Without it the thread might end before it can say anything.
    atexit.register(seen.wait, 20)

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from runnel import App, Full, Record, RunnelError
from runnel.background import sync_calls
from runnel.operations import admin
from runnel.protocol.scripts import Scripts


class Item(Record):
    key: int
    number: int


PROGRAM, URL = sys.argv[1:]
#: Slots of the partition of `few`.
SIZE = 4
app = App("sync", redis_url=URL, partition_count=4)
items = app.stream("items", record=Item, partition_by="key")
few = app.stream(
    "few", record=Item, partition_by=lambda _: 0, partition_count=1, partition_size=SIZE
)


@app.on(few)
async def work(item: Item) -> None:
    """Keeps `few` full: nobody runs it."""


def say(text: object) -> None:
    """Print at once, also in a thread while the interpreter ends."""
    os.write(1, f"{text}\n".encode())


def send(number: int, key: int = 0) -> None:
    items.send_sync(Item(key=key, number=number))


def fill() -> None:
    """Fill `few`, whose events a processor needs."""

    async def register() -> None:
        async with app:
            scripts: Scripts = app.producer()._scripts
            await few.send(Item(key=0, number=0))
            await admin.add(scripts, app.processors["work"])

    asyncio.run(register())
    few.send_sync(*(SIZE - 1) * [Item(key=0, number=0)])


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.005)


def waits_for_room() -> bool:
    """Does a send to `few` wait?"""
    try:
        few.send_sync(Item(key=0, number=-1))
    except Full:  # It got its turn: those that wait for room let it pass.
        background = sync_calls._process.background
        return background is not None and len(background._calls) > 0
    raise AssertionError


def script() -> None:
    """One record, and the end."""
    send(1)


def threads(number: int = 16) -> None:
    """Each thread sends its own records in order."""

    def some(key: int) -> None:
        for each in range(20):
            send(each, key)

    working = [threading.Thread(target=some, args=(key,)) for key in range(number)]
    for each in working:
        each.start()
    for each in working:
        each.join()


def crowd() -> None:
    """A thousand threads send at a time."""
    go = threading.Event()

    def one(key: int) -> None:
        go.wait()
        send(0, key)

    threading.stack_size(256 * 1024)
    working = [threading.Thread(target=one, args=(key,)) for key in range(1000)]
    for each in working:
        each.start()
    go.set()
    for each in working:
        each.join()


def in_child(fork: Callable[[], int], end: Callable[[int], NoReturn]) -> None:
    """Send in the parent, then in children while another thread of the parent holds every lock."""
    send(0)
    parent = sync_calls._process.background
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with sync_calls._process.starting, app._producers._lock:
            held.set()
            release.wait()

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait()
    children = []
    for key in range(1, 4):
        child = fork()
        if not child:
            status = 1
            try:
                send(1, key)
                assert sync_calls._process.background is not parent
                status = 0
            finally:
                end(status)
        children.append(child)
    release.set()
    holding.join()
    for each in children:
        assert os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) == 0
    send(1)


def forks() -> None:
    """As a server that loads the application before it forks. The children end as programs do."""
    in_child(os.fork, sys.exit)


def unnoticed_forks() -> None:
    """As uWSGI, whose forks run no hooks of Python."""
    in_child(ctypes.PyDLL(None).fork, os._exit)


def forks_with_uvloop() -> None:
    """As `forks`, if the program has chosen uvloop for all its loops."""
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    forks()
    background = sync_calls._process.background
    assert background is not None
    assert isinstance(background._loop, uvloop.Loop)


def waits_at_the_end() -> None:
    """The process ends while a thread waits for room."""

    def wait() -> None:
        try:
            few.send_sync(Item(key=0, number=1), wait=True)
        except RunnelError as error:
            say(error)
            seen.set()

    fill()
    threading.Thread(target=wait, daemon=True).start()
    until(waits_for_room)


def sends_at_the_end() -> None:
    """A function that is called at the end sends, too."""
    atexit.register(send, 1)
    send(0)


def too_late() -> None:
    """A function that is called after Runnel has ended sends."""
    send(0)
    process = sync_calls._process
    sync_calls._at_exit()
    assert process.background is not None
    assert process.background.over
    try:
        send(1)
    except RunnelError as error:
        say(error)


def interrupted() -> None:
    """Ctrl-C while the main thread waits. What it waited for is not sent later."""
    fill()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        until(waits_for_room)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        few.send_sync(Item(key=0, number=1), wait=True)
    except KeyboardInterrupt:
        say("interrupted")
    background = sync_calls._process.background
    assert background is not None
    assert not background._calls, "it goes on"
    few.send_sync(Item(key=0, number=2), drop_oldest=True)


def signals() -> None:
    """The handler of a signal sends, while the main thread waits in a send."""
    fill()
    main = threading.main_thread().ident
    assert main is not None

    handled = threading.Event()

    def handle(number: int, frame: Any) -> None:
        send(7)
        handled.set()

    signal.signal(signal.SIGUSR1, handle)

    def ask() -> None:
        until(waits_for_room)
        signal.pthread_kill(main, signal.SIGUSR1)

    threading.Thread(target=ask).start()
    while not handled.is_set():
        try:
            few.send_sync(Item(key=0, number=1), wait=0.5)
        except Full:
            continue
        raise AssertionError


def greenlets() -> None:
    """Under gevent: greenlets send at a time, and others go on meanwhile."""
    import gevent

    turns = 0

    def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0.001)

    turning = gevent.spawn(turn)
    sending = [gevent.spawn(send, 0, key) for key in range(100)]
    gevent.joinall(sending, raise_error=True)
    before = turns
    fill()
    with gevent.Timeout(0.05, False):
        few.send_sync(Item(key=0, number=1), wait=True)
        raise AssertionError
    say(turns > before)
    turning.kill()
    # No loop counts as running in a greenlet.
    asyncio.run(items.send(Item(key=0, number=1)))
    send(2)


if __name__ == "__main__":
    globals()[PROGRAM]()
