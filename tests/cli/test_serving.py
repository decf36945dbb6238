"""`runnel inspect --serve`: the page, the report and the metrics, for many readers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import App, DeadLetterMiddleware, Record, Worker, keys
from runnel.cli.http_server import Reply
from runnel.cli.names import Names
from runnel.cli.page import Words
from runnel.cli.serving import Reports, routes
from runnel.errors import RunnelError
from runnel.operations.set_aside import newest
from runnel.protocol.scripts import Scripts
from tests.cli.conftest import ROOT
from tests.cli.reports import partition, report
from tests.cli.test_http_server import ask
from tests.servers import Server
from tests.worker.workers import until


class Order(Record):
    id: int
    note: str = ""


class Looks:
    """Makes reports, and counts how often it was asked."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.count = 0
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def inspect(self) -> dict[str, Any]:
        self.count += 1
        await self.gate.wait()
        if self.fails:
            raise ConnectionError("nobody is there")
        return report("ok", partition(processed=self.count))

    async def look_at(self, seen: dict[str, Any], number: int) -> dict[str, Any]:
        lists: dict[str, Any] = {"parked": [], "postponed": [], "dead_letters": []}
        detail = {"event": None, "stalled": False, "traceback": "", "history": [], **lists}
        return {"id": number, **detail}


def body(reply: Reply) -> Any:
    return json.loads(reply.body)


async def served(looks: Looks) -> Any:
    made = routes(Reports(looks, str), Words("redis://:secret@h", Names()))

    async def get(path: str, **query: str) -> Reply:
        return await asyncio.to_thread(made[path], query)

    return get


async def test_many_readers_cost_one_look(redis: Redis) -> None:
    looks = Looks(redis)
    get = await served(looks)
    looks.gate.clear()
    readers = [asyncio.create_task(get("/inspect.json")) for _ in range(5)]
    await until(lambda: looks.count, "one has asked")
    looks.gate.set()
    replies = await asyncio.gather(*readers)
    assert looks.count == 1
    assert {reply.status for reply in replies} == {200}
    assert all(body(each)["processors"][0]["partitions"][0]["processed"] == 1 for each in replies)


async def test_without_redis_readers_are_told_and_metrics_say_that_it_is_down(redis: Redis) -> None:
    looks = Looks(redis)
    looks.fails = True
    get = await served(looks)
    found = await get("/inspect.json")
    assert (found.status, body(found)) == (503, {"error": "nobody is there"})
    metrics = await get("/metrics")
    assert metrics.status == 200
    assert b"runnel_exporter_up 0.0" in metrics.body
    assert b"runnel_partition" not in metrics.body
    for path in ("/page.json", "/partition.json"):
        assert (await get(path)).status == 503
    assert body(await get("/healthz")) == {"alive": True, "error": "nobody is there"}


async def test_the_page_gets_a_report_with_the_words_of_the_terminal(redis: Redis) -> None:
    get = await served(Looks(redis))
    found = body(await get("/page.json"))
    assert (found["state"], found["findings"], found["more_findings"]) == ("ok", [], 0)
    assert found["report"]["processors"][0]["name"] == "billing"
    assert "secret" not in str(found)
    asked = {"app": "shop", "stream": "orders", "processor": "billing", "partition": "0"}
    found = body(await get("/partition.json", **asked))
    assert (found["title"], found["state"]) == ("shop/billing partition 0", "owned")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "there is no processor /@"),
        ({"app": "shop", "stream": "orders", "processor": "nobody"}, "shop/orders@nobody"),
        ({"app": "shop", "stream": "orders", "processor": "billing"}, "partition must be a number"),
        (
            {"app": "shop", "stream": "orders", "processor": "billing", "partition": "²"},
            "partition must be a number, not '²'",
        ),
    ],
)
async def test_a_partition_that_there_is_not(
    redis: Redis, asked: dict[str, str], says: str
) -> None:
    found = await (await served(Looks(redis)))("/partition.json", **asked)
    assert found.status == 404
    assert says in body(found)["error"]


