"""Workers and producers as processes, each with files for what it says and for what it does."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.proxy import Proxy

ROOT = Path(__file__).parent.parent.parent
TARGET = "tests.soak.app:app"
READY_WITHIN = 30.0


@dataclass(eq=False)
class Actor:
    """A process under fire, and the proxy that it reaches Redis through, if any."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    proxy: Proxy | None
    #: A fault is at work on it.
    busy: bool = False
    #: It was made to end.
    dismissed: bool = False

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, which for some is the end of it."""
        self.dismissed |= number in (signal.SIGKILL, signal.SIGTERM)
        if self.alive:
            self.process.send_signal(number)

    async def ended(self, seconds: float) -> int | None:
        """Its exit code once it has ended, or None if it has not within so many seconds."""
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return self.process.poll()


@dataclass
class Cast:
    """All processes of a run; `environment` tells them where Redis is unless a proxy does."""

    folder: Path
    environment: Mapping[str, str]
    #: Where the proxies lead, or None if there are none.
    behind_proxies: str | None
    workers: list[Actor] = field(default_factory=list)
    producers: list[Actor] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def living(self) -> list[Actor]:
        """Workers that run and were not told to end."""
        return [each for each in self.workers if each.alive and not each.dismissed]

    async def worker(self) -> Actor:
        """Start a worker, and wait until it claims partitions."""
        name = f"w{next(self._numbers)}"
        effects = self.folder / f"{name}.effects"
        effects.touch()
        command = ["-m", "runnel", "worker", TARGET, "--name", name]
        actor = await self._start(name, command, {"SOAK_EFFECTS": str(effects)})
        actor.busy = True  # Until it has a say in what a signal does to it.
        self.workers.append(actor)
        deadline = time.monotonic() + READY_WITHIN
        while actor.alive and time.monotonic() < deadline:
            if b": now holds " in actor.log.read_bytes():
                break
            await asyncio.sleep(0.02)
        actor.busy = False
        return actor

    async def producer(self, rate: float, most: int) -> Actor:
        """Start a producer of so many events a second, and of so many events at the most."""
        name = f"p{next(self._numbers)}"
        command = ["-m", "tests.soak.producer", name, str(self.folder / f"{name}.sent")]
        actor = await self._start(name, [*command, str(rate), str(most)], {})
        self.producers.append(actor)
        return actor

    async def operate(self, *arguments: str) -> int:
        """Run a command of the command line; returns its exit code."""
        process = _spawn(
            ["-m", "runnel", *arguments],
            {**os.environ, **self.environment},
            self.folder / "cli.log",
        )
        actor = Actor("cli", process, self.folder / "cli.log", None)
        code = await actor.ended(60.0)
        if code is None:
            process.kill()
            process.wait()
        return -1 if code is None else code

    async def _start(self, name: str, command: list[str], extra: Mapping[str, str]) -> Actor:
        proxy = None
        environment = {**os.environ, **self.environment, **extra}
        if self.behind_proxies is not None:
            proxy = await Proxy(self.behind_proxies).__aenter__()
            environment["RUNNEL_REDIS_URL"] = proxy.url
        log = self.folder / f"{name}.log"
        return Actor(name, _spawn(command, environment, log), log, proxy)

    async def close(self) -> None:
        """End what still runs."""
        for each in (*self.producers, *self.workers):
            if each.alive:
                each.signal(signal.SIGKILL)
            each.process.wait()
            if each.proxy is not None:
                await each.proxy.__aexit__()


def _spawn(
    command: list[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
