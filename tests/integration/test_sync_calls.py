"""Code without an event loop sends from threads, forks, greenlets, signals and dying processes."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import traceback
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, LoopRunning, PartitionKeyError, Record, RunnelError, Stream, keys
from runnel.background import background_loop, sync_calls, waiters
from runnel.connection.connect import connect
from runnel.worker.worker import Worker
from tests.primaries import on_each
from tests.servers import Server

ROOT = Path(__file__).parent.parent.parent


class Item(Record):
    key: int
    number: int


def run(program: str, url: str, *options: str) -> tuple[int, str, str]:
    """The exit code and the output of a program."""
    done = subprocess.run(
        [sys.executable, *options, "-m", "tests.integration.sync_programs", program, url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    return done.returncode, done.stdout, done.stderr


async def stored(
    redis: Redis, name: str = "items", partition_count: int = 4
) -> dict[int, list[int]]:
    """The numbers in a stream of the programs, in order for each key."""
    app = App("sync")
    stream: Stream[Item] = app.stream(
        name, record=Item, partition_by="key", partition_count=partition_count
    )
    found: defaultdict[int, list[int]] = defaultdict(list)
    for partition in range(partition_count):
        log = keys.log(stream.spec.prefix(partition))
        for _, fields in await redis.xrange(log):  # type: ignore[union-attr]
            entry: Any = [part for pair in fields.items() for part in pair]  # type: ignore[union-attr]
            item = stream.spec.codec.decode(entry)
            found[item.key].append(item.number)
    return found


async def test_what_a_script_has_sent_is_there_and_nothing_stays_open(
    redis: Redis, redis_url: str
) -> None:
    assert run("script", redis_url, "-W", "error") == (0, "", "")
    assert await stored(redis) == {0: [1]}


async def test_each_thread_sends_in_its_order(redis: Redis, redis_url: str) -> None:
    assert run("threads", redis_url, "-W", "error") == (0, "", "")
    assert await stored(redis) == {key: list(range(20)) for key in range(16)}


async def test_a_thousand_threads_send_at_a_time(redis: Redis, redis_url: str) -> None:
    assert run("crowd", redis_url, "-W", "error") == (0, "", "")
    assert await stored(redis) == {key: [0] for key in range(1000)}


@pytest.mark.parametrize("program", ["forks", "unnoticed_forks", "forks_with_uvloop"])
async def test_a_fork_sends_with_a_loop_of_its_own(
    redis: Redis, redis_url: str, program: str
) -> None:
    if program == "forks_with_uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    # Newer Pythons warn of every fork of a process with threads, and of a choice of loops.
    assert run(program, redis_url, "-W", "ignore::DeprecationWarning") == (0, "", "")
    assert await stored(redis) == {0: [0, 1], 1: [1], 2: [1], 3: [1]}


async def test_a_wait_for_room_does_not_keep_the_process_from_ending(
    redis: Redis, redis_url: str
) -> None:
    code, output, errors = run("waits_at_the_end", redis_url, "-W", "error")
    assert (code, errors) == (0, "")
    assert "the process ends, or what was sent was cancelled" in output


@pytest.mark.only_on("server")
def test_a_server_that_does_not_answer_does_not_keep_the_process_from_ending(
    server: Server,
) -> None:
    program = subprocess.Popen(
        [
            *(sys.executable, "-W", "error", "-c"),
            "import sys, threading\n"
            "sys.argv = ['', 'none', sys.argv[1]]\n"
            "from tests.integration.sync_programs import send\n"
            "send(0)\n"
            "print('sent', flush=True)\n"
            "sys.stdin.readline()\n"
            "threading.Thread(target=send, args=(1,), daemon=True).start()\n",
            server.url,
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "sent\n"
    server.pause()
    program.communicate("\n", timeout=50)
    server.resume()
    assert program.returncode == 0


async def test_what_is_called_at_the_end_of_a_process_may_send(
    redis: Redis, redis_url: str
) -> None:
    assert run("sends_at_the_end", redis_url, "-W", "error") == (0, "", "")
    assert await stored(redis) == {0: [0, 1]}


async def test_after_the_end_a_send_is_refused(redis: Redis, redis_url: str) -> None:
    code, output, errors = run("too_late", redis_url, "-W", "error")
    assert (code, output, errors) == (0, "the process ends: nothing can be sent any more\n", "")
    assert await stored(redis) == {0: [0]}


async def test_what_ctrl_c_interrupts_is_not_sent_later(redis: Redis, redis_url: str) -> None:
    assert run("interrupted", redis_url, "-W", "error") == (0, "interrupted\n", "")
    assert await stored(redis, "few", 1) == {0: [0, 0, 0, 2]}


async def test_a_handler_of_a_signal_sends_while_the_main_thread_waits(
    redis: Redis, redis_url: str
) -> None:
    assert run("signals", redis_url, "-W", "error") == (0, "", "")
    assert await stored(redis) == {0: [7]}


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
async def test_greenlets_send_and_wait_for_one_another_no_more_than_threads(
    redis: Redis, redis_url: str
) -> None:
    assert run("greenlets", redis_url) == (0, "True\n", "")
    found = await stored(redis)
    assert found.pop(0) == [0, 1, 2]
    assert found == {key: [0] for key in range(1, 100)}
    assert await stored(redis, "few", 1) == {0: [0, 0, 0, 0]}


@pytest.fixture
def items(redis: Redis, redis_url: str, app_name: str) -> Any:
    app = App(app_name, redis_url=redis_url)
    return app.stream("items", record=Item, partition_by="key", partition_count=4)


async def test_it_is_refused_where_an_event_loop_runs(items: Stream[Item]) -> None:
    with pytest.raises(LoopRunning, match=r"use `await items\.send\(…\)`$") as raised:
        items.send_sync(Item(key=1, number=1))
    assert isinstance(raised.value, RuntimeError)
    await asyncio.to_thread(items.send_sync, Item(key=1, number=1))
    await items.app.close()


def test_code_that_sends_cannot_wait_for_itself(
    redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that names the key runs in the background loop: in a notebook, too."""
    app = App(app_name, redis_url=redis_url)

    def key(item: Item) -> int:
        stream.send_sync(item)
        return 0

    stream = app.stream("items", record=Item, partition_by=key)
    for notebook in (False, True):
        if notebook:
            monkeypatch.setattr(sync_calls, "_in_a_notebook", lambda: True)
        with pytest.raises(PartitionKeyError, match="an event loop runs in this thread"):
            stream.send_sync(Item(key=1, number=1))
    with app.sync():
        pass


