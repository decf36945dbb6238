"""The programs of docs/sending.md run as they are there, with real servers in front of them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from redis.asyncio import Redis

from runnel import App, Record, keys
from tests.servers import free_port

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs/sending.md"
ORDER = {"order_id": 1, "created_at": "2026-11-23T12:00:09Z", "amount": 99}

#: A file that sends when it is imported, as some applications do, before the server forks.
PRELOADED = """
from datetime import UTC, datetime
from example import Order, orders
from shop_flask import web

orders.send_sync(Order(order_id=0, created_at=datetime.now(UTC), amount=0))
"""


#: gunicorn forgets SIGTERM in a worker that is still starting.
GUNICORN = """
def post_worker_init(worker):
    open(f"ready.{worker.pid}", "w").close()
"""


class Order(Record):
    order_id: int
    created_at: datetime
    amount: int


def blocks() -> list[str]:
    """The Python blocks of the page."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)


@pytest.fixture
def folder(tmp_path: Path, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the programs of the page and the example of the README."""
    for block in blocks():
        name = block.partition("\n")[0].removeprefix("# ")
        if name.endswith(".py"):
            (tmp_path / name).write_text(block)
    (tmp_path / "example.py").write_text((ROOT / "examples/example.py").read_text())
    (tmp_path / "preloaded.py").write_text(PRELOADED)
    (tmp_path / "gunicorn.conf.py").write_text(GUNICORN)
    monkeypatch.setenv("RUNNEL_REDIS_URL", redis_url)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    return tmp_path


async def sent(redis: Redis) -> list[int]:
    """The numbers of all orders in Redis."""
    app = App("myapp")
    spec = app.stream("orders", record=Order, partition_by="order_id").spec
    found = []
    for partition in range(spec.partition_count):
        entries: Any = await redis.xrange(keys.log(spec.prefix(partition)))
        for _, fields in entries:
            entry = [part for pair in fields.items() for part in pair]
            found.append(spec.codec.decode(entry).order_id)
    return sorted(found)


@contextmanager
def running(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program, such as a server. It must end cleanly on SIGTERM."""
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) in (0, -signal.SIGTERM)
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in (folder / "output").read_text()


def initialized(folder: Path, workers: int) -> None:
    """Wait until so many workers of gunicorn take signals."""
    deadline = time.monotonic() + 30
    while len(list(folder.glob("ready.*"))) < workers:
        assert time.monotonic() < deadline, (folder / "output").read_text()
        time.sleep(0.02)


@contextmanager
def serving(folder: Path, port: int, *command: str) -> Iterator[str]:
    """A web server on a port; yields its URL."""
    with running(folder, *command) as process:
        listens(process, port)
        yield f"http://localhost:{port}"


