"""`runnel tail --follow` shows what arrives, outlasts an outage, and ends when it should."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from redis import Redis as SyncRedis

from runnel.cli import following
from tests.cli.commands import ORDERS
from tests.cli.conftest import GOOD, ROOT, Run
from tests.servers import Server

COMMAND = [sys.executable, "-m", "runnel", "tail", ORDERS, "--follow"]


@contextmanager
def followed(url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "--redis-url", url, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def number(process: subprocess.Popen[str]) -> int:
    """The order number of the next event that is shown."""
    assert process.stdout is not None
    found: int = json.loads(process.stdout.readline())["record"]["order_id"]
    return found


def said(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def send(run: Run, url: str, number: int) -> None:
    done = run("send", ORDERS, GOOD.replace("1,", f"{number},", 1), url=url)
    assert done.code == 0, done.stderr


def test_events_are_shown_as_they_arrive_until_ctrl_c(
    run: Run, admin: SyncRedis, redis_url: str
) -> None:
    send(run, redis_url, 1)
    with followed(redis_url, "--json") as process:
        assert number(process) == 1
        for each in range(2, 20):
            send(run, redis_url, each)
            assert number(process) == each
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout, stderr) == (0, "", "")
    names: list[Any] = admin.keys()
    assert {each.rpartition(b":")[2] for each in names} == {b"log", b"meta", b"producers"}


def test_only_new_events_of_a_key_are_shown(run: Run, redis_url: str) -> None:
    send(run, redis_url, 7)
    with followed(redis_url, "--json", "--key", "7", "-n", "1") as process:
        assert number(process) == 7
        send(run, redis_url, 8)
        send(run, redis_url, 7)
        assert number(process) == 7


def test_an_outage_is_said_and_outlasted(run: Run) -> None:
    with Server(appendonly="yes", appendfsync="always") as server:
        send(run, server.url, 1)
        with followed(server.url, "--json") as process:
            assert number(process) == 1
            server.stop()
            assert said(process.stderr).startswith("waiting: No Redis at ")
            server.start()
            send(run, server.url, 2)
            assert number(process) == 2
            assert said(process.stderr).startswith("Redis answers again, after ")


def test_a_server_that_has_forgotten_events_is_followed_on(run: Run) -> None:
    with Server(appendonly="no", save="") as server:
        with SyncRedis.from_url(server.url) as client:
            ahead = f"{1 << 50}-0"
            client.xadd("runnel:{shop:orders:0}:orders:log", {"json": GOOD}, ahead)
        with followed(server.url, "--json") as process:
            assert number(process) == 1
            server.stop()
            assert said(process.stderr).startswith("note: ")
            assert said(process.stderr).startswith("waiting: ")
            server.start()
            assert f"has lost all its events; the last one here was {ahead}" in said(process.stderr)
            with SyncRedis.from_url(server.url) as client:
                fresh = {"json": GOOD.replace("1,", "2,", 1)}
                client.xadd("runnel:{shop:orders:0}:orders:log", fresh, "5-0")
            assert number(process) == 2


def test_it_ends_when_nobody_reads_although_nothing_arrives(run: Run, redis_url: str) -> None:
    assert following.BLOCK_MS <= 1000
    send(run, redis_url, 1)
    with followed(redis_url, "--json") as process:
        assert number(process) == 1
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stdout = None
