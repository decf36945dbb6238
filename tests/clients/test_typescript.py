"""The TypeScript client: its own tests, its package, and a group with workers in both languages."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from functools import partial
from importlib import metadata
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runnel.connection.connect import connect
from runnel.embedded.binary import find_binary
from runnel.operations.inspection import inspect
from runnel.preflight.server import ServerInfo
from runnel.protocol.scripts import version
from tests.clients.programs import (
    CLIENT,
    COUNT,
    ROOT,
    TOTALS,
    Children,
    processed,
    run,
    send,
    start_sender,
    start_worker,
    state,
    totals_of,
)
from tests.servers import Server
from tests.worker.workers import until

pytestmark = pytest.mark.timeout(300)


def test_its_own_tests_pass(client: Path) -> None:
    program = str(find_binary().path)
    said = run("npm", "test", "--silent", cwd=client, REDIS_SERVER=program)
    assert "# fail 0" in said
    assert vectors_in(said) == all_vectors(), "a vector was not run"


def vectors_in(said: str) -> tuple[int, list[str]]:
    """How many keys, and which entries, Node's test runner has reported."""
    entries = re.findall(r"^\s*ok \d+ - entry: (.+)$", said, re.M)
    return len(re.findall(r"^\s*ok \d+ - key .*$", said, re.M)), sorted(entries)


def all_vectors() -> tuple[int, list[str]]:
    """How many keys, and which entries, there are in lua/conformance."""
    keys_, entries = (
        [json.loads(line) for line in (ROOT / f"lua/conformance/{name}").read_text().splitlines()]
        for name in ("routing.jsonl", "entries.jsonl")
    )
    return len(keys_), sorted(each["name"] for each in entries)


#: A file of the compiled client, what stands in it, what is planted, and a vector that sees it.
PLANTED = [
    ("routing.js", "h64Raw(bytes)", "h64Raw(bytes, 1n)", "key text customer-12345678"),
    ("routing.js", "encoder.encode(String(", "encoder.encode('0' + String(", "key integer 42"),
    ("codec.js", "encode('msgpack')", "encode('json')", "entry: msgpack, flat"),
    ("codec.js", "startsWith('@')", "startsWith('#')", "entry: headers"),
]


@pytest.mark.parametrize(("file", "old", "new", "vector"), PLANTED)
def test_a_planted_change_of_the_hash_or_the_entries_is_seen(
    client: Path, file: str, old: str, new: str, vector: str
) -> None:
    path = client / "build/src" / file
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new))
    try:
        command = ["node", "--test-reporter=tap", "build/test/vectors.test.js"]
        done = subprocess.run(command, cwd=client, capture_output=True, text=True, check=False)
    finally:
        path.write_text(source)
    assert done.returncode == 1
    assert re.search(rf"^not ok \d+ - {re.escape(vector)}$", done.stdout, re.M), done.stdout


def test_the_package_works_without_a_checkout(client: Path, tmp_path: Path, server: Server) -> None:
    package = run("npm", "pack", "--silent", cwd=client).split()[-1]
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run("npm", "install", "--silent", str(client / package), cwd=tmp_path)
    program = (CLIENT / "README.md").read_text().partition("```js\n")[2].partition("```")[0]
    (tmp_path / "example.mjs").write_text(program)
    said = run("node", "example.mjs", cwd=tmp_path, RUNNEL_REDIS_URL=server.url)
    assert said.splitlines() == ["order 1: 100", "order 2: 250"]


def test_its_benchmark_runs(client: Path) -> None:
    program = str(find_binary().path)
    said = run("node", "build/bench/throughput.js", "2000", "1", cwd=client, REDIS_SERVER=program)
    assert "ratio" in said.splitlines()[-1]


@pytest.mark.fault(1)
async def test_a_mixed_group_survives_the_death_of_a_worker_of_each_language(
    client: Path, server: Server, children: Children
) -> None:
    for name in ("node-1", "python-1", "node-2", "python-2"):
        start_worker(children, client, server.url, name)
    async with Redis.from_url(server.url) as redis:

        async def all_own() -> bool:
            return set(await state(redis, "owner")) == set(children)

        async def at_least(goal: int) -> bool:
            return await processed(redis) >= goal

        await until(all_own, "each of the four has a partition")
        async with connect(server.url) as client_of_python:
            seen = await inspect(client_of_python, ServerInfo("redis", None, "standalone"), "mixed")
        packaged = json.loads((CLIENT / "package.json").read_text())["version"]
        assert {(each["lang"], each["version"], each["scripts"]) for each in seen["members"]} == {
            ("python", metadata.version("runnel"), version()),
            ("typescript", packaged, version()),
        }
        assert seen["processors"][0]["mixed"] is False
        start_sender(children, client, server.url, 0, 3)
        await send(server.url, range(4, 9))
        for name in ("node-1", "python-1"):
            goal = await processed(redis) + 200
            await until(partial(at_least, goal), f"{goal} are processed")
            children[name].kill()
        await until(partial(at_least, COUNT), "all are processed")
        for name in ("node-2", "python-2"):
            children[name].send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(children[name].wait) == 0
        assert await totals_of(redis) == TOTALS, "each total is there once, and in order"
