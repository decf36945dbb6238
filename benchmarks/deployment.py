"""Starts the servers under measurement, and counts what they and the processes beside them cost."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from redis import Redis
from redis.cluster import RedisCluster

from benchmarks.rows import Sample
from tests import servers
from tests.fleet import ClusterFleet

#: What the harness itself calls while others are measured; left out of the counts.
_OWN = {"info", "xinfo|groups", "hexists", "config|get", "ping", "client|setinfo"}


@dataclass(frozen=True)
class Snapshot:
    """The counters of servers at one instant: calls by command, and seconds of CPU.

    A call is counted where it is carried out, so those that scripts make count as well.
    """

    calls: dict[str, int]
    cpu: float

    def __add__(self, other: Snapshot) -> Snapshot:
        """The counters of both servers together."""
        names = self.calls | other.calls
        calls = {name: self.calls.get(name, 0) + other.calls.get(name, 0) for name in names}
        return Snapshot(calls, self.cpu + other.cpu)

    def since(self, before: Snapshot) -> Snapshot:
        """The difference, without what the harness called."""
        calls = {name: count - before.calls.get(name, 0) for name, count in self.calls.items()}
        others = {name: count for name, count in calls.items() if count and name not in _OWN}
        return Snapshot(others, self.cpu - before.cpu)


class Deployment:
    """One server or several that belong together, without persistence, until the context ends.

    The program is the one that `runnel server` would start; RUNNEL_SERVER_BIN names another.
    """

    url: str
    #: The harness's own client: routed by key if there are several servers.
    redis: Any
    #: A client of each server.
    clients: list[Redis]

    def snapshot(self) -> Snapshot:
        """The counters of all servers together."""
        return reduce(add, map(_snapshot, self.clients))

    def memory(self) -> int:
        """Bytes that the servers use."""
        return sum(int(_info(each, "memory")["used_memory"]) for each in self.clients)

    def lag(self, logs: Sequence[str], group: str) -> int:
        """Events of all these logs that the consumer group has not finished."""
        pipeline = self.redis.pipeline(transaction=False)
        for log in logs:
            pipeline.xinfo_groups(log)
        return sum(
            each["lag"]
            for groups in pipeline.execute()
            for each in groups
            if each["name"] == group.encode()
        )

    def all_claimed(self, states: Sequence[str]) -> bool:
        """Has a worker claimed each of the partitions with these states?"""
        pipeline = self.redis.pipeline(transaction=False)
        for state in states:
            pipeline.hexists(state, "epoch")
        return all(pipeline.execute())


class Server(Deployment):
    """One server."""

    def __enter__(self) -> Server:
        self._server = servers.Server(appendonly="no").start()
        self.url = self._server.url
        self.redis = Redis.from_url(self.url, protocol=2)
        self.clients = [self.redis]
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.close()
        self._server.close()


class Cluster(Deployment):
    """A Redis Cluster of masters without replicas, which share the slots evenly."""

    def __init__(self, masters: int) -> None:
        # As tolerant as a cluster is by default: here no failover is to be fast.
        self._fleet = ClusterFleet(
            options={"cluster_node_timeout": "15000"}, replicas=False, masters=masters
        )

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:
            masters = stack.enter_context(self._fleet).masters
            self.url = self._fleet.url
            self.clients = [
                stack.enter_context(Redis.from_url(each.url, protocol=2)) for each in masters
            ]
            self.redis = stack.enter_context(RedisCluster.from_url(masters[0].url, protocol=2))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _info(client: Redis, section: str) -> dict[str, str]:
    # Unparsed: redis-py's versions read it differently.
    client.response_callbacks.pop("INFO", None)
    reply: Any = client.execute_command("INFO", section)  # type: ignore[no-untyped-call]
    return dict(re.findall(r"^([^:#\r\n]+):([^\r\n]*)", reply.decode(), re.MULTILINE))


def _snapshot(client: Redis) -> Snapshot:
    calls = {
        name.removeprefix("cmdstat_").lower(): int(text.partition("calls=")[2].partition(",")[0])
        for name, text in _info(client, "commandstats").items()
    }
    cpu = _info(client, "cpu")
    return Snapshot(calls, float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]))


class Meter:
    """What a run costs: the servers, the processes under measurement, and all other programs."""

    def __init__(self, deployment: Deployment, pids: Sequence[int]) -> None:
        self._deployment, self._pids = deployment, pids
        self._busy, self._own, self._cpu = machine_busy(), time.process_time(), 0.0
        self._cpu = self.workers()
        self._before = deployment.snapshot()
        self.began = time.monotonic()

    def workers(self) -> float:
        """Seconds of CPU that the processes under measurement have used until now."""
        return sum(map(cpu_seconds, self._pids)) - self._cpu

    def sample(self, events: int, workers: float | None = None) -> Sample:
        """The costs for each event until now, and the cores that other programs used.

        `workers` is what the processes under measurement had used at an earlier moment.
        """
        spent = self._deployment.snapshot().since(self._before)
        all_workers = self.workers()
        own = time.process_time() - self._own
        others = machine_busy() - self._busy - all_workers - spent.cpu - own
        return {
            "calls": sum(spent.calls.values()) / events,
            "worker_us": (all_workers if workers is None else workers) / events * 1e6,
            "server_us": spent.cpu / events * 1e6,
            "other_load": max(0.0, others / (time.monotonic() - self.began)),
        }


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 where the system has no /proc."""
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
