"""Starts the programs of a mixed group, and reads what they have done.

Both languages have the same worker: it adds up the numbers of each key in a table, and emits each
total to another stream.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from runnel import App, keys
from tests.clients import mixed
from tests.clients.mixed import Item

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "clients/typescript"
COUNT, KEYS = 1500, 9
#: What becomes of all numbers: the totals of each key, in order.
TOTALS = {f"k{k}": list(itertools.accumulate(range(k, COUNT, KEYS))) for k in range(KEYS)}

Children = dict[str, subprocess.Popen[bytes]]


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


def start_worker(children: Children, client: Path, url: str, name: str) -> None:
    """Start a worker in the language with which its name begins: node or python."""
    command = ["node", str(client / "build/test/child.js")]
    if name.startswith("python"):
        command = [sys.executable, "-m", "runnel", "worker", "tests.clients.mixed:app"]
        command += ["--name", name]
    children[name] = _start(command, url, NAME=name)


def start_sender(children: Children, client: Path, url: str, first: int, last: int) -> None:
    """Start a sender in Node.js: all numbers of the keys from `first` to `last`."""
    command = ["node", str(client / "build/test/send.js"), *map(str, (COUNT, KEYS, first, last))]
    children[f"sender {first}"] = _start(command, url)


def _start(command: list[str], url: str, **environment: str) -> subprocess.Popen[bytes]:
    given = {"APP": "mixed", "URL": url, "RUNNEL_REDIS_URL": url, **environment}
    return subprocess.Popen(command, env=os.environ | given, cwd=ROOT)


async def send(url: str, of_keys: Iterable[int]) -> None:
    """Send all numbers of these keys from here."""
    numbers = [each for each in range(COUNT) if each % KEYS in set(of_keys)]
    async with App("mixed", redis_url=url, delivery_timeout=60) as app:
        stream = app.stream("items", record=Item, partition_by="key", partition_count=4)
        await stream.send(*[Item(key=f"k{each % KEYS}", number=each) for each in numbers])


async def state(redis: Redis, field: str) -> list[str]:
    """A field of the processor's state, on each partition."""
    prefixes = [keys.partition("mixed", "items", partition, "items") for partition in range(4)]
    values: list[Any] = [await redis.hget(keys.state(p, "sums"), field) for p in prefixes]
    return [(value or b"").decode() for value in values]


async def processed(redis: Redis) -> int:
    """How many numbers were added up."""
    return sum(int(each or 0) for each in await state(redis, "processed"))


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
