"""An app under test with a server, and with workers in processes of their own."""

from __future__ import annotations

import asyncio
import inspect as python_inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis

from runnel import keys
from runnel.app import App
from runnel.connection.connect import connect
from runnel.connection.deployment import of
from runnel.errors import ConfigError
from runnel.event import Event
from runnel.harness import HandlerFailed, NotDrained
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from runnel.protocol.ids import parts
from runnel.settings import Settings
from runnel.stream import Stream

R = TypeVar("R")
T = TypeVar("T")

#: Settings of a test: a worker that was killed is noticed soon.
SHORT: Mapping[str, Any] = {
    "session_timeout": 1.0,
    "rebalance_delay": 0.05,
    "rebalance_timeout": 5.0,
    "shutdown_timeout": 5.0,
}
#: Seconds between two looks, and for which a test waits.
POLL, PATIENCE = 0.02, 30.0


class Served:
    """``async with runnel_app(app) as t:`` What the server has of the app is erased at the start
    and at the end, and the app sends there. `settings` are other settings than `SHORT`.

    Workers are processes. They get the settings by the environment: one that the code gives to
    `App` itself has priority there.
    """

    def __init__(self, app: App, url: str, settings: Mapping[str, Any]) -> None:
        self.app = app
        self.url = url
        self._settings = {**SHORT, **settings}
        self._before: Settings | None = None
        self._client: Redis | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._killed: set[subprocess.Popen[bytes]] = set()
        self._log: Path | None = None

    async def __aenter__(self) -> Served:
        self._before = self.app.settings
        self.app.configure(redis_url=self.url, **self._settings)
        try:
            await self.app.close()  # Connections to another server.
            self._client = connect(self.url)
            await self._erase()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end_processes()
        try:
            await self._erase()
        finally:
            await self._leave()

    async def _leave(self) -> None:
        try:
            await self.app.close()
            if self._client is not None:
                await self._client.aclose()
        finally:
            if self._before is not None:
                self.app.settings = self._before

    async def _erase(self) -> None:
        """Delete all keys of the app."""
        assert self._client is not None
        scopes = keys.patterns(self.app.name)[:2]
        for primary in await of(self._client).primaries():
            for pattern in scopes:
                found = [key async for key in primary.scan_iter(match=pattern, count=1000)]
                for key in found:
                    await primary.unlink(key)
        await self._client.srem(keys.apps(), self.app.name)

    # Workers

    def worker(
        self, n: int = 1, *arguments: str, target: str | None = None
    ) -> list[subprocess.Popen[bytes]]:
        """Start `n` worker processes; `arguments` are further ones of `runnel worker`. `target` is
        where the app is, as in ``shop.app:app``; by default it is looked for in what was imported.
        """
        command = [sys.executable, "-m", "runnel", "worker", target or self._target()]
        paths = [each for each in sys.path if each]
        environment = {
            **os.environ,
            **{f"RUNNEL_{name.upper()}": str(each) for name, each in self._settings.items()},
            "PYTHONPATH": os.pathsep.join([os.getcwd(), *paths]),
        }
        if self._log is None:
            self._log = Path(tempfile.mkdtemp(prefix="runnel-")) / "log"
        made = []
        for _ in range(n):
            with self._log.open("ab") as log:
                made.append(
                    subprocess.Popen(
                        [*command, "--redis-url", self.url, *arguments],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )
        self._processes += made
        return made

    def kill(self, worker: subprocess.Popen[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Kill a worker, as `kill -9` does: by default the one that has run for longest."""
        running = [each for each in self._processes if each.poll() is None]
        if worker is None and not running:
            raise ConfigError("no worker runs that could be killed: start one with t.worker()")
        chosen = worker or running[0]
        self._killed.add(chosen)
        chosen.kill()
        chosen.wait()
        return chosen

    def stop(self) -> list[int]:
        """End all workers, as SIGTERM does, and wait for them. Returns their exit codes."""
        running = [each for each in self._processes if each.poll() is None]
        for each in running:
            each.send_signal(signal.SIGTERM)
        return [each.wait(PATIENCE) for each in running]

    def end_processes(self) -> None:
        """Kill what runs."""
        for each in self._processes:
            if each.poll() is None:
                each.kill()
            each.wait()
        if self._log is not None:
            shutil.rmtree(self._log.parent, ignore_errors=True)
            self._log = None

    @property
    def log(self) -> str:
        """What the workers have logged."""
        log = self._log
        return log.read_text(errors="replace") if log is not None and log.exists() else ""

    def _target(self) -> str:
        """Where another process finds the app."""
        for module in list(sys.modules.values()):
            name = getattr(module, "__name__", "__main__")
            if name == "__main__":
                continue
            for attribute, value in list(vars(module).items()):
                if value is self.app:
                    return f"{name}:{attribute}"
        raise ConfigError(
            f"app {self.app.name} is no variable of a module, so another process cannot import it: "
            "move it to a module, or give t.worker(target=…)"
        )

    # Sending, waiting, looking

    async def send(self, stream: Stream[R], *records: R, **options: Any) -> list[Any]:
        """Send records, as `Stream.send` does."""
        sent: list[Any] = await stream.send(*records, **options)
        return sent

    async def wait_for(
        self, condition: Callable[[], Any], what: str = "", timeout: float = PATIENCE
    ) -> Any:
        """Wait until `condition`, plain or async, returns something true, and return that. Raises
        NotDrained with the log of the workers after `timeout` seconds, or if a worker has ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            found = condition()
            if python_inspect.isawaitable(found):
                found = await found
            if found:
                return found
            name = what or getattr(condition, "__name__", "the condition")
            for each in self._processes:
                if each.poll() and each not in self._killed:
                    raise NotDrained(
                        f"a worker has ended with exit code {each.returncode}, while the test "
                        f"waits until {name}. Workers logged:\n{self.log[-3000:]}"
                    )
            if loop.time() > deadline:
                raise NotDrained(
                    f"not within {timeout:g} s: {name}. Workers logged:\n{self.log[-3000:]}"
                )
            await asyncio.sleep(POLL)

    async def drain(self, *, timeout: float = PATIENCE) -> None:
        """Wait until the workers have committed all events. Raises HandlerFailed if a partition is
        quarantined, and as `wait_for`."""
        assert self._client is not None
        server = await check_server(self._client, self.url)

        async def done() -> bool:
            assert self._client is not None
            report = await inspect(self._client, server, self.app.name)
            for processor in report["processors"]:
                for row in processor["partitions"]:
                    if row["state"] == "quarantined":
                        raise HandlerFailed(_quarantined(processor["name"], row))
            known = {each["name"] for each in report["processors"]}
            totals = report["totals"]
            return known >= self.app.processors.keys() and totals["lag_events"] == 0

        await self.wait_for(done, "all events are committed", timeout)

    async def events(self, stream: Stream[R]) -> list[Event[R]]:
        """The events of a stream that are still there, in the order of their ids."""
        assert self._client is not None
        spec, found = stream.spec, list[Event[R]]()
        for partition in range(spec.partition_count):
            log = keys.log(spec.prefix(partition))
            (entries,) = await of(self._client).ask([(log, ("XRANGE", log, "-", "+"))])
            found += [Event(entry, partition, spec.codec) for entry in entries]
        return sorted(found, key=lambda each: parts(each.id))

    async def sent(self, stream: Stream[R]) -> list[R]:
        """Their records."""
        return [each.record for each in await self.events(stream)]


def _quarantined(processor: str, row: Mapping[str, Any]) -> str:
    """A quarantined partition, for people."""
    error = row["error"] or {"event": "?", "type": "?", "message": "?"}
    return (
        f"processor {processor}, partition {row['id']} is quarantined: event {error['event']} "
        f"failed: {error['type']}: {error['message']}"
    )