async def test_the_page_runs_no_script_but_its_own(redis: Redis) -> None:
    get = await served(Looks(redis))
    page = await get("/")
    policy = dict(page.headers)["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'sha256-" in policy
    assert page.body.count(b"<script") == 1
    # Whatever an event or a worker calls itself, it is shown as text.
    assert b"innerHTML" not in page.body
    assert not re.search(rb"https?://(?!www\.w3\.org)", page.body)


async def test_what_was_set_aside_is_shown_with_its_payload(redis: Redis, redis_url: str) -> None:
    app = App("shop", redis_url=redis_url, retries=0)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=2)

    @app.on(orders, exception_policy="PARK")
    async def mail(order: Order) -> None:
        raise ValueError("no address")

    @app.on(orders, exception_policy="IGNORE", middleware=[DeadLetterMiddleware()])
    async def audit(order: Order) -> None:
        raise ValueError("unknown customer")

    async with Worker(app):
        await orders.send(Order(id=7, note="<b>x</b>" + 3000 * "y"))
        scripts, found = Scripts(redis), list[dict[str, Any]]()
        while len(found) < 2:
            found = await newest(scripts, "shop", "orders", "mail", None)
            found += await newest(scripts, "shop", "orders", "audit", "orders.audit.dead")
    parked, letter = found
    assert (parked["kind"], parked["key"], parked["attempts"]) == ("parked", "7", 1)
    assert parked["error"] == "ValueError: no address"
    assert (letter["kind"], letter["error"]) == ("dead letter", "ValueError: unknown customer")
    for each in found:
        assert each["record"].startswith('{"id": 7, "note": "<b>x</b>yyy')
        assert each["record"].endswith("… (3029 characters)")
    log = keys.log(keys.partition("shop", "orders", 0, "orders.audit.dead"))
    await redis.xadd(log, {"json": "{", "from": "elsewhere"})
    letters = await newest(scripts, "shop", "orders", "audit", "orders.audit.dead")
    (foreign,) = (each for each in letters if each["event"] is None)
    assert foreign["record"].startswith("it cannot be decoded: ")
    assert foreign["record"].endswith('\n{"json": "{", "from": "elsewhere"}')
    get = await served(Looks(redis))
    shown = await get("/set-aside.json", app="shop", stream="orders", processor="mail")
    assert body(shown) == {"events": [parked]}
    wrong = await get("/set-aside.json", app="shop", stream="nothing", processor="mail")
    assert wrong.status == 404
    assert "has no stream 'nothing'" in body(wrong)["error"]
    wrong = await get("/set-aside.json", app="shop", stream="orders", processor="mai")
    assert wrong.status == 404
    assert "no processor 'orders@mai'; did you mean 'mail'?" in body(wrong)["error"]
    await app.close()


