"""Each event loop has its own producer, which is kept while the loop lives and closed with it."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runnel import App, Record, Stream
from runnel.producer.per_loop import PerLoop
from tests.worker.workers import until

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = [
    *("views", "many", "threads", "unnoticed", "dropped", "forgotten", "stopped"),
    *("cancelled", "uvloops", "forks"),
]


class Item(Record):
    number: int


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_that_start_their_own_loops_leave_no_file_open(
    redis_url: str, program: str
) -> None:
    if program == "uvloops" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    # Python warns about forks, and about the loops that the program itself leaves open.
    lenient = program in ("forks", "dropped")
    # redis-py warns of connections to sentinels that only the garbage collector closes.
    lenient |= program == "forgotten" and "sentinel" in redis_url
    strict = [] if lenient else ["-W", "error"]
    done = subprocess.run(
        [sys.executable, *strict, "-m", "tests.integration.loops", program, redis_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    before, after = map(int, done.stdout.split())
    assert before == after


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        started = threading.Event()

        async def serve() -> None:
            self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            started.set()
            await self._stop.wait()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()))
        self._thread.start()
        started.wait()

    async def send(self, stream: Stream[Item], *numbers: int) -> None:
        """Send from that loop, one record after the other."""

        async def work() -> None:
            for number in numbers:
                await stream.send(Item(number=number))

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), self.loop))

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


async def test_loops_that_run_side_by_side_keep_their_own_producers(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    stream = app.stream("items", record=Item, partition_by=lambda _: 0)
    others = [LoopThread() for _ in range(3)]
    try:
        await stream.send(Item(number=0))
        own = app.producer()
        for _ in range(5):
            await asyncio.gather(*(each.send(stream, *range(20)) for each in others))
            await stream.send(Item(number=1))
        assert app.producer() is own
        assert len(app._producers._made) == 4
    finally:
        for each in others:
            each.end()
    assert len(app._producers._made) == 1
    await app.close()


@pytest.mark.only_on("server", "sentinel")
async def test_close_reaches_the_loops_of_other_threads(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    stream = app.stream("items", record=Item, partition_by="number")
    before = len(await redis.client_list())

    async def closed() -> bool:
        return len(await redis.client_list()) <= before

    other = LoopThread()
    try:
        await other.send(stream, 1, 2)
        await stream.send(Item(number=3))
        await app.close()
        await until(closed, "connections stay open")
        await other.send(stream, 4)  # Makes a new producer, as the first send did.
        await app.close()
        await until(closed, "connections stay open")
    finally:
        other.end()


async def test_a_loop_that_hangs_does_not_block_close(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    stream = app.stream("items", record=Item, partition_by="number")
    other, free = LoopThread(), threading.Event()
    try:
        await other.send(stream, 1)
        other.loop.call_soon_threadsafe(free.wait)
        async with asyncio.timeout(20):
            await app.close()
    finally:
        free.set()
        other.end()


class Thing:
    """An object of a loop."""

    closed = False

    async def close(self) -> None:
        self.closed = True

    def abandon(self) -> None:
        self.closed = True


def test_an_object_made_after_a_close_from_another_loop_is_not_closed_by_that_close() -> None:
    things = PerLoop(Thing)

    async def get() -> Thing:
        thing = things.get()
        for _ in range(5):
            await asyncio.sleep(0)
        assert things.get() is thing
        return thing

    with asyncio.Runner() as runner:
        first = runner.run(get())
        asyncio.run(things.close())
        assert first.closed
        gc.collect()
        second = runner.run(get())
        assert second is not first
        assert not second.closed
    assert second.closed