async def test_a_cell_of_a_notebook_may_wait(
    items: Stream[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = SimpleNamespace(kernel=None)
    notebook = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    (sent,) = items.send_sync(Item(key=1, number=1))
    assert sent.id
    monkeypatch.delattr(shell, "kernel")  # IPython in a terminal.
    with pytest.raises(LoopRunning):
        items.send_sync(Item(key=1, number=1))
    await items.app.close()


async def test_an_async_handler_is_told_to_await_and_a_plain_one_may_wait(
    items: Stream[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_calls, "_in_a_notebook", lambda: True)
    app, refused = items.app, list[str]()
    assert isinstance(app, App)
    results = app.stream("results", record=Item, partition_by="key")

    @app.on(items)
    async def asynchronous(item: Item) -> None:
        try:
            results.send_sync(item)
        except LoopRunning as error:
            refused.append(str(error))

    @app.on(items)
    def plain(item: Item) -> None:
        results.send_sync(item)

    await items.send(Item(key=1, number=1))
    await Worker(app).run(burst=True)
    assert refused == [
        "this handler is `async def`, and would stand still while the call waits: use `await "
        "results.send(…)`"
    ]
    (client,) = [connect(app.settings.redis_url)]
    async with client:
        sizes = await on_each(client, "DBSIZE")
        assert sum(sizes)
    await app.close()


def test_an_error_names_the_line_that_sends(redis_url: str, app_name: str) -> None:
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by=lambda _: 1 // 0)
    with pytest.raises(PartitionKeyError) as raised:
        items.send_sync(Item(key=1, number=1))
    functions = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert functions[0] == "test_an_error_names_the_line_that_sends"
    assert raised.value.sent == [None]
    with app.sync():
        pass


def test_a_call_that_is_cancelled_by_others_tells_what_was_sent() -> None:
    async def cancelled() -> None:
        error = asyncio.CancelledError()
        vars(error)["sent"] = ["one", None]
        raise error

    with pytest.raises(RunnelError, match="it may have arrived") as raised:
        sync_calls.run_sync(cancelled, "")
    assert raised.value.sent == ["one", None]


def test_a_process_that_runs_no_threads_is_told_so(
    redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uWSGI without --enable-threads."""
    monkeypatch.setattr(sync_calls, "_process", sync_calls._Process())
    monkeypatch.setattr(background_loop, "start_thread", lambda *_: None)
    for patience in ("START_PATIENCE", "CANCEL_PATIENCE"):
        monkeypatch.setattr(sync_calls, patience, 0.01)
    items = App(app_name, redis_url=redis_url).stream("items", record=Item, partition_by="key")
    with pytest.raises(RunnelError, match="uWSGI runs them with --enable-threads"):
        items.send_sync(Item(key=1, number=1))


def test_when_no_thread_can_be_started_the_next_call_tries_again(
    redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sync_calls, "_process", sync_calls._Process())
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by="key")
    with monkeypatch.context() as patched:
        patched.setattr(background_loop, "start_thread", fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            items.send_sync(Item(key=1, number=1))
    assert items.send_sync(Item(key=1, number=1))
    assert sync_calls._process.background is not None
    sync_calls._process.background.close(5.0)
    # The next one starts another.
    assert items.send_sync(Item(key=1, number=1))
    sync_calls._process.background.close(5.0)


def test_a_thread_that_starts_meanwhile_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of a signal may interrupt the start, and send."""
    process = sync_calls._Process()
    monkeypatch.setattr(sync_calls, "_process", process)
    start, others, losers = waiters.start_thread, list[Any](), list[Any]()

    def interrupted(work: Any, name: str) -> None:
        start(work, name)
        if not others:
            losers.append(work.__self__)
            others.append(None)
            others[0] = sync_calls._start()

    monkeypatch.setattr(background_loop, "start_thread", interrupted)
    assert sync_calls._start() is others[0] is process.background

    async def nothing() -> int:
        return 1

    assert sync_calls.run_sync(nothing, "") == 1
    others[0].close(5.0)
    assert losers[0]._ending
