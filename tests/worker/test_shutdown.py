"""The process of a worker ends whatever runs in it, and logs what was stuck."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runnel import keys
from tests.servers import Server
from tests.worker.stubborn import items
from tests.worker.stubborn_worker import ENDS, Stubborn
from tests.worker.workers import ROOT, until

Start = Callable[..., Stubborn]

#: The beginnings of the lines that name what is stuck.
NAMED = re.compile("ended by force with exit code|cut off, because shutdown_timeout")
CURRENT_EVENT = "processor work, partition 0, event"


@pytest.fixture
def plain_loop(tmp_path: Path) -> str:
    """A folder to import from, where there is no uvloop."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "uvloop.py").write_text("raise ImportError\n")
    return str(folder)


@pytest.mark.fault(7)
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("function", (CURRENT_EVENT, "thread work/0 in patient (stubborn.py:")),
        ("to_thread", (CURRENT_EVENT, "in patient (stubborn.py:")),
        ("own thread", ("thread my-own in patient (stubborn.py:",)),
        ("own task", ("asyncio task swallow (stubborn.py:",)),
        ("executor", ("thread my-pool_0 in patient (stubborn.py:",)),
        ("executor of c", ("thread my-pool_0 in run (thread.py:",)),
        ("at exit", ("the main thread in patient (stubborn.py:",)),
        ("swallow", (CURRENT_EVENT, "asyncio task work (stubborn.py:")),
        ("late", ("asyncio task work_too_long (stubborn.py:",)),
        ("block", (CURRENT_EVENT, "the event loop, blocked in patient (stubborn.py:")),
        ("timer", ("task endless",)),
        ("task", ("cut off, because shutdown_timeout is over: task endless",)),
    ],
)
async def test_the_process_ends_and_names_what_was_stuck(
    start: Start, kind: str, names: tuple[str, ...]
) -> None:
    worker = start(kind)
    await worker.send()
    await worker.begun()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.said
    # The last such line: the process may print more at its end.
    lines = [line for line in worker.said.splitlines() if NAMED.search(line)]
    assert all(each in lines[-1] for each in names), worker.said


@pytest.mark.parametrize("kind", ["to_thread", "swallow", "block"])
async def test_the_process_ends_on_the_loop_of_asyncio_too(
    start: Start, plain_loop: str, kind: str
) -> None:
    worker = start(kind, path=plain_loop)
    await worker.send()
    await worker.begun()
    worker.process.send_signal(signal.SIGINT)
    assert worker.ended() == 0
    assert CURRENT_EVENT in worker.said.splitlines()[-1]


async def test_a_c_call_that_holds_the_interpreter_does_not_keep_the_process(start: Start) -> None:
    worker = start("hold")
    await worker.send()
    await worker.begun()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.ended() == 1
    assert "in greedy" in worker.said


async def test_halt_ends_with_1_though_a_thread_is_stuck(start: Start) -> None:
    worker = start("halt")
    await worker.send()
    assert worker.ended() == 1
    assert "exit code 1" in worker.said.splitlines()[-1]
    assert "thread left-behind in patient" in worker.said


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("plain", [True, False])
async def test_a_second_signal_ends_a_blocked_loop_at_once(
    start: Start, plain_loop: str, plain: bool, first: signal.Signals
) -> None:
    worker = start("block", "--shutdown-timeout", "300", path=plain_loop if plain else "")
    await worker.send()
    await worker.begun()
    worker.process.send_signal(first)
    await until(lambda: "again to end at once" in worker.said, "the signal was heard")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.ended() == 130


