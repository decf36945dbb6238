"""The quick start and the tutorial do what they say, block by block, as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.cli.test_walkthroughs import ROOT, Shell, block, wait_for

TUTORIAL, QUICKSTART = "docs/tutorial.md", "docs/quickstart.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


@pytest.fixture
def shell(tmp_path: Path, redis_url: str, admin: Redis) -> Iterator[Shell]:
    """A shell in an empty folder, beside a clone; what it starts is killed at the end. The server
    is empty: pages have apps of the same name."""
    admin.flushall()
    (tmp_path / "runnel").mkdir()
    (tmp_path / "runnel/examples").symlink_to(ROOT / "examples")
    (tmp_path / "flights").mkdir()
    made = Shell(tmp_path / "flights", redis_url)
    for name in ("python", "pytest"):
        script = tmp_path / "flights/bin" / name
        module = "-m pytest -p no:cacheprovider -p no:asyncio " if name == "pytest" else ""
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {module}"$@"\n')
        script.chmod(0o755)
    yield made
    for each in made.running:
        each.kill()
        each.wait()


def python_blocks(page: str) -> list[str]:
    """The code of a page, without the comments that say where it goes."""
    return PYTHON.findall((ROOT / page).read_text())


def expected(page: str, command: str) -> str:
    """What a page shows as the output of a command."""
    text = (ROOT / page).read_text()
    found: list[str] = re.findall(rf"^\$ {re.escape(command)}\n([^$`][^\n]*\n)", text, re.M)
    return found[0]


def state(admin: Redis, processor: str, stream: str, partition: int, field: str) -> int:
    key = f"runnel:{{flights:{stream}:{partition}}}:{stream}:processor:{processor}"
    return int(admin.hget(key, field) or 0)


def processed(admin: Redis, processor: str, stream: str = "departures") -> int:
    """How many events are committed."""
    return sum(state(admin, processor, stream, each, "processed") for each in range(16))


def members(admin: Redis) -> int:
    return int(admin.zcard("runnel:{flights:departures@fly}:sessions"))


@pytest.mark.timeout(240)
def test_the_tutorial(shell: Shell, admin: Redis, tmp_path: Path) -> None:
    folder = tmp_path / "flights"
    first, check, second, tests = python_blocks(TUTORIAL)
    (folder / "flights.py").write_text(first)
    (folder / "check.py").write_text(check)
    *_, data = block(TUTORIAL, "$ mkdir flights")
    shell.run(data)
    line = re.findall(r"```json\n(.*\n)```", (ROOT / TUTORIAL).read_text())[0]
    assert (folder / "departures.jsonl").read_text().startswith(line)

    (run_worker,) = block(TUTORIAL, "$ runnel worker flights:app\n")
    send, inspect, get = block(TUTORIAL, "$ runnel sendmany")
    workers = [shell.start(run_worker)]
    wait_for(lambda: members(admin) == 1, "a worker has joined")
    shell.run(send)
    wait_for(lambda: processed(admin, "fly") == 6000, "all is committed")
    assert "OK" in shell.run(inspect)
    assert shell.run(get) == expected(TUTORIAL, get)
    (check_once,) = block(TUTORIAL, "$ python check.py 1")
    assert shell.run(check_once) == expected(TUTORIAL, check_once)

    join, send, kill = block(TUTORIAL, "$ runnel worker flights:app &\n$ runnel sendmany")
    workers.append(shell.start(join.removesuffix(" &")))
    wait_for(lambda: "released 8" in shell.output(), "half of the partitions move")
    shell.run(send)
    os.kill(workers[1].pid, getattr(signal, kill.split()[1].replace("-9", "SIGKILL")))
    burst, check_twice = block(TUTORIAL, "$ runnel worker flights:app --burst\n$ python")
    shell.start(burst).wait(60)
    wait_for(lambda: processed(admin, "fly") == 12_000, "all is committed")
    assert shell.run(check_twice) == expected(TUTORIAL, check_twice)

    workers[0].send_signal(signal.SIGINT)
    assert workers[0].wait(30) == 0
    (folder / "flights.py").write_text(first + second)
    inspect, get = block(TUTORIAL, "$ runnel inspect flights:app")
    shell.start(run_worker)
    wait_for(lambda: processed(admin, "land", "landings") == 12_000, "the second stage is done")
    assert "lag 0" in shell.run(inspect)
    assert shell.run(get) == expected(TUTORIAL, get)

    send, inspect = block(TUTORIAL, "$ runnel send flights:departures")
    assert shell.run(send).split()[0] == expected(TUTORIAL, send).split()[0]
    wait_for(lambda: "partition 5 is quarantined" in shell.output(), "it is quarantined")
    shown = shell.run(inspect)
    told = re.findall(r"```text\n(.*?)```", (ROOT / TUTORIAL).read_text(), re.S)[0]
    for part in ("is degraded", "0 miles to LAX", "# --skip skips the failed event"):
        assert part in shown
        assert part in told
    (skip,) = block(TUTORIAL, "$ runnel processor resume flights")
    shell.run(skip)
    wait_for(lambda: processed(admin, "route") == 12_001, "its partition goes on")

    (folder / "test_flights.py").write_text(tests)
    (run_tests,) = block(TUTORIAL, "$ pytest -q test_flights.py")
    assert "2 passed" in shell.run(run_tests)


def test_the_quick_start(shell: Shell, admin: Redis, tmp_path: Path) -> None:
    *_, init = block(QUICKSTART, "$ pip install")
    shell.run(init)
    (code,) = python_blocks(QUICKSTART)
    assert code in (tmp_path / "flights/shop.py").read_text()
    (run_tests,) = block(QUICKSTART, "$ pytest -q")
    assert "1 passed" in shell.run(run_tests)
    (run_worker,) = block(QUICKSTART, "$ runnel worker shop:app")
    shell.start(run_worker)
    first, second, get, inspect = block(QUICKSTART, "$ runnel send shop:orders")
    partition = shell.run(first).split()[0]
    shell.run(second)
    key = f"runnel:{{shop:orders:{partition}}}:orders:processor:count"
    wait_for(lambda: admin.hget(key, "processed") == b"2", "both are committed")
    assert shell.run(get) == expected(QUICKSTART, get)
    assert "OK" in shell.run(inspect)
    assert shlex.split(first)[:2] == ["runnel", "send"]
