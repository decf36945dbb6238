"""The TypeScript client: its own tests, its package, and a group with workers in both languages."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, keys
from runnel.embedded.binary import find_binary
from tests.clients import mixed
from tests.clients.mixed import Item
from tests.servers import Server
from tests.worker.workers import until

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "clients/typescript"
COUNT, KEYS = 1500, 9

pytestmark = [
    pytest.mark.skipif(not shutil.which("npm"), reason="there is no npm here"),
    pytest.mark.timeout(300),
]


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a program, which must succeed. Returns its output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the client in a copy of the checkout, with its packages, compiled."""
    root = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("node_modules", "build", "dist", "*.tgz")
    shutil.copytree(CLIENT, root / "clients/typescript", ignore=ignored)
    shutil.copytree(ROOT / "lua", root / "lua")
    folder = root / "clients/typescript"
    run("npm", "ci", "--silent", cwd=folder)
    run("npx", "tsc", "-p", "tsconfig.test.json", cwd=folder)
    return folder


def test_its_own_tests_pass(client: Path) -> None:
    program = str(find_binary().path)
    said = run("npm", "test", "--silent", cwd=client, REDIS_SERVER=program)
    assert "# fail 0" in said


def test_the_package_works_without_a_checkout(client: Path, tmp_path: Path, server: Server) -> None:
    package = run("npm", "pack", "--silent", cwd=client).split()[-1]
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run("npm", "install", "--silent", str(client / package), cwd=tmp_path)
    program = (CLIENT / "README.md").read_text().partition("```js\n")[2].partition("```")[0]
    (tmp_path / "example.mjs").write_text(program)
    said = run("node", "example.mjs", cwd=tmp_path, RUNNEL_REDIS_URL=server.url)
    assert said.splitlines() == ["order 1: 100", "order 2: 250"]


@pytest.fixture
def children() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes, which are killed at the end."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    yield started
    for each in started.values():
        each.kill()
        each.wait()


async def state(redis: Redis, field: str) -> list[str]:
    """A field of the processor's state, on each partition."""
    prefixes = [keys.partition("mixed", "items", partition, "items") for partition in range(4)]
    values: list[Any] = [await redis.hget(keys.state(p, "sums"), field) for p in prefixes]
    return [(value or b"").decode() for value in values]


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment, cwd=ROOT)


async def processed(redis: Redis) -> int:
    return sum(int(each or 0) for each in await state(redis, "processed"))


@pytest.mark.fault(1)
async def test_a_mixed_group_survives_the_death_of_a_worker_of_each_language(
    client: Path, server: Server, children: dict[str, subprocess.Popen[bytes]]
) -> None:
    environment = os.environ | {"APP": "mixed", "URL": server.url, "RUNNEL_REDIS_URL": server.url}
    python = [sys.executable, "-m", "runnel", "worker", "tests.clients.mixed:app", "--name"]
    for name in ("node-1", "python-1", "node-2", "python-2"):
        command = ["node", str(client / "build/test/child.js")]
        if name.startswith("python"):
            command = [*python, name]
        children[name] = start(command, environment | {"NAME": name})
    async with Redis.from_url(server.url) as redis:

        async def all_own() -> bool:
            return set(await state(redis, "owner")) == set(children)

        async def at_least(goal: int) -> bool:
            return await processed(redis) >= goal

        await until(all_own, "each of the four has a partition")
        sender = ["node", str(client / "build/test/send.js"), str(COUNT), str(KEYS), "0", "3"]
        children["sender"] = start(sender, environment)
        numbers = [each for each in range(COUNT) if each % KEYS > 3]
        async with App("mixed", redis_url=server.url) as app:
            stream = app.stream("items", record=Item, partition_by="key", partition_count=4)
            await stream.send(*[Item(key=f"k{each % KEYS}", number=each) for each in numbers])
        for name in ("node-1", "python-1"):
            goal = await processed(redis) + 200
            await until(partial(at_least, goal), f"{goal} are processed")
            children[name].kill()
        await until(partial(at_least, COUNT), "all are processed")
        for name in ("node-2", "python-2"):
            children[name].send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(children[name].wait) == 0
        found = await totals_of(redis)
    assert found == {
        f"k{k}": list(itertools.accumulate(range(k, COUNT, KEYS))) for k in range(KEYS)
    }, "each total is there once, and in order"


async def totals_of(redis: Redis) -> dict[str, list[int]]:
    """What was emitted for each key, in order."""
    found: dict[str, list[int]] = {}
    codec = mixed.totals.spec.codec
    for partition in range(3):
        log = keys.log(keys.partition("mixed", "totals", partition, "totals"))
        entries: Any = await redis.xrange(log)
        for _, fields in entries:
            flat = [part for pair in fields.items() for part in pair]
            total = codec.decode(flat)
            found.setdefault(total.key, []).append(total.total)
    return found
