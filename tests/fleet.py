"""Groups of servers for tests: a Redis Cluster, and a primary with replicas under sentinels.

All listen on loopback, on ports of their own, and end with their context.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from runnel.embedded.binary import Binary
from tests.nodes import (
    PRIMARY_NAME,
    acquaint,
    ask,
    form_cluster,
    knows_all,
    node_id,
    state_of,
    until,
)
from tests.servers import Server, free_port

#: Milliseconds after which a silent node of a cluster counts as failed: short, so that failovers in
#: tests are fast.
NODE_TIMEOUT = 1000
#: The same for sentinels. Longer, since on an overloaded machine a server that was just promoted
#: would count as failed, and the other one, which has just come back, would be promoted in turn.
DOWN_AFTER = 2000


class Fleet(ABC):
    """Servers that start together and end together."""

    servers: list[Server]

    @abstractmethod
    def form(self) -> None:
        """Make the running servers one deployment, and wait until it is complete."""

    def __enter__(self) -> Self:
        try:
            with ThreadPoolExecutor(len(self.servers)) as pool:
                list(pool.map(Server.start, self.servers))
            self.form()
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
        """End all servers and remove their data."""
        for server in self.servers:
            server.close()


class ClusterFleet(Fleet):
    """A Redis Cluster: masters that share the slots evenly, each with a replica or none.

    `options` are settings of every node.
    """

    def __init__(
        self,
        binary: Binary | None = None,
        options: dict[str, str] | None = None,
        *,
        replicas: bool = True,
        masters: int = 3,
    ) -> None:
        settings = {
            "appendonly": "no",
            "cluster_enabled": "yes",
            "cluster_node_timeout": str(NODE_TIMEOUT),
            "cluster_replica_validity_factor": "0",
            "repl_diskless_sync_delay": "0",
            **(options or {}),
        }
        self.servers = [
            Server(binary, cluster_port=str(free_port()), **_own_options(settings))
            for _ in range(masters * (2 if replicas else 1))
        ]
        self.masters = self.servers[:masters]
        self.replicas = self.servers[masters:]

    @property
    def url(self) -> str:
        """A URL with two of its nodes; a client finds the others. Uses their TLS ports, if any."""
        return _url("cluster", self.servers[:2])

    def form(self) -> None:
        form_cluster(self.masters, self.replicas, self.meet)

    def meet(self, server: Server) -> None:
        """Let a node join the cluster."""
        bus = server.options["cluster_port"]
        ask(self.servers[0], "CLUSTER MEET", "127.0.0.1", server.port, bus)

    def owner(self, slot: int, witness: Server | None = None) -> Server:
        """The server that has the slot, according to `witness` or else some running server."""
        witness = witness or next(server for server in self.servers if server.running)
        for first, last, (_, port, *_), *_ in ask(witness, "CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(each for each in self.servers if each.port == port)
        raise AssertionError(f"no server has slot {slot}")

    def migrate(self, slot: int, target: Server) -> None:
        """Move a slot, as resharding does: in one step on Valkey 9, key by key on others."""
        if target.binary.kind == "valkey" and target.binary.version >= (9,):
            arguments = ("SLOTSRANGE", slot, slot, "NODE", node_id(target))
            ask(self.owner(slot), "CLUSTER MIGRATESLOTS", *arguments)
            for server in self.servers:
                until(server, lambda each: self.owner(slot, each) is target)
            return
        migration = Migration(self, slot, target)
        migration.begin()
        migration.move()
        migration.end()


class Migration:
    """The move of one slot from its primary to another, step by step."""

    def __init__(self, fleet: ClusterFleet, slot: int, target: Server) -> None:
        self.slot, self.target, self.source = slot, target, fleet.owner(slot)
        self._fleet = fleet

    def begin(self) -> None:
        """From now on the source redirects calls whose keys it no longer has."""
        self._set(self.target, "IMPORTING", node_id(self.source))
        self._set(self.source, "MIGRATING", node_id(self.target))

    def move(self, *names: str) -> None:
        """Move these keys, or all."""
        moved = names or ask(self.source, "CLUSTER GETKEYSINSLOT", self.slot, 1000)
        if moved:
            destination = ("127.0.0.1", self.target.port, "", 0, 10_000)
            ask(self.source, "MIGRATE", *destination, "KEYS", *moved)

    def end(self) -> None:
        """The target owns the slot, and all nodes know."""
        for server in (self.target, self.source):
            self._set(server, "NODE", node_id(self.target))
        for server in self._fleet.servers:
            until(server, lambda each: self._fleet.owner(self.slot, each) is self.target)

    def _set(self, server: Server, *words: str) -> None:
        ask(server, "CLUSTER SETSLOT", self.slot, *words)


class SentinelFleet(Fleet):
    """A primary with replicas, watched by three sentinels that know it as ``mymaster``."""

    NAME = PRIMARY_NAME

    def __init__(
        self,
        binary: Binary | None = None,
        options: dict[str, str] | None = None,
        *,
        replicas: int = 2,
        sentinels: int = 3,
    ) -> None:
        settings = {"appendonly": "no", "repl_diskless_sync_delay": "0", **(options or {})}
        self.primary = Server(binary, **_own_options(settings))
        replica_of = f"127.0.0.1 {_port(self.primary)}"
        self.replicas = [
            Server(binary, replicaof=replica_of, **_own_options(settings)) for _ in range(replicas)
        ]
        self.sentinels = [
            SentinelServer(self.primary, sentinels // 2 + 1) for _ in range(sentinels)
        ]
        self.servers = [self.primary, *self.replicas, *self.sentinels]

    @property
    def url(self) -> str:
        """A URL with all sentinels."""
        return f"{_url('sentinel', self.sentinels)}/{self.NAME}"

    def form(self) -> None:
        acquaint(self.sentinels, len(self.replicas))

    def current(self) -> Server:
        """The server that the first sentinel names as primary."""
        return self._named_by(self.sentinels[0])

    def wait_until_replaced(self, primary: Server) -> None:
        """Wait until all sentinels name another primary. One that does not know yet would send
        clients to the old primary, which may have come back empty."""
        for sentinel in self.sentinels:
            until(sentinel, lambda each: self._named_by(each) is not primary)

    def _named_by(self, sentinel: Server) -> Server:
        port = int(state_of(sentinel)[b"port"])
        return next(each for each in self.servers if _port(each) == port)

    def followers(self, primary: Server) -> list[Server]:
        """The servers that follow this primary."""
        return [each for each in (self.primary, *self.replicas) if each is not primary]

    def knows_all(self, sentinel: Server) -> bool:
        """Whether a sentinel sees a primary that is well, all its replicas and other sentinels."""
        return knows_all(sentinel, len(self.replicas), len(self.sentinels))


class SentinelServer(Server):
    """A sentinel, with a configuration file of its own, which it rewrites."""

    def __init__(self, primary: Server, quorum: int) -> None:
        super().__init__(primary.binary)
        tls = {name: value for name, value in primary.options.items() if name.startswith("tls")}
        self.options = _own_options(tls)
        self._lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            *(f"{name.replace('_', '-')} {value}" for name, value in self.options.items()),
            f"sentinel monitor {SentinelFleet.NAME} 127.0.0.1 {_port(primary)} {quorum}",
            f"sentinel down-after-milliseconds {SentinelFleet.NAME} {DOWN_AFTER}",
            f"sentinel failover-timeout {SentinelFleet.NAME} 5000",
        ]

    def _command(self) -> list[str]:
        file = self.folder / "sentinel.conf"
        if not file.exists():
            file.write_text("\n".join(self._lines) + "\n")
        return [os.fspath(self.binary.path), os.fspath(file), "--sentinel"]


def _own_options(options: dict[str, str]) -> dict[str, str]:
    """The options for one server, with a TLS port of its own if they have one."""
    return {**options, "tls_port": str(free_port())} if "tls_port" in options else dict(options)


def _port(server: Server) -> int:
    """The port for clients and other servers."""
    return int(server.options.get("tls_port", server.port))


def _url(kind: str, servers: Sequence[Server]) -> str:
    scheme = "rediss" if "tls_port" in servers[0].options else "redis"
    return f"{scheme}+{kind}://" + ",".join(f"127.0.0.1:{_port(each)}" for each in servers)
