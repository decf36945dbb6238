"""One group of workers in Python, Node.js and Go, under kills, a pause and lost replies."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys
from tests.clients.flights import Flight, with_flight
from tests.proxy import Proxy
from tests.servers import Server
from tests.worker.workers import until

ROOT = Path(__file__).parent.parent.parent
LANGUAGES = ("python", "node", "go")
WORKERS = ("python-1", "node-1", "go-1", "python-2", "node-2")
PARTITIONS = range(12)
COUNT = 9000

pytestmark = [
    pytest.mark.skipif(not shutil.which("npm"), reason="there is no npm here"),
    pytest.mark.skipif(not shutil.which("go"), reason="there is no Go toolchain here"),
    pytest.mark.timeout(300),
]

Children = dict[str, subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker and sender in Go, compiled."""
    path = tmp_path_factory.mktemp("go") / "flights"
    command = ["go", "build", "-o", str(path), "./conformance/flights"]
    subprocess.run(command, cwd=ROOT / "clients/go", check=True, timeout=120)
    return path


def first_flights() -> list[Flight]:
    """The flights of the first days of January 2013, in the order of time."""
    with gzip.open(ROOT / "examples/flights-2013-01.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in itertools.islice(file, COUNT)]
    return [
        Flight(tailnum=line["tailnum"], number=number, distance=line["distance"])
        for number, line in enumerate(lines)
    ]


class Group:
    """The workers and senders: each language has its commands."""

    def __init__(self, children: Children, client: Path, program: Path, url: str) -> None:
        self.children = children
        self._url = url
        node = ["node", str(client / "build/test/flights.js")]
        worker = [sys.executable, "-m", "runnel", "worker", "tests.clients.flights:app", "--name"]
        self._workers = {"python": worker, "node": node, "go": [str(program)]}
        sender = [sys.executable, "-m", "tests.clients.flights"]
        self._senders = {"python": sender, "node": node, "go": [str(program)]}

    def work(self, name: str) -> None:
        """Start a worker in the language with which its name begins."""
        language = name.partition("-")[0]
        more = [name] if language == "python" else []
        self._start(name, [*self._workers[language], *more])

    def send(self, language: str, path: Path) -> None:
        """Start a sender of the flights in a file."""
        self._start(f"{language}-sender", [*self._senders[language], str(path)])

    def _start(self, name: str, command: list[str]) -> None:
        given = {"URL": self._url, "RUNNEL_REDIS_URL": self._url, "NAME": name}
        self.children[name] = subprocess.Popen(command, env=os.environ | given, cwd=ROOT)


async def state(redis: Redis, field: str) -> list[str]:
    """A field of the processor's state, on each partition."""
    states = [
        keys.state(keys.partition("flights", "flights", n, "flights"), "history")
        for n in PARTITIONS
    ]
    values: list[Any] = [await redis.hget(each, field) for each in states]
    return [(value or b"").decode() for value in values]


async def owners(redis: Redis) -> set[str]:
    return set(await state(redis, "owner"))


async def processed(redis: Redis) -> int:
    return sum(int(each or 0) for each in await state(redis, "processed"))


async def lose_replies(proxy: Proxy) -> None:
    """Cut the connection instead of a reply, again and again."""
    while True:
        proxy.losing += 1
        await asyncio.sleep(0.1)


@pytest.mark.fault(1, 4, 7, 18)
async def test_three_languages_keep_the_history_of_each_aircraft(
    client: Path, program: Path, server: Server, children: Children, tmp_path: Path
) -> None:
    flights = first_flights()
    for index, language in enumerate(LANGUAGES):  # All flights of an aircraft have one sender.
        part = [each for each in flights if sum(each.tailnum.encode()) % 3 == index]
        lines = [json.dumps(vars(each)) for each in part]
        (tmp_path / language).write_text("\n".join(lines))
    async with Redis.from_url(server.url) as redis, Proxy(server.url) as proxy:
        group = Group(children, client, program, proxy.url)

        async def at_least(goal: int) -> bool:
            return await processed(redis) >= goal

        async def own(*names: str) -> bool:
            return set(names) <= await owners(redis)

        async def own_nothing(name: str) -> bool:
            return name not in await owners(redis)

        for name in WORKERS:
            group.work(name)
        await until(partial(own, *WORKERS), "each worker has a partition")
        losing = asyncio.create_task(lose_replies(proxy))
        for language in LANGUAGES:
            group.send(language, tmp_path / language)
        for name in ("node-1", "python-1", "go-1"):
            goal = await processed(redis) + 1000
            await until(partial(at_least, goal), f"{goal} are processed")
            children[name].kill()
        group.work("go-2")
        await until(partial(own, "go-2", "node-2", "python-2"), "every language has a partition")
        children["node-2"].send_signal(signal.SIGSTOP)
        await until(partial(own_nothing, "node-2"), "others have taken over")
        children["node-2"].send_signal(signal.SIGCONT)
        await until(partial(own, "node-2"), "it has partitions again")
        await until(partial(at_least, len(flights)), "all are processed", 120)
        losing.cancel()
        assert proxy.lost > 50
        for language in LANGUAGES:
            assert children[f"{language}-sender"].wait(timeout=10) == 0
        for name in ("go-2", "node-2", "python-2"):
            children[name].send_signal(signal.SIGTERM)
        for name in ("go-2", "node-2", "python-2"):
            assert await asyncio.to_thread(children[name].wait) == 0
        assert await processed(redis) == len(flights)
        assert await stored(redis) == expected(flights)


def expected(flights: list[Flight]) -> dict[str, str]:
    """The history of each aircraft."""
    found: dict[str, str] = {}
    for each in flights:
        found[each.tailnum] = with_flight(found.get(each.tailnum, ""), each)
    return found


async def stored(redis: Redis) -> dict[str, str]:
    """The table, of all partitions."""
    found: dict[str, str] = {}
    for partition in PARTITIONS:
        table = keys.table(keys.partition("flights", "flights", partition, "flights"), "history")
        values: Any = await redis.hgetall(table)
        found |= {tailnum.decode(): json.loads(value) for tailnum, value in values.items()}
    return found