async def test_an_idle_worker_logs_its_signal_before_it_ends(start: Start) -> None:
    worker = start("tidy")
    await until(lambda: "claimed" in worker.said, "it owns its partition")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.ended() == 0
    assert "stopping: finishing what is running" in worker.said


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, signal\n"
        "from runnel.worker import shutdown\n"
        f"shutdown.SAME_SIGNAL = {ENDS}\n"
        "async def main():\n"
        "    stop = asyncio.Event()\n"
        "    watcher = shutdown.Shutdown(300.0, lambda: [])\n"
        "    watcher.on_signals(stop.set)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    await stop.wait()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=ENDS,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("away", [Server.kill, Server.pause])
async def test_an_idle_worker_does_not_wait_for_a_redis_that_is_away(
    tmp_path: Path, away: Callable[[Server], None]
) -> None:
    with Server(appendonly="no") as server:
        worker = Stubborn(server.url, "tidy", tmp_path, "--shutdown-timeout", "300")
        try:
            await until(lambda: "claimed" in worker.said, "it holds its partition")
            away(server)
            worker.process.send_signal(signal.SIGTERM)
            assert worker.ended() == 0
        finally:
            worker.process.kill()
            if server.running:
                server.resume()
    assert "nothing was unfinished" in worker.said
    assert "cut off" not in worker.said


async def test_a_current_event_has_the_whole_timeout_while_redis_is_away(tmp_path: Path) -> None:
    with Server(appendonly="no") as server:
        worker = Stubborn(server.url, "swallow", tmp_path)
        try:
            await worker.send()
            await worker.begun()
            server.kill()
            worker.process.send_signal(signal.SIGTERM)
            assert worker.ended() == 0
        finally:
            worker.process.kill()
    assert CURRENT_EVENT in worker.said.splitlines()[-1]


async def test_a_worker_ends_that_has_not_reached_redis(tmp_path: Path) -> None:
    with Server(appendonly="no") as server:
        server.pause()
        worker = Stubborn(server.url, "tidy", tmp_path, "--shutdown-timeout", "300")
        try:
            await until(lambda: is_connected(server.port), "it waits for an answer")
            worker.process.send_signal(signal.SIGTERM)
            assert worker.ended() == 0
        finally:
            worker.process.kill()
            server.resume()


def is_connected(port: int) -> bool:
    """Is there an established connection to this port? The server may not have noticed it."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(each[2].endswith(f":{port:04X}") and each[3] == "01" for each in lines)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("exit", 3), ("exit in a task", 3), ("exit later", 3), ("interrupt", 130)],
)
async def test_user_code_may_end_the_process_with_its_code(
    redis: Redis, start: Start, kind: str, code: int
) -> None:
    worker = start(kind)
    await worker.send()
    assert worker.ended() == code
    assert "by force" not in worker.said
    sessions = keys.sessions(keys.group("stubborn", "items", "work"))
    assert await redis.zcard(sessions) == 0, "it has left the group"


@pytest.mark.parametrize(("kind", "released"), [("slow", b"1"), ("swallow", b"0")])
async def test_what_is_cut_off_is_released_if_its_handler_has_ended(
    redis: Redis, start: Start, kind: str, released: bytes
) -> None:
    worker = start(kind)
    await worker.send()
    await worker.begun()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.ended() == 0
    state = keys.state(items.spec.prefix(0), "work")
    assert await redis.hget(state, "released") == released, "the next claim counts no death"
    assert await redis.hget(state, "checkpoint") == b"0-0", "the event is still to be processed"


async def test_a_handler_that_asks_for_ever_does_not_keep_the_process_alive(start: Start) -> None:
    worker = start("again")
    await worker.send()
    await worker.begun()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.ended() == 0
    assert "by force" not in worker.said


@pytest.mark.parametrize("burst", [True, False])
async def test_a_normal_end_is_left_alone(start: Start, burst: bool) -> None:
    worker = start("tidy", *(["--burst"] if burst else []))
    if not burst:
        await worker.send()
        await worker.begun()
        worker.process.send_signal(signal.SIGTERM)
    assert worker.ended() == 0
    assert "by force" not in worker.said
    if not burst:
        assert worker.said.splitlines()[-1] == "tidied up"