class Serving:
    """The command, in a process."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-m", "runnel", "inspect", "--redis-url", url]
        self.process = subprocess.Popen(
            [*command, "--serve", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/inspect\.json", self.said)
        assert found, self.said
        self.port = int(found[1])

    def close(self) -> None:
        """End it at once."""
        assert self.process.stderr is not None
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def serving(redis: Redis, redis_url: str) -> Iterator[Serving]:
    made = Serving(redis_url)
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal(serving: Serving, number: signal.Signals) -> None:
    status, found = ask(serving.port, "/inspect.json")
    assert (status, found["schema"]) == (200, "runnel.inspect/1")
    assert "password" not in serving.said
    os.kill(serving.process.pid, number)
    assert serving.process.wait(20) == 0


def test_it_starts_without_redis_and_finds_it_later(tmp_path: Path) -> None:
    with Server() as server:
        server.stop()
        serving = Serving(server.url)
        try:
            assert ask(serving.port, "/inspect.json")[0] == 503
            server.start()
            while ask(serving.port, "/inspect.json")[0] != 200:
                ...
        finally:
            serving.close()


def dom(port: int, tmp_path: Path, chosen: str) -> str:
    """The page with a chosen partition, as a browser has drawn it."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no Chromium: apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    done = subprocess.run(
        [
            browser,
            *options,
            "--virtual-time-budget=3000",
            "--dump-dom",
            f"http://127.0.0.1:{port}/#{quote(chosen)}",
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("count", [8, 1000])
async def test_a_browser_draws_a_square_for_each_partition(
    serving: Serving, redis_url: str, count: int, tmp_path: Path
) -> None:
    app = App("shop", redis_url=redis_url, retries=0)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=count)

    @app.on(orders)
    async def billing(order: Order) -> None:
        raise ValueError("no price for <b>this</b>")

    async with Worker(app, name="w-1") as worker:
        await until(lambda: len(worker.health().problems) == 0, "it is ready")
        (sent,) = await orders.send(Order(id=1))
        while True:
            _, found = await asyncio.to_thread(ask, serving.port, "/inspect.json")
            rows = found["processors"][0]["partitions"] if found.get("processors") else []
            states = [row["state"] for row in rows]
            if states.count("owned") == count - 1 and "quarantined" in states:
                break
        chosen = f"shop/orders@billing {sent.partition}"
        drawn = await asyncio.to_thread(dom, serving.port, tmp_path, chosen)
    squares = drawn.partition('class="grid')[2].partition("</div>")[0]
    assert squares.count('<button type="button"') == count
    assert squares.count('class="owned"') == count - 1
    assert f"partition {sent.partition}: quarantined" in drawn
    assert "DEGRADED: 1 of 1 processors" in drawn
    assert " · quarantined 1 · 1 worker · " in drawn
    # What is wrong comes first, with the command that helps.
    target = f"shop/orders@billing --redis-url {redis_url}"
    resume = f"<code>runnel processor resume {target} --partition {sent.partition}</code>"
    assert drawn.index(">shop/billing is degraded</h2>") < drawn.index('id="processors"')
    assert drawn.count(resume) == 2
    # The chosen partition is told as the terminal tells it, with its record.
    chosen_box = drawn.partition('class="chosen"')[2]
    assert f"shop/billing partition {sent.partition} is quarantined: an event failed" in chosen_box
    assert '{"id": 1, "note": ""}' in chosen_box
    assert "ValueError: no price for &lt;b&gt;this&lt;/b&gt;" in chosen_box
    assert ("grid many" in drawn) is (count > 64)
    assert squares.count('tabindex="0"') == 1
    await app.close()


async def test_an_old_report_is_not_shown_while_redis_is_late(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(redis)
    get = await served(looks)
    assert (await get("/inspect.json")).status == 200
    monkeypatch.setattr("runnel.cli.serving.FRESH", 0.0)
    monkeypatch.setattr("runnel.cli.serving.PATIENCE", 0.05)
    looks.gate.clear()
    late = {"error": "Redis has not answered within 10 s"}
    for path in ("/inspect.json", "/page.json", "/partition.json"):
        found = await get(path)
        assert (found.status, body(found)) == (503, late)
    assert b"runnel_exporter_up 0.0" in (await get("/metrics")).body
    while body(await get("/healthz")) != {"alive": True, **late}:
        ...
    looks.gate.set()
    while (await get("/inspect.json")).status != 200:
        ...
    assert body(await get("/healthz"))["error"] is None


async def test_an_error_that_nobody_expects_is_told_too(redis: Redis) -> None:
    class Failing(Looks):
        async def inspect(self) -> dict[str, Any]:
            raise ValueError("no number")

    get = await served(Failing(redis))
    told = {"error": "unexpected error: ValueError: no number"}
    for path in ("/inspect.json", "/page.json", "/partition.json"):
        found = await get(path)
        assert (found.status, body(found)) == (503, told)
    assert body(await get("/healthz")) == {"alive": True, **told}
    assert b"runnel_exporter_up 0.0" in (await get("/metrics")).body


def test_errors_of_runnel_are_explained(redis: Redis) -> None:
    async def main() -> str:
        class Failing(Looks):
            async def inspect(self) -> dict[str, Any]:
                raise RunnelError("what happened")

        reports = Reports(Failing(redis), lambda error: f"explained: {error}")
        await asyncio.to_thread(reports.refresh)
        return reports.error or ""

    assert asyncio.run(main()) == "explained: what happened"
