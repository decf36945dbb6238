"""The path of an event in docs/how-it-works.md is the one that an event takes."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from redis import Redis

import runnel
from runnel import App, Events, Record
from runnel.core.partition import PartitionState
from runnel.protocol.scripts import folder, sha
from runnel.worker.worker import Worker
from tests.servers import Server
from tests.worker.workers import until

PACKAGE = Path(runnel.__file__).parent
PAGE = PACKAGE.parent / "docs/how-it-works.md"
SCRIPTS = {sha(path.stem): f"lua/{path.name}" for path in folder().glob("*.lua")}

#: Events before those that are watched: the first ones take longer paths.
WARM_UP = 10


class Order(Record):
    order_id: int
    amount: int


class Walk:
    """The modules, and the scripts that the server ran, on one part of the path."""

    def __init__(self, server: Redis) -> None:
        self.files: set[str] = set()
        self._server = server
        server.config_set("slowlog-log-slower-than", 0)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Watch this thread and the server for a while."""
        self._server.slowlog_reset()
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)
        for each in self._server.slowlog_get(100):
            command, *arguments = each["command"].split(b" ")
            if command.upper() == b"EVALSHA":
                self.files.add(SCRIPTS[arguments[0].decode()])

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            self.files.add(f"runnel/{path.relative_to(PACKAGE)}")


def on_the_page(part: str) -> set[str]:
    """The files that the page lists for one part of the path."""
    section = re.search(rf"^### {part}\n(.*?)^##", PAGE.read_text(), re.M | re.S)
    assert section, part
    return set(re.findall(r"^\| \[`[^`]*`\]\(\.\./(.*?)\)", section[1], re.M))


async def committed(states: list[PartitionState], event: str) -> None:
    """Wait until the worker knows that an event is committed, and has done what follows from it."""
    await until(lambda: states[0].checkpoint == event, "commit")
    await asyncio.sleep(0.05)


async def test_an_event_passes_the_files_that_the_page_lists(
    server: Server, states: list[PartitionState], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "runnel")
    # No heartbeat falls into the time that is watched.
    app = App("shop", redis_url=server.url, session_timeout=3600.0, rebalance_delay=0.0)
    orders = app.stream("orders", record=Order, partition_by="order_id", partition_count=1)
    given, finish = asyncio.Queue[int](), asyncio.Queue[None]()

    @app.processor(orders)
    async def printer(events: Events[Order]) -> None:
        async for order in events.records():
            given.put_nowait(order.amount)
            await finish.get()

    with Redis.from_url(server.url) as client:
        send, read, commit = Walk(client), Walk(client), Walk(client)
        for number in range(WARM_UP):
            await orders.send(Order(order_id=1, amount=number))
        with send():
            (sent,) = await orders.send(Order(order_id=1, amount=WARM_UP))

        worker = Worker(app)
        running = asyncio.create_task(worker.run())
        for _ in range(WARM_UP + 1):
            finish.put_nowait(None)
            await given.get()
        await committed(states, sent.id)
        await until(lambda: "(1 of 1)" in caplog.text, "report of the rebalance")
        with read():
            # In another thread, which is not watched.
            (sent,) = await asyncio.to_thread(
                lambda: asyncio.run(orders.send(Order(order_id=1, amount=-1)))
            )
            assert await given.get() == -1
        with commit():
            finish.put_nowait(None)
            await committed(states, sent.id)
        worker.stop.set()
        await running
    read.files -= {"lua/declare.lua", "lua/append.lua"}  # The sender's.
    for walk in (read, commit):
        walk.files.discard("runnel/worker/health.py")  # The beat of the loop, twice a second.
    for part, walk in (("Send", send), ("Read", read), ("Commit", commit)):
        assert walk.files == on_the_page(part), part
