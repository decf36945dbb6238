"""Worker processes for tests, and what they did."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from tests.worker.ledger import Entry, app

ROOT = Path(__file__).parent.parent.parent


class Workers:
    """Starts workers of an app, by default the ledger, and stops them all at the end.

    `home` is the directory in which they and other commands run.
    """

    def __init__(
        self, url: str, folder: Path, target: str = "tests.worker.ledger:app", home: Path = ROOT
    ) -> None:
        self.url = url
        self.target = target
        self.home = home
        self.effects_file = folder / "effects"
        self.effects_file.touch()
        self.log_file = folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, delay: float = 0.0) -> subprocess.Popen[bytes]:
        """A worker process; `arguments` follow ``runnel worker TARGET``."""
        command = [sys.executable, "-m", "runnel", "worker", self.target]
        environment = {
            **os.environ,
            "RUNNEL_REDIS_URL": self.url,
            "EFFECTS": str(self.effects_file),
            "DELAY": str(delay),
        }
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [*command, *arguments], cwd=self.home, env=environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the command line, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "runnel", *arguments],
            cwd=self.home,
            env={**os.environ, "RUNNEL_REDIS_URL": self.url},
            capture_output=True,
            text=True,
            check=False,
        )

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    @property
    def log(self) -> str:
        """What the workers have logged."""
        return self.log_file.read_text()

    def effects(self) -> dict[int, list[int]]:
        """Key -> numbers in the order in which their effects were made."""
        found: dict[int, list[int]] = defaultdict(list)
        for line in self.effects_file.read_text().splitlines():
            key, number, _ = line.split()
            found[int(key)].append(int(number))
        return found


def first_times(numbers: list[int]) -> list[int]:
    """The numbers without repeats after a crash."""
    return list(dict.fromkeys(numbers))


async def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Wait until `condition`, plain or async, is true; fail with `what` after so many seconds."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.02)
    raise AssertionError(what)


async def report(redis: Redis, url: str) -> dict[str, Any]:
    """The report that `runnel inspect --json` would print."""
    return await inspect(redis, await check_server(redis, url), "ledger")


async def processor(redis: Redis, url: str, name: str) -> dict[str, Any]:
    """One processor of the report."""
    found = (await report(redis, url))["processors"]
    row: dict[str, Any] = next((each for each in found if each["name"] == name), {})
    return row


async def send(url: str, *records: Entry) -> None:
    """Send to the ledger's stream."""
    app.configure(redis_url=url)
    stream = app.streams["entries"]
    try:
        await stream.send(*records)
    finally:
        await app.close()


def dumped(value: Any) -> str:
    """For messages of failed assertions."""
    return json.dumps(value, indent=1)