def listens(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a process listens on a port."""
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < deadline, "it does not listen"
        time.sleep(0.02)


def post(url: str, body: object) -> tuple[int, Any]:
    """The status and the answer to an order."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def post_many(url: str, number: int) -> None:
    """Send orders at the same time."""
    with ThreadPoolExecutor(8) as threads:
        orders = [{**ORDER, "order_id": each} for each in range(1, number + 1)]
        answers = list(threads.map(lambda order: post(url, order), orders))
    assert {status for status, _ in answers} == {202}
    assert len({(answer["partition"], answer["id"]) for _, answer in answers}) == number


@pytest.mark.parametrize("url", ["example", "wrong"])
async def test_flask(folder: Path, redis: Redis, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if url == "wrong":
        monkeypatch.setenv("RUNNEL_REDIS_URL", f"redis://127.0.0.1:{free_port()}")
        monkeypatch.setenv("RUNNEL_DELIVERY_TIMEOUT", "0.1")
    port = free_port()
    with serving(folder, port, "flask", "--app", "shop_flask", "run", "--port", str(port)) as web:
        status, answer = post(f"{web}/orders", ORDER)
        if url == "wrong":
            assert (status, list(answer)) == (503, ["error"])
            return
        assert (status, sorted(answer)) == (202, ["id", "partition"])
        assert post(f"{web}/orders", ORDER) == (202, answer)
        status, answer = post(f"{web}/orders", {"order_id": 2})
        assert status == 400
        assert "created_at" in answer["error"]
    assert await sent(redis) == [1]


@pytest.mark.parametrize(
    "options",
    [
        ("--preload", "--workers=2"),
        ("--preload", "--workers=2", "--threads=4"),
        ("--preload", "--workers=2", "--worker-class=gevent"),
        ("--workers=1", "--worker-class=gevent"),
    ],
    ids=" ".join,
)
async def test_flask_under_gunicorn(folder: Path, redis: Redis, options: tuple[str, ...]) -> None:
    port = free_port()
    bind = f"--bind=127.0.0.1:{port}"
    with serving(folder, port, "gunicorn", bind, *options, "preloaded:web") as web:
        initialized(folder, 2 if "--workers=2" in options else 1)
        post_many(f"{web}/orders", 40)
    assert await sent(redis) == [0, *range(1, 41)]


async def test_django(folder: Path, redis: Redis) -> None:
    port = free_port()
    command = "shop_django", "runserver", "--noreload", str(port)
    with serving(folder, port, *command) as web:
        status, answer = post(f"{web}/orders", ORDER)
        assert (status, sorted(answer)) == (202, ["id", "partition"])
        assert post(f"{web}/orders", ORDER) == (202, answer)
        post_many(f"{web}/orders", 10)
    assert await sent(redis) == list(range(1, 11))


async def test_django_under_gunicorn(folder: Path, redis: Redis) -> None:
    port = free_port()
    options = f"--bind=127.0.0.1:{port}", "--preload", "--workers=2"
    with serving(folder, port, "gunicorn", *options, "shop_django:application") as web:
        initialized(folder, 2)
        post_many(f"{web}/orders", 20)
    assert await sent(redis) == list(range(1, 21))


async def test_fastapi(folder: Path, redis: Redis) -> None:
    program = """
import json, sys, warnings
warnings.simplefilter("ignore")
from fastapi.testclient import TestClient
from shop_fastapi import web

order = json.loads(sys.argv[1])
with TestClient(web) as client:
    first = client.post("/orders", json=order)
    assert first.status_code == 202, first.text
    plain = client.post("/plain", json={**order, "order_id": 2})
    assert plain.status_code == 202, plain.text
    assert client.post("/orders", json={"order_id": 3}).status_code == 422
    assert client.post("/plain", json=order).json() == first.json()
"""
    done = run(folder, "-c", program, json.dumps(ORDER))
    assert (done.returncode, done.stderr) == (0, "")
    assert await sent(redis) == [1, 2]


@pytest.mark.only_on("server")
async def test_celery(folder: Path, redis: Redis) -> None:
    arguments = json.dumps([ORDER])
    call = run(
        folder,
        *("-m", "celery", "-A", "shop_celery", "call", "shop_celery.add_order"),
        *("--args", arguments),
    )
    assert call.returncode == 0, call.stderr
    with running(folder, "celery", "-A", "shop_celery", "worker", "--concurrency=2") as worker:
        async with asyncio.timeout(40):
            while not await sent(redis):
                assert worker.poll() is None, (folder / "output").read_text()
                await asyncio.sleep(0.05)
    assert await sent(redis) == [1]


@pytest.fixture
def cell(folder: Path) -> Iterator[Callable[[str], str]]:
    """Runs a cell in a kernel of Jupyter, and returns its output; fails if the cell does."""
    manager = KernelManager()
    manager.start_kernel(cwd=str(folder))
    client = manager.client()
    client.start_channels()

    def run_cell(code: str) -> str:
        output: list[str] = []

        def keep(message: dict[str, Any]) -> None:
            content = message["content"]
            output.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

        reply = client.execute_interactive(code, timeout=40, output_hook=keep)
        content = reply["content"]
        assert content["status"] == "ok", "\n".join(content.get("traceback", ()))
        return "".join(output)

    try:
        client.wait_for_ready(timeout=40)
        yield run_cell
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)
        manager.cleanup_resources()


async def test_jupyter(cell: Callable[[str], str], redis: Redis) -> None:
    first, second = [each for each in blocks() if each.startswith("# cell\n")]
    assert "Sent(partition=" in cell(first)
    assert cell(second).count("Sent(partition=") == 3
    assert cell(second).count("Sent(partition=") == 3, "a cell runs twice"
    assert await sent(redis) == [5, 6, 6, 7, 7, 8, 8]
    cell("await app.close()")


async def test_a_script_imports_a_file_and_begins_again(folder: Path, redis: Redis) -> None:
    lines = [json.dumps({**ORDER, "order_id": each}) + "\n" for each in range(20)]
    file = folder / "orders.jsonl"
    file.write_text("".join(lines[:15]) + "this is no order\n")
    assert run(folder, "import_orders.py", "orders.jsonl").returncode == 1
    assert await sent(redis) == list(range(15))
    file.write_text("".join(lines))
    for _ in range(2):
        done = run(folder, "-W", "error", "import_orders.py", "orders.jsonl")
        assert (done.returncode, done.stderr) == (0, "")
        assert await sent(redis) == list(range(20))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python program that ends by itself."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
