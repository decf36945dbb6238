"""Servers that belong together: a Redis Cluster, and a primary with replicas under sentinels.

All listen on loopback, on ports of their own, and end with the context that they were made in.
"""

from __future__ import annotations

import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError

from runnel.embedded.binary import Binary
from tests.servers import Server, free_port

#: Milliseconds after which a silent node of a cluster counts as lost: failovers in tests should be
#: short.
NODE_TIMEOUT = 1000
#: The same for sentinels. Longer, since on a machine with more to do than it can, one that has just
#: been promoted is found lost, and the other, which has just come back, is promoted in turn.
DOWN_AFTER = 2000
SLOTS = 16384
_TIMEOUT = 30.0
_POLL = 0.02


class Fleet(ABC):
    """What the two have in common: servers that start together and end together."""

    servers: list[Server]

    @abstractmethod
    def form(self) -> None:
        """Make the running servers one deployment, and wait until it is whole."""

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
            Server(binary, cluster_port=str(free_port()), **_own(settings))
            for _ in range(masters * (2 if replicas else 1))
        ]
        self.masters = self.servers[:masters]
        self.replicas = self.servers[masters:]

    @property
    def url(self) -> str:
        """Names two of its nodes; a client finds the others. Their TLS ports if they have any."""
        return _url("cluster", self.servers[:2])

    def form(self) -> None:
        form_cluster(self.masters, self.replicas, self.meet)

    def meet(self, server: Server) -> None:
        """Let a node join."""
        bus = server.options["cluster_port"]
        ask(self.servers[0], "CLUSTER MEET", "127.0.0.1", server.port, bus)

    def owner(self, slot: int, witness: Server | None = None) -> Server:
        """The server that has the slot, as `witness` or else some running server sees it."""
        witness = witness or next(server for server in self.servers if server.running)
        for first, last, (_, port, *_), *_ in ask(witness, "CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(each for each in self.servers if each.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def migrate(self, slot: int, target: Server) -> None:
        """Move a slot, as a cluster that is resharded does: Valkey 9 at one stroke, others key by
        key."""
        if target.binary.kind == "valkey" and target.binary.version >= (9,):
            one = ("SLOTSRANGE", slot, slot, "NODE", node_id(target))
            ask(self.owner(slot), "CLUSTER MIGRATESLOTS", *one)
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
        """From now on the source sends on calls whose keys it no longer has."""
        self._set(self.target, "IMPORTING", node_id(self.source))
        self._set(self.source, "MIGRATING", node_id(self.target))

    def move(self, *names: str) -> None:
        """Move these keys, or all."""
        moved = names or ask(self.source, "CLUSTER GETKEYSINSLOT", self.slot, 1000)
        if moved:
            place = ("127.0.0.1", self.target.port, "", 0, 10_000)
            ask(self.source, "MIGRATE", *place, "KEYS", *moved)

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

    NAME = "mymaster"

    def __init__(
        self,
        binary: Binary | None = None,
        options: dict[str, str] | None = None,
        *,
        replicas: int = 2,
        sentinels: int = 3,
    ) -> None:
        settings = {"appendonly": "no", "repl_diskless_sync_delay": "0", **(options or {})}
        self.primary = Server(binary, **_own(settings))
        of = f"127.0.0.1 {_port(self.primary)}"
        self.replicas = [Server(binary, replicaof=of, **_own(settings)) for _ in range(replicas)]
        self.sentinels = [
            SentinelServer(self.primary, sentinels // 2 + 1) for _ in range(sentinels)
        ]
        self.servers = [self.primary, *self.replicas, *self.sentinels]

    @property
    def url(self) -> str:
        """Names all sentinels."""
        return f"{_url('sentinel', self.sentinels)}/{self.NAME}"

    def form(self) -> None:
        acquaint(self.sentinels, len(self.replicas))

    def current(self) -> Server:
        """The server that the first sentinel names as primary."""
        return self._named_by(self.sentinels[0])

    def wait_until_replaced(self, primary: Server) -> None:
        """Wait until all sentinels name another. Who asks one that does not know yet would be sent
        to the old one, which may have come back empty."""
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
        return _knows_all(sentinel, len(self.replicas), len(self.sentinels))


class SentinelServer(Server):
    """A sentinel; what it learns it writes into a file of its own."""

    def __init__(self, primary: Server, quorum: int) -> None:
        super().__init__(primary.binary)
        tls = {name: value for name, value in primary.options.items() if name.startswith("tls")}
        self.options = _own(tls)
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


def _own(options: dict[str, str]) -> dict[str, str]:
    """The options for one server, with a TLS port of its own if they speak of TLS."""
    return {**options, "tls_port": str(free_port())} if "tls_port" in options else dict(options)


def _port(server: Server) -> int:
    """Where the others and clients find it."""
    return int(server.options.get("tls_port", server.port))


def _url(kind: str, servers: Sequence[Server]) -> str:
    scheme = "rediss" if "tls_port" in servers[0].options else "redis"
    return f"{scheme}+{kind}://" + ",".join(f"127.0.0.1:{_port(each)}" for each in servers)


class Node(Protocol):
    """A server wherever it runs."""

    def client(self) -> Redis:
        """A synchronous client; the caller closes it."""
        ...

    def log(self) -> str:
        """What it has said so far."""
        ...


N = TypeVar("N", bound=Node)


def ask(server: Node, command: str, *args: object) -> Any:
    """The reply to a command as it came, or as text if it is text."""
    with server.client() as client:
        client.response_callbacks.clear()
        reply: Any = client.execute_command(command, *args)
    return reply.decode() if isinstance(reply, bytes) else reply


def form_cluster(masters: Sequence[N], replicas: Sequence[N], meet: Callable[[N], None]) -> None:
    """Make a cluster of nodes that know nothing yet. `meet` introduces one to the first master."""
    nodes = [*masters, *replicas]
    for number, master in enumerate(masters):
        ask(master, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        first, end = SLOTS * number // len(masters), SLOTS * (number + 1) // len(masters)
        ask(master, "CLUSTER ADDSLOTSRANGE", first, end - 1)
    for node in nodes[1:]:
        meet(node)
    for master, replica in zip(masters, replicas, strict=False):
        until(replica, lambda node: len(_nodes(node)) == len(nodes))
        ask(replica, "CLUSTER REPLICATE", node_id(master))
    for node in nodes:
        until(node, lambda node: _sees_all(node, len(nodes), len(replicas)))
    for replica in replicas:
        until(replica, is_linked)


def _sees_all(node: Node, nodes: int, replicas: int) -> bool:
    seen = [line.split() for line in _nodes(node)]
    return (
        "cluster_state:ok" in ask(node, "CLUSTER INFO")
        and len(seen) == nodes
        and sum("slave" in words[2] for words in seen) == replicas
        and not any("handshake" in words[2] for words in seen)
    )


def acquaint(sentinels: Sequence[Node], replicas: int) -> None:
    """Wait until the sentinels know each other and so many replicas of their primary."""
    # By default they look around every 10 seconds and say hello every 2. These are also the
    # measures of how fresh their knowledge must be: too short, and a failover goes wrong.
    _hurry(sentinels, 100)
    for sentinel in sentinels:
        until(sentinel, lambda each: _knows_all(each, replicas, len(sentinels)))
    _hurry(sentinels, 500)


def _hurry(sentinels: Sequence[Node], period: int) -> None:
    # By default they ask whether a server is there, and try again to connect, once a second: one
    # try that fails would be half of the time after which it counts as lost.
    periods = ("INFO-PERIOD", period, "PUBLISH-PERIOD", period, "PING-PERIOD", 200)
    command = ("SENTINEL DEBUG", *periods)
    for sentinel in sentinels:
        until(sentinel, lambda each: ask(each, *command))


def _knows_all(sentinel: Node, replicas: int, sentinels: int) -> bool:
    state = state_of(sentinel)
    return (
        state[b"flags"] == b"master"
        and int(state[b"num-slaves"]) == replicas
        and int(state[b"num-other-sentinels"]) == sentinels - 1
    )


def state_of(sentinel: Node) -> dict[bytes, bytes]:
    """What a sentinel says of the primary."""
    values = ask(sentinel, "SENTINEL MASTER", SentinelFleet.NAME)
    return dict(zip(values[::2], values[1::2], strict=True))


def catches_up(replica: Node, primary: Node) -> None:
    """Wait until a replica has all that its primary has now."""
    offset = _offset(primary, "master_repl_offset")
    until(replica, lambda each: _offset(each, "slave_repl_offset") >= offset)


def _offset(server: Node, field: str) -> int:
    value = ask(server, "INFO", "replication").partition(f"{field}:")[2].split()
    return int(value[0]) if value else -1  # It is no replica yet, or again.


def node_id(server: Node) -> str:
    """The cluster's name for a node."""
    return str(ask(server, "CLUSTER MYID"))


def until(server: N, condition: Callable[[N], Any]) -> None:
    """Wait until something holds of a server."""
    deadline = time.monotonic() + _TIMEOUT
    while not _holds(condition, server):
        assert time.monotonic() < deadline, f"{server!r} does not get there:\n{server.log()}"
        time.sleep(_POLL)


def _holds(condition: Callable[[N], Any], server: N) -> bool:
    # A server that changes its role cuts connections.
    with contextlib.suppress(ConnectionError, TimeoutError):
        return bool(condition(server))
    return False


def _nodes(server: Node) -> list[str]:
    return str(ask(server, "CLUSTER NODES")).splitlines()


def is_linked(replica: Node) -> bool:
    """Whether a replica follows its primary."""
    return "master_link_status:up" in ask(replica, "INFO", "replication")
