"""Supervised workers of an app that says what it does, for tests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.cli.conftest import ROOT
from tests.worker.workers import until

#: Each process writes a line to the file `said` when something happens: its output may have no
#: reader any more.
APP = """
import asyncio, os, sys
from pathlib import Path
from runnel import App, Record

app = App("fleet", rebalance_delay=0.0)
VERSION = 1

def say(what):
    with open("said", "a") as file:
        file.write(f"{what} {os.getpid()}\\n")

class Item(Record):
    number: int

items = app.stream("items", record=Item, partition_by="number", partition_count=4)

@app.on(items)
async def work(item: Item):
    print(item.number)

@app.task()
async def begun():
    say(f"begun{VERSION}")

@app.on_startup
async def before():
    ...

@app.on_shutdown
async def after():
    say("ending")
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    say("ended")
"""


class Supervised:
    """A supervisor of workers in a folder, and what they say."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {**os.environ, "RUNNEL_REDIS_URL": url, "PYTHONPATH": str(ROOT)}
        (folder / "said").touch()
        self.write(APP)
        self.let_go()

    def write(self, text: str) -> None:
        """Write the code of the app."""
        (self.folder / "fleet_app.py").write_text(text)

    def let_go(self, go: bool = True) -> None:
        """May a process end that was asked to?"""
        file = self.folder / "go"
        file.touch() if go else file.unlink()

    def start(self, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start it; `before` is a command that runs the supervisor in its place."""
        command = [*before, sys.executable, "-m", "runnel", "worker", "fleet_app:app", *arguments]
        with (self.folder / "out").open("ab") as out, (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=out, stderr=log
            )
        return self.process

    @property
    def log(self) -> str:
        """What is on stderr."""
        return (self.folder / "log").read_text()

    @property
    def out(self) -> str:
        """What is on stdout."""
        return (self.folder / "out").read_text()

    def said(self, what: str) -> list[int]:
        """The processes that have said this."""
        text = (self.folder / "said").read_text()
        return [int(each) for each in re.findall(rf"^{what} (\d+)$", text, re.M)]

    async def heard(self, what: str, count: int) -> list[int]:
        """Wait until so many processes have said this."""

        def enough() -> list[int]:
            assert self.process is not None
            assert self.process.poll() is None or len(self.said(what)) >= count, self.log
            return self.said(what) if len(self.said(what)) >= count else []

        found: list[int] = await until(enough, f"{count} times {what}")
        return found

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal the supervisor."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit code."""
        assert self.process is not None
        return self.process.wait(30)

    def close(self) -> None:
        """End everything."""
        for what in ("begun.*", "ending"):
            for pid in self.said(what):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def alive(pid: int) -> bool:
    """Does the process exist, also as a zombie?"""
    return Path(f"/proc/{pid}").exists()


@pytest.fixture
def supervised(redis: Redis, redis_url: str, tmp_path: Path) -> Iterator[Supervised]:
    """Supervised workers on the shared server."""
    found = Supervised(tmp_path, redis_url)
    yield found
    found.close()


Start = Callable[..., Supervised]
