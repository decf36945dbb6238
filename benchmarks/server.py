"""A fresh server, and what it says about the work it did."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from redis import Redis
from redis.exceptions import BusyLoadingError, ConnectionError

from runnel.embedded.binary import find_binary

#: What the harness itself calls while others are measured; left out of the counts.
_OWN = {"info", "xinfo|groups", "hexists", "config|get", "ping", "client|setinfo"}


@dataclass(frozen=True)
class Snapshot:
    """The server's counters at one instant: calls by command, and seconds of CPU.

    Calls are counted where they are carried out, so those that scripts make count as well.
    """

    calls: dict[str, int]
    usec: dict[str, float]
    cpu: float
    reads: int

    def __add__(self, other: Snapshot) -> Snapshot:
        """Those of two servers together."""
        return Snapshot(
            {
                name: self.calls.get(name, 0) + other.calls.get(name, 0)
                for name in self.calls | other.calls
            },
            {
                name: self.usec.get(name, 0.0) + other.usec.get(name, 0.0)
                for name in self.usec | other.usec
            },
            self.cpu + other.cpu,
            self.reads + other.reads,
        )

    def since(self, before: Snapshot) -> Snapshot:
        """What was added."""
        calls = {name: count - before.calls.get(name, 0) for name, count in self.calls.items()}
        usec = {name: spent - before.usec.get(name, 0.0) for name, spent in self.usec.items()}
        return Snapshot(
            {name: count for name, count in calls.items() if count and name not in _OWN},
            {name: spent for name, spent in usec.items() if name not in _OWN},
            self.cpu - before.cpu,
            self.reads - before.reads,
        )


class Place(Protocol):
    """Where a worker's events are: one server, or several that belong together."""

    @property
    def url(self) -> str:
        """Where clients find it."""
        ...

    def snapshot(self) -> Snapshot:
        """Its counters now."""
        ...

    def lag(self, logs: list[str], group: str) -> int:
        """Events of all these logs that the group has not finished."""
        ...

    def all_claimed(self, states: list[str]) -> bool:
        """Does a worker hold each of the partitions with these states?"""
        ...


class Server:
    """One server process on a free port of the loopback, without persistence.

    The program is the one that `runnel server` would start; RUNNEL_SERVER_BIN names another.
    `options` are further words of its command line.
    """

    def __init__(self, *options: str) -> None:
        self.binary = find_binary()
        self._folder = Path(tempfile.mkdtemp(prefix="runnel-bench-"))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        command = [str(self.binary.path), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._folder), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.redis = Redis.from_url(self.url, protocol=2)
        # Unparsed: redis-py's versions read it differently.
        self.redis.set_response_callback("INFO", lambda reply, **_: reply)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.redis.ping()
                return
            except (ConnectionError, BusyLoadingError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO, as text."""
        reply: Any = self.redis.info(section)
        return dict(re.findall(r"^([^:#\r\n]+):([^\r\n]*)", reply.decode(), re.MULTILINE))

    def snapshot(self) -> Snapshot:
        """Its counters now."""
        calls, usec = {}, {}
        for name, text in self.info("commandstats").items():
            fields = dict(pair.split("=") for pair in text.split(","))
            command = name.removeprefix("cmdstat_").lower()
            calls[command] = int(fields["calls"])
            usec[command] = float(fields["usec"])
        cpu, stats = self.info("cpu"), self.info("stats")
        return Snapshot(
            calls,
            usec,
            float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
            int(stats["total_reads_processed"]),
        )

    def memory(self) -> int:
        """Bytes that it uses."""
        return int(self.info("memory")["used_memory"])

    def lag(self, logs: list[str], group: str) -> int:
        """Events of all these logs that the group has not finished."""
        pipeline = self.redis.pipeline(transaction=False)
        for log in logs:
            pipeline.xinfo_groups(log)
        total = 0
        for groups in pipeline.execute():
            for each in groups:
                if each["name"] == group.encode():
                    total += each["lag"]
        return total

    def all_claimed(self, states: list[str]) -> bool:
        """Does a worker hold each of the partitions with these states?"""
        pipeline = self.redis.pipeline(transaction=False)
        for state in states:
            pipeline.hexists(state, "epoch")
        return all(pipeline.execute())


def free_port() -> int:
    """A port below those that the system gives to clients."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used; 0 where the system has no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_busy() -> float:
    """Core-seconds that the whole machine has been busy; 0 where the system has no /proc."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return 0.0
    ticks = [int(field) for field in line.split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
