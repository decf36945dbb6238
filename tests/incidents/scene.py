"""Where an incident takes place: a server, a shop in a fresh directory, and who works there."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis

from runnel.connection.connect import connect, connect_sync
from runnel.operations import inspection
from runnel.preflight.server import check_server
from tests.fleet import Fleet
from tests.servers import Server
from tests.worker.workers import Workers

APPS = Path(__file__).parent / "apps"
_POLL = 0.05

Json = dict[str, Any]


class Scene:
    """A shop that runs. `app` names the file of its code in `apps`.

    Its methods block.
    """

    def __init__(
        self,
        app: str = "plain",
        servers: Server | Fleet | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="shop-"))
        self.servers = servers or Server(appendfsync="everysec")
        self.release(app)
        self.add("website")
        self.workers = Workers(self.url, self.folder, "shop:app", home=self.folder)
        self._website: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of Redis, for clients."""
        return self.servers.url  # type: ignore[union-attr]

    @property
    def server(self) -> Server:
        """The one server, if it is no fleet."""
        assert isinstance(self.servers, Server)
        return self.servers

    def release(self, app: str) -> None:
        """Put the code of a shop into the directory. Workers that run keep what they have."""
        shutil.copy(APPS / f"{app}.py", self.folder / "shop.py")
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)

    def add(self, program: str) -> None:
        """Put another program of the shop into the directory."""
        shutil.copy(APPS / f"{program}.py", self.folder)

    def __enter__(self) -> Self:
        try:
            self.servers.__enter__()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all that this has started, and remove its files."""
        self.close_website()
        self.workers.close()
        self.servers.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def open_website(self, visits: float = 0.1) -> None:
        """Orders come in from now on, one every so many seconds."""
        self.close_website()
        environment = {**os.environ, "RUNNEL_REDIS_URL": self.url, "VISITS": str(visits)}
        self._website = subprocess.Popen(
            [sys.executable, "website.py"], cwd=self.folder, env=environment
        )

    def close_website(self) -> None:
        """No more orders come in."""
        if self._website is not None:
            self._website.send_signal(signal.SIGKILL)
            self._website.wait()
            self._website = None

    def send(self, *lines: str) -> None:
        """Send records to the stream of orders, each as a line of JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "runnel", "sendmany", "shop:orders", "-"],
            cwd=self.folder,
            env={**os.environ, "RUNNEL_REDIS_URL": self.url},
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run_tool(self, name: str, *arguments: str) -> None:
        """Run a program of the directory, to its end."""
        subprocess.run([self.folder / name, *arguments], cwd=self.folder, check=True)

    def redis(self) -> Redis:
        """A client of the server, of which the caller closes the connection."""
        return connect_sync(self.url)

    def report(self, stalled_after: float = inspection.STALLED_AFTER / 1000) -> Json:
        """What `runnel inspect --json` would print. `stalled_after` is in seconds. Raises the
        errors of the client."""

        async def inspect() -> Json:
            async with connect(self.url) as client:
                server = await check_server(client, self.url)
                ms = round(stalled_after * 1000)
                return await inspection.inspect(client, server, stalled_after_ms=ms)

        return asyncio.run(inspect())

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
        """Wait until a condition holds; fail with `what` after so many seconds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}, which did not happen:\n{self.workers.log}"
            time.sleep(_POLL)

    @property
    def accepted(self) -> set[int]:
        """The numbers of the orders that the website has sent."""
        return self.numbers("accepted.log")

    @property
    def billed(self) -> set[int]:
        """The numbers of the orders that are in the ledger."""
        return self.numbers("ledger.csv")

    def numbers(self, name: str) -> set[int]:
        """The numbers at the beginning of each line of a file, none if it is not there."""
        file = self.folder / name
        lines = file.read_text().splitlines() if file.exists() else []
        return {int(line.partition(",")[0]) for line in lines}
